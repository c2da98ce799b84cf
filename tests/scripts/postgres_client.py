"""Sessions with PostgreSQL for a puppet to hold: `from postgres_client import *`.

What it is told reads the same as for `postgres_client.js`: `use(...)` says how to connect, `login(3)` opens three
more sessions, `put(0, 3, "failed")` puts them in a state, `again(0, 3, "failed")` has each run one more
statement in it, `run(0, "SELECT 1", 5)` runs a statement five times in a session, and `logout()` closes all.
"""

import asyncio
import ssl
import threading
import time

import asyncpg
import psycopg
from psycopg import pq

SLEEP = "SELECT pg_sleep(3600)"
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
sessions = []
running = {}
target = {}


def use_uvloop():
    """From now on, instead of asyncio's own loop."""
    global loop
    import uvloop

    loop = uvloop.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()


def start(work):
    return asyncio.run_coroutine_threadsafe(work, loop)


def use(library, host, port, user="postgres", password="", encryption="disable"):
    target.update(library=library, host=host, port=port, user=user, password=password, encryption=encryption)


def address():
    return {"host": target["host"], "port": target["port"], "user": target["user"]}


async def open_one():
    if target["library"] == "asyncpg":
        context = {"disable": False, "prefer": "prefer"}.get(target["encryption"])
        if context is None:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return await asyncpg.connect(
            **address(), database="postgres", password=target["password"], ssl=context, timeout=30)
    return await psycopg.AsyncConnection.connect(conninfo(), autocommit=True, prepare_threshold=None)


def conninfo():
    return psycopg.conninfo.make_conninfo(
        **address(), dbname="postgres", password=target["password"], sslmode=target["encryption"],
        **target.get("more", {}))


async def execute(session, statement):
    """In the extended protocol. Tells the SQLSTATE of what went wrong, or nothing."""
    try:
        if target["library"] == "asyncpg":
            await session.fetch(statement)
        else:
            cursor = await session.execute(statement, binary=True)
            if cursor.description is not None:
                await cursor.fetchall()
        return ""
    except (asyncpg.PostgresError, psycopg.Error) as error:
        return error.sqlstate or type(error).__name__


async def execute_all(session, statements):
    return [await execute(session, statement) for statement in statements]


def login(count):
    """Opens sessions one after the other. Tells the SQLSTATEs of the refusals."""
    refused = []
    for _ in range(count):
        try:
            sessions.append(start(open_one()).result())
        except asyncpg.PostgresError as error:
            refused.append(error.sqlstate)
        except psycopg.OperationalError as error:
            # It does not tell the SQLSTATE of an error while it connects.
            refused.append("53300" if "connection slots" in str(error) or "too many" in str(error) else str(error))
    return refused


def login_together(count):
    """Opens sessions at once, and does not wait."""
    running["login"] = [start(open_one()) for _ in range(count)]


def logged_in():
    """Waits for them."""
    sessions.extend(one.result() for one in running.pop("login"))


STATEMENTS = {
    "idle": ["SELECT 1"],
    "in transaction": ["BEGIN", "SELECT 1"],
    "failed": ["BEGIN", "SELECT 1/0"],
}


def put(first, last, state):
    """Puts sessions that are idle in a state. Tells the SQLSTATEs of what went wrong."""
    told = []
    for index in range(first, last):
        if state == "active":
            running[index] = start(execute(sessions[index], SLEEP))
        else:
            told += start(execute_all(sessions[index], STATEMENTS[state])).result()
    return [one for one in told if one]


def again(first, last, state):
    """One more statement in the same state; those that are active have been interrupted by the server."""
    told = []
    for index in range(first, last):
        if state == "active":
            told.append(running.pop(index).result())
            running[index] = start(execute(sessions[index], SLEEP))
        else:
            told.append(start(execute(sessions[index], "SELECT 1")).result())
    return [one for one in told if one]


def run(index, statement, times=1):
    """Tells the SQLSTATEs of what went wrong."""
    told = [start(execute(sessions[index], statement)).result() for _ in range(times)]
    return [one for one in told if one]


