"""Jobs of RQ for a puppet to send and to work off: `from queue_rq import *`.

Both tell of each job its number and two times in nanoseconds: when it began to be sent, and was; when the job before was
over, and when it ran.
"""

import time

import redis
import rq

told = []
over = [0]


def job(number):
    told.append([number, over[0], time.monotonic_ns()])
    over[0] = time.monotonic_ns()


def queue(port):
    return rq.Queue("default", connection=redis.Redis(port=port))


def send(port, first, count):
    sent = []
    default = queue(port)
    for number in range(first, first + count):
        begun = time.monotonic_ns()
        default.enqueue(job, number)
        sent.append([number, begun, time.monotonic_ns()])
    return sent


def work(port, count):
    """Works off so many in this process."""
    told.clear()
    over[0] = time.monotonic_ns()
    default = queue(port)
    rq.SimpleWorker([default], connection=default.connection).work(max_jobs=count, logging_level="WARNING")
    return told


def work_in_children(port, count):
    """Works off so many, each in a process of its own."""
    default = queue(port)
    rq.Worker([default], connection=default.connection).work(max_jobs=count, logging_level="WARNING")
