"""A WebSocket server of aiohttp's, which takes frames as they come, masked or not.

Argument: the name to run as. Prints its port, and then a line for each message: its type and its size, as JSON. Ends
when its input does.
"""

import asyncio
import json
import sys

from aiohttp import WSMsgType, web


async def take(request):
    socket = web.WebSocketResponse(max_msg_size=0, compress=False)
    await socket.prepare(request)
    async for message in socket:
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            print(json.dumps([message.type.name.lower(), len(message.data)]), flush=True)
    return socket


async def main(name):
    with open("/proc/self/comm", "w", encoding="ascii") as comm:
        comm.write(name)
    app = web.Application()
    app.router.add_get("/socket", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    await ended.wait()


asyncio.run(main(*sys.argv[1:]))