def logout():
    for index, session in enumerate(sessions):
        if index in running:
            continue
        start(session.close()).result()
    sessions.clear()


def abandon(index):
    """Closes a session without a word."""
    sessions[index].terminate()


def fetch_count(index, statement):
    """How many rows a statement gives, and how many characters are in the first."""
    async def work():
        cursor = await sessions[index].execute(statement)
        rows = await cursor.fetchall()
        return [len(rows), len(str(rows[0][0]))]
    return start(work()).result()


def copy_in(index, statement, rows, row):
    """COPY FROM STDIN of so many rows."""
    async def work():
        data = row.encode() * 1000
        async with sessions[index].cursor() as cursor:
            async with cursor.copy(statement) as copy:
                for _ in range(rows // 1000):
                    await copy.write(data)
            return cursor.rowcount
    return start(work()).result()


def copy_fails(index, statement):
    """COPY FROM STDIN that the client breaks off. Tells the SQLSTATE."""
    async def work():
        try:
            async with sessions[index].cursor() as cursor:
                async with cursor.copy(statement) as copy:
                    await copy.write(b"1\n2\n")
                    raise ValueError("enough")
        except (ValueError, psycopg.Error) as error:
            return getattr(error, "sqlstate", None) or type(error).__name__
    return start(work()).result()


def copy_out(index, statement):
    """COPY TO STDOUT. Tells how many bytes came."""
    async def work():
        total = 0
        async with sessions[index].cursor() as cursor:
            async with cursor.copy(statement) as copy:
                async for data in copy:
                    total += len(data)
        return total
    return start(work()).result()


def cancel_after(index, seconds):
    """Runs a long query, and sends a CancelRequest for it. Tells the SQLSTATE it ends with."""
    async def work():
        query = asyncio.ensure_future(execute(sessions[index], SLEEP))
        await asyncio.sleep(seconds)
        await sessions[index].cancel_safe()
        return await query
    return start(work()).result()


def pipeline(groups, flush_between=True):
    """Groups of statements, each ended by a Sync, all in flight at once, on a libpq session of its own.

    Tells for each group the SQLSTATEs of its errors, and of the statements that were skipped for them ("skip").
    The session stays open as `piped`.
    """
    global piped
    if globals().get("piped") is None:
        piped = pq.PGconn.connect(conninfo().encode())
        if piped.status != pq.ConnStatus.OK:
            raise OSError(piped.error_message.decode())
        piped.enter_pipeline_mode()
    for group in groups:
        for statement in group:
            piped.send_query_params(statement.encode(), None)
        piped.pipeline_sync()
    told = []
    for group in groups:
        errors = []
        for _ in group:
            while (result := piped.get_result()) is not None:
                if result.status == pq.ExecStatus.PIPELINE_ABORTED:
                    errors.append("skip")
                elif result.status == pq.ExecStatus.FATAL_ERROR:
                    errors.append(result.error_field(pq.DiagnosticField.SQLSTATE).decode())
        result = piped.get_result()
        if result is None or result.status != pq.ExecStatus.PIPELINE_SYNC:
            raise ValueError("no end of a group")
        told.append(errors)
    return told


def pipeline_psycopg(index, count):
    """psycopg's own pipeline mode: so many statements, a Sync after each ten, and one at its end."""
    async def work():
        async with sessions[index].pipeline() as pipe:
            for number in range(count):
                await sessions[index].execute("INSERT INTO piped VALUES (%s)", (number,))
                if number % 10 == 9:
                    await pipe.sync()
    start(work()).result()


heard = []


def listen_to(index, channel):
    start(sessions[index].add_listener(channel, lambda *told: heard.append(told[3]))).result()


def wait_heard(count):
    """Waits until so many notifications have come."""
    end = time.monotonic() + 10
    while len(heard) < count and time.monotonic() < end:
        time.sleep(0.01)
    return len(heard)
