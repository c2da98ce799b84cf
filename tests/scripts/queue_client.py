"""Producers and workers of queues on Redis for a puppet to hold: `from queue_client import *`.

`use(...)` says how to connect, as in `redis_client.py`. `produce("jobs", 0, [1, 20])` puts in 21 jobs with numbers from 0
on, in two pipelines. `take(["jobs"], 10)` takes ten of one or another queue, as Sidekiq's workers do. Both tell of each
job its number, and when the call that moved it was begun and when it was done, in nanoseconds.
"""

import json
import time

import redis

target = {}
clients = []


def use(protocol, host, port, path):
    target.update(protocol=protocol)
    target.update({"unix_socket_path": path} if path else {"host": host, "port": port})


def client():
    """The only one, with one connection."""
    if not clients:
        clients.append(redis.Redis(**target, max_connections=1, socket_timeout=None))
    return clients[0]


def job(number):
    """As Sidekiq writes one."""
    at = time.time()
    return json.dumps({"class": "HardJob", "args": [number], "retry": True, "jid": f"{number:024x}", "created_at": at, "enqueued_at": at})


def produce(queue, first, counts, transaction=False):
    """So many jobs in each pipeline."""
    told = []
    for count in counts:
        pipeline = client().pipeline(transaction=transaction)
        if transaction:
            pipeline.sadd("queues", queue)
        numbers = range(first, first + count)
        for number in numbers:
            pipeline.lpush(queue, job(number))
        begun = time.monotonic_ns()
        pipeline.execute()
        done = time.monotonic_ns()
        told += [[number, begun, done] for number in numbers]
        first += count
    return told


def take(queues, count, batch=1, work=0.0):
    """So many jobs in all, of which each is some seconds of work: those that come, or whole pipelines of those that are
    there."""
    told = []
    while len(told) < count:
        begun = time.monotonic_ns()
        if batch == 1:
            replies = [client().brpop(queues, 20)]
        else:
            pipeline = client().pipeline(transaction=False)
            for _ in range(min(batch, count - len(told))):
                pipeline.rpop(queues[0])
            replies = [(queues[0], reply) for reply in pipeline.execute()]
        done = time.monotonic_ns()
        told += [[json.loads(reply)["args"][0], begun, done] for _, reply in replies]
        time.sleep(work)
    return told
