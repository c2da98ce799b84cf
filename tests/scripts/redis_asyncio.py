"""Sessions with Redis over TLS by `redis.asyncio`, for a puppet to hold: `from redis_asyncio import *`.

What it is told reads the same as for `redis_client.py`, as far as it goes.
"""

import asyncio
import random
import threading

import redis.asyncio

from redis_client import Tally, batches, call

loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
sessions = []
target = {}


def wait_for(work):
    return asyncio.run_coroutine_threadsafe(work, loop).result()


def use(protocol, host, port, path):
    target.update(protocol=protocol, host=host, port=port, ssl=True, ssl_cert_reqs="none", ssl_check_hostname=False)


async def opened():
    session = redis.asyncio.Redis(**target, max_connections=1, socket_timeout=None)
    await session.connection_pool.release(await session.connection_pool.get_connection())
    return session


def login(count):
    sessions.extend(wait_for(opened()) for _ in range(count))


def logout():
    for session in sessions:
        wait_for(session.aclose())
    sessions.clear()


async def run_batch(client, batch, depth, chance, tally):
    pipeline = client.pipeline(transaction=False) if depth > 1 else client
    replies = []
    for command, keys in batch:
        reply = call(pipeline, command, keys, chance)
        replies.append(reply if depth > 1 else await reply)
    if depth > 1:
        replies = await pipeline.execute()
    for (command, keys), reply in zip(batch, replies):
        tally.count(command, keys, reply)


def work(index, commands, depth, seed, spaces):
    """So many of GET, MGET and SET, so many at a time. Tells what came of them."""
    chance = random.Random(seed)
    tally = Tally()

    async def all_of_it():
        for batch in batches(commands, depth, chance, spaces):
            await run_batch(sessions[index], batch, depth, chance, tally)

    wait_for(all_of_it())
    return {"prefixes": tally.prefixes, "commands": tally.commands}
