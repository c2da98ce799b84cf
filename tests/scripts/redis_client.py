"""Sessions with Redis for a puppet to hold: `from redis_client import *`.

What it is told reads the same as for `redis_client.js`: `use(...)` says how to connect, `login(3)` opens three more
sessions, `work(0, 1000, 10, 1, ...)` has a session do a thousand commands, ten at a time, `run(0, [["PING"]])` has it
run some commands, `hold(0, 3)` has three wait for what does not come, and `logout()` closes all.
"""

import random
import threading

import redis

sessions = []
held = []
target = {}


def use(protocol, host, port, path):
    target.update(protocol=protocol)
    target.update({"unix_socket_path": path} if path else {"host": host, "port": port})


def login(count):
    for _ in range(count):
        # One connection for all that it does, which would otherwise be opened with its first command.
        session = redis.Redis(**target, max_connections=1, socket_timeout=None)
        session.connection_pool.release(session.connection_pool.get_connection())
        sessions.append(session)


def logout():
    for session in sessions:
        session.close()
    sessions.clear()


class Tally:
    """Keys found and not found, by prefix, and commands, as the replies tell."""

    def __init__(self):
        self.prefixes = {}
        self.commands = {}

    def count(self, command, keys, reply):
        self.commands[command] = self.commands.get(command, 0) + 1
        if command == "set":
            assert reply, reply
            return
        replies = reply if command == "mget" else [reply]
        assert len(replies) == len(keys)
        for (prefix, _), value in zip(keys, replies):
            self.prefixes.setdefault(prefix, [0, 0])[value is None] += 1


def batches(commands, depth, chance, spaces):
    """So many of GET, MGET and SET with their keys, so many at a time."""
    # (prefix, key) by kind and number.
    keys = [[(prefix, text + str(number)) for number in range(200)] for prefix, text in spaces]
    while commands > 0:
        batch = []
        for _ in range(min(depth, commands)):
            kind = chance.random()
            space = chance.choice(keys)
            if kind < 0.65:
                batch.append(("get", [chance.choice(space)]))
            elif kind < 0.85:
                count = chance.randrange(1, 9)
                batch.append(("mget", [chance.choice(space if depth > 1 else chance.choice(keys)) for _ in range(count)]))
            else:
                # Half of the keys are never written.
                batch.append(("set", [space[chance.randrange(100)]]))
        commands -= len(batch)
        yield batch


def work(index, commands, depth, seed, spaces):
    """Does such batches. Tells what came of them."""
    chance = random.Random(seed)
    tally = Tally()
    for batch in batches(commands, depth, chance, spaces):
        run_batch(sessions[index], batch, depth, chance, tally)
    return {"prefixes": tally.prefixes, "commands": tally.commands}


def call(client, command, keys, chance):
    """Makes a call of a batch."""
    if command == "get":
        return client.get(keys[0][1])
    if command == "mget":
        return client.mget([key for _, key in keys])
    return client.set(keys[0][1], "v" * chance.choice((1, 20, 300, 3000)))


def run_batch(client, batch, depth, chance, tally):
    target = client.pipeline(transaction=False) if depth > 1 else client
    replies = [call(target, command, keys, chance) for command, keys in batch]
    if depth > 1:
        replies = target.execute()
    for (command, keys), reply in zip(batch, replies):
        tally.count(command, keys, reply)


def run(index, commands):
    """Commands one after the other. Tells the first words of the errors."""
    errors = []
    for words in commands:
        try:
            sessions[index].execute_command(*words)
        except redis.RedisError as error:
            errors.append(str(error))
    return errors


def transaction(index, commands):
    """Commands between MULTI and EXEC."""
    pipeline = sessions[index].pipeline(transaction=True)
    for words in commands:
        pipeline.execute_command(*words)
    return [reply.decode() if isinstance(reply, bytes) else reply for reply in pipeline.execute()]


def hold(first, last):
    """Has idle sessions wait for an element of a list, which is theirs alone."""
    for index in range(first, last):
        thread = threading.Thread(target=sessions[index].blpop, args=([f"waiting:{index}"], 0), daemon=True)
        thread.start()
        held.append(thread)


def release():
    """Once each has its element."""
    for thread in held:
        thread.join(10)
        if thread.is_alive():
            raise TimeoutError("a session still waits")
    held.clear()


listeners = []


def listen_to(channels, messages):
    """Subscribes in a new session, and hears so many messages."""
    pubsub = redis.Redis(**target, socket_timeout=None).pubsub()
    pubsub.subscribe(*channels)
    heard = []

    def hear():
        for message in pubsub.listen():
            if message["type"] == "message":
                heard.append(message["data"])
                if len(heard) == messages:
                    return

    thread = threading.Thread(target=hear, daemon=True)
    thread.start()
    listeners.append((pubsub, thread, heard))


def heard():
    """How many messages each listener has, once it has all."""
    for _, thread, _ in listeners:
        thread.join(20)
    return [len(heard) for _, _, heard in listeners]
