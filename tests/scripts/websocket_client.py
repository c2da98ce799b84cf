"""A WebSocket client that does as it is told, and checks every echo.

Arguments: the name to run as, where to connect (`ws://…`, `wss://…`, or a UNIX socket's path), `plain` or `deflate`,
how many connections to open. Prints `open`. Then for each line of its input:

`{"steps": [...]}`  takes the steps on each connection in turn, and prints how many echoes came
`{"close": CODE}`   closes all connections, and prints `closed`

A step is `{"ping": SIZE}` or `{"kind": "text" or "binary", "sizes": [...], "pings": SIZE or null}`: a message,
in as many fragments as there are sizes, with pings between them.
"""

import asyncio
import itertools
import json
import ssl
import sys

from websockets.asyncio.client import connect, unix_connect

PATTERN = bytes([0x81, 0x05, 0x88, 0x82, 0xFE, 0x00, 0x7F])
counter = itertools.count()


def payload(kind, size):
    if kind == "text":
        return "x" * size
    return (PATTERN * (size // len(PATTERN) + 1))[:size]


async def ping(connection, size):
    answered = await connection.ping(str(next(counter)).rjust(size, "."))
    await answered


async def fragments(connection, parts, pings):
    for place, part in enumerate(parts):
        if place > 0 and pings is not None:
            await ping(connection, pings)
        yield part


async def take(connection, step):
    if "ping" in step:
        await ping(connection, step["ping"])
        return 0
    parts = [payload(step["kind"], size) for size in step["sizes"]]
    if len(parts) == 1:
        await connection.send(parts[0])
    else:
        await connection.send(fragments(connection, parts, step.get("pings")))
    echo = await connection.recv()
    assert echo == parts[0][:0].join(parts), "the echo differs"
    return 1


async def main(name, where, compression, connections):
    with open("/proc/self/comm", "w", encoding="ascii") as comm:
        comm.write(name)
    options = {
        "compression": "deflate" if compression == "deflate" else None,
        "max_size": None,
        "ping_interval": None,
    }
    if where.startswith("wss:"):
        options["ssl"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        options["ssl"].check_hostname = False
        options["ssl"].verify_mode = ssl.CERT_NONE
    if where.startswith("ws"):
        opened = [await connect(where, proxy=None, **options) for _ in range(int(connections))]
    else:
        opened = [await unix_connect(where, **options) for _ in range(int(connections))]
    print("open")
    lines = asyncio.StreamReader(limit=1 << 24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        order = json.loads(line)
        if "close" in order:
            for connection in opened:
                await connection.close(order["close"])
            print("closed")
            continue
        echoes = 0
        for connection in opened:
            for step in order["steps"]:
                echoes += await take(connection, step)
        print(echoes)


asyncio.run(main(*sys.argv[1:]))
