"""A WebSocket server that echoes every message.

Arguments: the name to run as, where to listen (`tcp`, or a UNIX socket's path), `plain` or `deflate`, and where it is to
speak TLS a certificate and its key.
Prints its port, or `ready`. Ends when its input does.
"""

import asyncio
import contextlib
import logging
import ssl
import sys

from websockets.asyncio.server import serve, unix_serve
from websockets.exceptions import ConnectionClosed


async def echo(connection):
    # A client that breaks off is no concern of a server's.
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            await connection.send(message)


async def main(name, listen, compression, *certificate):
    with open("/proc/self/comm", "w", encoding="ascii") as comm:
        comm.write(name)
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    options = {
        "compression": "deflate" if compression == "deflate" else None,
        "max_size": None,
        "ping_interval": None,
    }
    if certificate:
        options["ssl"] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        options["ssl"].load_cert_chain(*certificate)
    if listen == "tcp":
        server = await serve(echo, "127.0.0.1", 0, **options)
        print(server.sockets[0].getsockname()[1])
    else:
        server = await unix_serve(echo, listen, **options)
        print("ready")
    # Not a thread's work: a server that waits for nothing but its sockets and its input.
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    await ended.wait()


asyncio.run(main(*sys.argv[1:]))
