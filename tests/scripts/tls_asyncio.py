"""HTTPS by Python's asyncio, which has OpenSSL put its records into memory and moves them itself, for a puppet:
`from tls_asyncio import *`. What does so without asyncio, and sends as it likes, is `by_hand`.
"""

import asyncio
import socket
import ssl
import threading
import time

loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
counts = {"requests": 0}
opened = []
BODY = b"x" * 1000
REQUEST = b"GET /page HTTP/1.1\r\nHost: test\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + BODY


def use_uvloop():
    """From now on, instead of asyncio's own loop."""
    global loop
    import uvloop

    loop = uvloop.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()


def wait_for(work):
    return asyncio.run_coroutine_threadsafe(work, loop).result(60)


def trusting():
    """A client's context, whoever the server is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def answer(reader, writer):
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            counts["requests"] += 1
            writer.write(ANSWER)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def serve(certificate, key):
    """Answers all requests with a page. Tells the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = wait_for(asyncio.start_server(answer, "127.0.0.1", 0, ssl=context, backlog=1000))
    return server.sockets[0].getsockname()[1]


async def ask(connection, times):
    """Asks for the page so often. Tells how many answers were right."""
    reader, writer = connection
    right = 0
    for _ in range(times):
        writer.write(REQUEST)
        right += await reader.readexactly(len(ANSWER)) == ANSWER
    return right


def together(port, connections, times):
    """So many connections at once, which stay open. Tells how many answers were right."""
    context = trusting()

    async def one():
        connection = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        opened.append(connection)
        return await ask(connection, times)

    async def all_of_them():
        return sum(await asyncio.gather(*(one() for _ in range(connections))))

    return wait_for(all_of_them())


def leave():
    """Closes all that is open. Tells how many that were."""
    async def one(writer):
        writer.close()
        await writer.wait_closed()

    async def all_of_them():
        await asyncio.gather(*(one(writer) for _, writer in opened), return_exceptions=True)

    wait_for(all_of_them())
    count = len(opened)
    opened.clear()
    return count


def only_hello(port, count):
    """So many connections that end after their ClientHello."""
    for _ in range(count):
        outgoing = ssl.MemoryBIO()
        session = trusting().wrap_bio(ssl.MemoryBIO(), outgoing)
        try:
            session.do_handshake()
        except ssl.SSLWantReadError:
            pass
        with socket.create_connection(("127.0.0.1", port)) as one:
            one.sendall(outgoing.read())


def in_threads(port, threads, times):
    """A connection by hand in each of so many threads. Tells how many answers were right."""
    right = []
    work = lambda cut: right.append(by_hand(port, cut, times))
    all_of_them = [threading.Thread(target=work, args=(10 + number,)) for number in range(threads)]
    for thread in all_of_them:
        thread.start()
    for thread in all_of_them:
        thread.join()
    return sum(right)


def by_hand(port, cut, times):
    """A connection whose ClientHello goes in two calls, the first one of `cut` bytes. Tells how many answers were
    right."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = trusting().wrap_bio(incoming, outgoing)

    def until_done(step, one):
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                one.sendall(outgoing.read())
                data = one.recv(65536)
                if not data:
                    raise EOFError("the server has left")
                incoming.write(data)

    with socket.create_connection(("127.0.0.1", port)) as one:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            session.do_handshake()
        except ssl.SSLWantReadError:
            one.sendall(outgoing.read(cut))
            time.sleep(0.05)
        until_done(session.do_handshake, one)
        right = 0
        for _ in range(times):
            session.write(REQUEST)
            one.sendall(outgoing.read())
            got = b""
            while len(got) < len(ANSWER):
                got += until_done(lambda: session.read(65536), one)
            right += got == ANSWER
        return right
