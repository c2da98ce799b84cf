"""Jobs of RQ for a puppet to send and to work off: `from queue_rq import *`.

Both tell of each job its number, and when the call that moved it was begun and when it was done, in nanoseconds.
"""

import time

import redis
import rq

told = []
move = rq.Queue.lmove


def timed_move(connection, queue_key, timeout):
    """As the worker's own, with the time."""
    begun = time.monotonic_ns()
    moved = move(connection, queue_key, timeout)
    told.append([int(moved[1]), begun, time.monotonic_ns()])
    return moved


rq.Queue.lmove = timed_move


def job():
    pass


def queue(port):
    return rq.Queue("default", connection=redis.Redis(port=port))


def send(port, first, count):
    sent = []
    default = queue(port)
    for number in range(first, first + count):
        begun = time.monotonic_ns()
        default.enqueue(job, job_id=str(number))
        sent.append([number, begun, time.monotonic_ns()])
    return sent


def work(port, count):
    """Works off so many in this process."""
    told.clear()
    default = queue(port)
    rq.SimpleWorker([default], connection=default.connection).work(max_jobs=count, logging_level="WARNING")
    return told


def work_in_children(port, count):
    """Works off so many, each in a process of its own."""
    default = queue(port)
    rq.Worker([default], connection=default.connection).work(max_jobs=count, logging_level="WARNING")
