"""Clients that speak TLS on sockets of their own, for a puppet: `from tls_client import *`, then `use(PORT)`.

OpenSSL moves all records itself here: `ssl.SSLSocket` gives it the socket. What goes past its usual functions is
`past_the_functions`.
"""

import ctypes
import json
import os
import queue
import socket
import ssl
import threading

target = {}
sessions = []


def use(port, version=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version:
        context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
    target.update(port=port, context=context)


def opened(session=None):
    one = socket.create_connection(("127.0.0.1", target["port"]))
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return target["context"].wrap_socket(one, session=session)


def login(count):
    sessions.extend(opened() for _ in range(count))


def leave(one):
    """Says that it leaves, and closes the socket, whether the server says so, too, or has done before."""
    try:
        one.unwrap()
    except OSError:
        pass
    one.close()


def logout():
    for one in sessions:
        leave(one)
    sessions.clear()


def head(method, path, length=None):
    size = "" if length is None else f"Content-Length: {length}\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: test\r\n{size}\r\n".encode()


def answer(one, step):
    """Reads an answer whole, at most so many bytes in a call. Tells its status."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = one.recv(step)
        if not part:
            raise EOFError(data)
        data += part
    first, body = data.split(b"\r\n\r\n", 1)
    left = int(first.lower().split(b"content-length:")[1].split()[0]) - len(body)
    while left:
        part = one.recv(min(step, left))
        if not part:
            raise EOFError(f"{left} bytes short")
        left -= len(part)
    return int(first.split()[1])


def ask(one, path, times=1, step=65536):
    """Asks for the same so often. Tells how many answers were 200."""
    right = 0
    for _ in range(times):
        one.sendall(head("GET", path))
        right += answer(one, step) == 200
    return right


def put(one, length, step):
    """Sends a body of so many bytes, so many of them in a call."""
    data = head("POST", "/takes", length) + b"x" * length
    for at in range(0, len(data), step):
        one.sendall(data[at:at + step])
    return answer(one, 65536)


def put_without_waiting(one, length):
    """Sends it in calls that do not wait: those that moved nothing are made again. Tells how often they were."""
    data = memoryview(head("POST", "/takes", length) + b"x" * length)
    again, at = 0, 0
    # Less than a record has.
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    one.setblocking(False)
    while at < len(data):
        try:
            at += one.send(data[at:])
        except ssl.SSLWantWriteError:
            again += 1
    one.setblocking(True)
    answer(one, 65536)
    return again


def briefly(count, resumed):
    """So many connections, with a request on each. Tells how many went on with a session of before."""
    session, reused = None, 0
    for _ in range(count):
        one = opened(session if resumed else None)
        reused += one.session_reused
        ask(one, "/page")
        session = one.session
        leave(one)
    return reused


def in_threads(threads, times):
    """Threads that each have a connection. Tells how many answers were right."""
    right = []

    def work(number):
        one = opened()
        right.append(ask(one, "/page" if number % 2 else "/large", times))
        leave(one)

    all_of_them = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in all_of_them:
        thread.start()
    for thread in all_of_them:
        thread.join()
    return sum(right)


def in_turns(one, times):
    """Two threads that use a connection in turn: one asks, the other reads the answer and asks next. Tells how many
    answers were right."""
    turns = [queue.Queue(), queue.Queue()]
    right = []

    def work(number):
        for _ in range(times):
            turns[number].get()
            right.append(answer(one, 65536) == 200)
            one.sendall(head("GET", "/page"))
            turns[1 - number].put(None)

    both = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in both:
        thread.start()
    one.sendall(head("GET", "/page"))
    turns[0].put(None)
    for thread in both:
        thread.join()
    return sum(right) + (answer(one, 65536) == 200)


def in_child(one, times):
    """A child goes on with a connection. Tells how many answers it got right."""
    entry, exit_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(exit_end, json.dumps(ask(one, "/page", times)).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    told = os.read(entry, 100)
    os.close(entry)
    os.close(exit_end)
    return json.loads(told)


def mapped():
    """Where the code of this process's library is: path, first address, address behind the last, place in the file."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            fields = line.split(maxsplit=5)
            if len(fields) == 6 and "libssl" in fields[5] and "x" in fields[1]:
                start, end = (int(address, 16) for address in fields[0].split("-"))
                yield fields[5].strip(), start, end, int(fields[2], 16)


def library():
    return next(mapped())[0]


def breakpoints():
    """How many bytes of the library's code are others in memory than in its file."""
    count = 0
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        for path, start, end, offset in mapped():
            with open(path, "rb") as file:
                ours, theirs = os.pread(memory.fileno(), end - start, start), os.pread(file.fileno(), end - start, offset)
            # Behind the file's end there is nothing to compare.
            count += sum(a != b for a, b in zip(ours, theirs))
    return count


def past_the_functions(paths):
    """Requests through libssl's filter, which reads and writes in its own functions instead of SSL_read and SSL_write.
    Tells how many answers were right."""
    of_ssl, of_crypto = ctypes.CDLL(library()), ctypes.CDLL("libcrypto.so.3")
    for function in (of_ssl.TLS_client_method, of_ssl.SSL_CTX_new, of_ssl.BIO_new_ssl_connect):
        function.restype = ctypes.c_void_p
    of_crypto.BIO_ctrl.restype = ctypes.c_long
    of_crypto.BIO_ctrl.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p]
    of_crypto.BIO_write.argtypes = of_crypto.BIO_read.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    context = ctypes.c_void_p(of_ssl.SSL_CTX_new(ctypes.c_void_p(of_ssl.TLS_client_method())))
    bio = ctypes.c_void_p(of_ssl.BIO_new_ssl_connect(context))
    # BIO_C_SET_CONNECT and BIO_C_DO_STATE_MACHINE, in openssl/bio.h.
    of_crypto.BIO_ctrl(bio, 100, 0, f"127.0.0.1:{target['port']}".encode())
    if of_crypto.BIO_ctrl(bio, 101, 0, None) <= 0:
        raise ConnectionError("no handshake")

    class Filter:
        @staticmethod
        def sendall(data):
            if of_crypto.BIO_write(bio, data, len(data)) != len(data):
                raise ConnectionError("not written")

        @staticmethod
        def recv(size):
            buffer = ctypes.create_string_buffer(size)
            length = of_crypto.BIO_read(bio, buffer, size)
            return buffer.raw[:max(0, length)]

    target["filter"] = (bio, context, Filter)
    return sum(ask(Filter, path) for path in paths)
