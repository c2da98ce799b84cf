"""A WebSocket client that does as it is told, as `websocket_client.py` does, but with sockets that block, on which
OpenSSL moves its records itself; a thread reads, and another one writes.

Arguments: the name to run as, where to connect (`wss://…`), `plain`, how many connections to open.
"""

import itertools
import json
import ssl
import sys

from websockets.sync.client import connect

PATTERN = bytes([0x81, 0x05, 0x88, 0x82, 0xFE, 0x00, 0x7F])
counter = itertools.count()


def payload(kind, size):
    return "x" * size if kind == "text" else (PATTERN * (size // len(PATTERN) + 1))[:size]


def take(connection, step):
    if "ping" in step:
        if not connection.ping(str(next(counter)).rjust(step["ping"], ".")).wait(20):
            raise TimeoutError("no pong")
        return 0
    parts = [payload(step["kind"], size) for size in step["sizes"]]
    connection.send(parts[0] if len(parts) == 1 else iter(parts))
    echo = connection.recv()
    assert echo == parts[0][:0].join(parts), "the echo differs"
    return 1


def main(name, where, connections):
    with open("/proc/self/comm", "w", encoding="ascii") as comm:
        comm.write(name)
    print("ready")
    # Until then nothing is to be connected: an agent starts.
    sys.stdin.readline()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    options = {"ssl": context, "compression": None, "max_size": None, "ping_interval": None, "proxy": None,
               # A connection that is to be closed by hand.
               "legacy": True}
    opened = [connect(where, **options) for _ in range(connections)]
    print("open")
    for line in sys.stdin:
        order = json.loads(line)
        if "close" in order:
            for connection in opened:
                connection.close(order["close"])
            print("closed")
            continue
        print(sum(take(connection, step) for connection in opened for step in order["steps"]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[4]))
