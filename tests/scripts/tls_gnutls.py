"""Clients and servers that speak TLS by GnuTLS, for a puppet: `from tls_gnutls import *`, then `use(PORT)` or
`serve(CERTIFICATE, KEY)`.

What a client can be told is what `tls_client` has, on sessions of GnuTLS in place of Python's, and what only GnuTLS can do.
The library is called directly (`ctypes`), by its manual: https://www.gnutls.org/manual/gnutls.html.
"""

import ctypes
import errno
import select
import socket
import tempfile
import threading
from ctypes import byref, c_char_p, c_int, c_long, c_size_t, c_ssize_t, c_uint, c_void_p

import tls_client
from tls_client import answer, ask, briefly, head, in_threads, in_turns, login, logout, put, sessions, target

# Of gnutls/gnutls.h.
SERVER, CLIENT = 1, 2
AGAIN, INTERRUPTED = -28, -52
CREDENTIALS_CERTIFICATE, FORMAT_PEM, SHUT_RDWR, CORK_WAIT, UPDATE_PEER = 1, 1, 0, 1, 1
# Bytes of plaintext in a record, at most.
RECORD = 16_384

library = ctypes.CDLL("libgnutls.so.30")
# OpenSSL's functions by those of GnuTLS. It is there from the start, so that whoever looks at what is mapped finds it.
wrapper = ctypes.CDLL("libgnutls-openssl.so.27")


def declared(name, result, *arguments):
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function


MOVES = ctypes.CFUNCTYPE(c_ssize_t, c_void_p, c_void_p, c_size_t)
WAITS = ctypes.CFUNCTYPE(c_int, c_void_p, c_uint)
init = declared("gnutls_init", c_int, c_void_p, c_uint)
deinit = declared("gnutls_deinit", None, c_void_p)
set_priority = declared("gnutls_priority_set_direct", c_int, c_void_p, c_char_p, c_void_p)
set_credentials = declared("gnutls_credentials_set", c_int, c_void_p, c_int, c_void_p)
set_sockets = declared("gnutls_transport_set_int2", None, c_void_p, c_int, c_int)
set_push = declared("gnutls_transport_set_push_function", None, c_void_p, MOVES)
set_pull = declared("gnutls_transport_set_pull_function", None, c_void_p, MOVES)
set_pull_timeout = declared("gnutls_transport_set_pull_timeout_function", None, c_void_p, WAITS)
set_errno = declared("gnutls_transport_set_errno", None, c_void_p, c_int)
handshake = declared("gnutls_handshake", c_int, c_void_p)
bye = declared("gnutls_bye", c_int, c_void_p, c_int)
record_send = declared("gnutls_record_send", c_ssize_t, c_void_p, c_void_p, c_size_t)
record_recv = declared("gnutls_record_recv", c_ssize_t, c_void_p, c_void_p, c_size_t)
record_recv_seq = declared("gnutls_record_recv_seq", c_ssize_t, c_void_p, c_void_p, c_size_t, c_char_p)
record_send_range = declared("gnutls_record_send_range", c_ssize_t, c_void_p, c_void_p, c_size_t, c_void_p)
record_send_file = declared("gnutls_record_send_file", c_ssize_t, c_void_p, c_int, c_void_p, c_size_t)
recv_packet = declared("gnutls_record_recv_packet", c_ssize_t, c_void_p, c_void_p)
packet_get = declared("gnutls_packet_get", None, c_void_p, c_void_p, c_void_p)
packet_deinit = declared("gnutls_packet_deinit", None, c_void_p)
cork = declared("gnutls_record_cork", None, c_void_p)
uncork = declared("gnutls_record_uncork", c_int, c_void_p, c_uint)
key_update = declared("gnutls_session_key_update", c_int, c_void_p, c_uint)
allocate = declared("gnutls_certificate_allocate_credentials", c_int, c_void_p)
set_files = declared("gnutls_certificate_set_x509_key_file", c_int, c_void_p, c_char_p, c_char_p, c_int)


def right(result, what):
    if result < 0:
        raise OSError(f"{what}: {result}")
    return result


def credentials(certificate=None, key=None):
    made = c_void_p()
    right(allocate(byref(made)), "credentials")
    if certificate:
        right(set_files(made, certificate.encode(), key.encode(), FORMAT_PEM), "certificate")
    return made


class Session:
    """A session on a socket, with what `tls_client` wants of one."""

    session = None
    session_reused = False

    def __init__(self, one, flags, priority, credentials, through=None):
        self.socket, self.handle = one, c_void_p()
        right(init(byref(self.handle), flags), "init")
        right(set_priority(self.handle, priority.encode(), None), "priority")
        right(set_credentials(self.handle, CREDENTIALS_CERTIFICATE, credentials), "credentials")
        self.buffer = ctypes.create_string_buffer(1 << 20)
        set_sockets(self.handle, one.fileno(), one.fileno())
        if through:
            through(self)
        self.until(lambda: handshake(self.handle))

    def until(self, call):
        """Makes a call until it does not ask to be made again."""
        while True:
            result = call()
            if result not in (AGAIN, INTERRUPTED):
                return right(result, "call")

    def send(self, data):
        return self.until(lambda: record_send(self.handle, data, len(data)))

    def sendall(self, data):
        data, at = bytes(data), 0
        while at < len(data):
            at += self.send(data[at:])

    def recv(self, size):
        length = self.until(lambda: record_recv(self.handle, self.buffer, min(size, len(self.buffer))))
        return self.buffer.raw[:length] if length < 1024 else ctypes.string_at(self.buffer, length)

    def unwrap(self):
        self.until(lambda: bye(self.handle, SHUT_RDWR))

    def close(self):
        deinit(self.handle)
        self.socket.close()


class Context:
    """Has `tls_client` open sessions of a class."""

    def __init__(self, version, through, kind):
        self.priority, self.through, self.kind = f"NORMAL:-VERS-ALL:+VERS-{version}", through, kind
        self.credentials = credentials()

    def wrap_socket(self, one, session=None):
        return self.kind(one, CLIENT, self.priority, self.credentials, self.through)


def use(port, version="TLS1.3", through=None, kind=Session):
    target.update(port=port, context=Context(version, through, kind))


def moved_by(session, push, pull, waits=None):
    session.functions = MOVES(push), MOVES(pull), waits
    set_push(session.handle, session.functions[0])
    set_pull(session.handle, session.functions[1])
    if waits:
        set_pull_timeout(session.handle, waits)


def by_own_functions(session):
    """The session's records move by functions of ours, which use the socket themselves."""
    one = session.socket

    def push(_, data, length):
        return one.send(ctypes.string_at(data, length))

    def pull(_, buffer, length):
        data = one.recv(length)
        ctypes.memmove(buffer, data, len(data))
        return len(data)

    moved_by(session, push, pull)


def through_memory(session):
    """The session's records are put into memory, and moved between its calls."""
    came, goes, ended = bytearray(), bytearray(), []

    def push(_, data, length):
        goes.extend(ctypes.string_at(data, length))
        return length

    def pull(_, buffer, length):
        if not came and not ended:
            set_errno(session.handle, errno.EAGAIN)
            return -1
        data = bytes(came[:length])
        del came[:length]
        ctypes.memmove(buffer, data, len(data))
        return len(data)

    # There is something or nothing: to wait for it is no work of GnuTLS.
    moved_by(session, push, pull, WAITS(lambda *_: 1))

    def until(call):
        while True:
            result = call()
            if goes:
                session.socket.sendall(goes)
                goes.clear()
            elif result == AGAIN:
                data = session.socket.recv(65536)
                came.extend(data)
                ended.extend([True] if not data else [])
            if result != AGAIN:
                return right(result, "call")

    session.until = until


class Sequenced(Session):
    """Reads by the function that tells a record's number, too."""

    def recv(self, size):
        number = ctypes.create_string_buffer(8)
        length = self.until(lambda: record_recv_seq(self.handle, self.buffer, min(size, len(self.buffer)), number))
        return self.buffer.raw[:length] if length < 1024 else ctypes.string_at(self.buffer, length)


class Packets(Session):
    """Reads records without a buffer of its own."""

    def __init__(self, *arguments):
        self.left = b""
        super().__init__(*arguments)

    def recv(self, size):
        if not self.left:
            packet, datum = c_void_p(), (c_void_p * 2)()
            self.until(lambda: recv_packet(self.handle, byref(packet)))
            packet_get(packet, byref(datum), None)
            self.left = ctypes.string_at(datum[0], datum[1] & 0xFFFFFFFF)
            packet_deinit(packet)
        data, self.left = self.left[:size], self.left[size:]
        return data


class Ranged(Session):
    """Sends records that hide how long they are."""

    def send(self, data):
        limits = (c_size_t * 2)(len(data), len(data) + 40)
        return self.until(lambda: record_send_range(self.handle, data, len(data), byref(limits)))


class Wrapped:
    """A session of the functions that `libgnutls-openssl` has in OpenSSL's place."""

    session = None
    session_reused = False

    def __init__(self, one, *_):
        self.socket = one
        for name in ("SSLv23_client_method", "SSL_CTX_new", "SSL_new"):
            getattr(wrapper, name).restype = c_void_p
        wrapper.SSL_library_init()
        self.context = c_void_p(wrapper.SSL_CTX_new(c_void_p(wrapper.SSLv23_client_method())))
        self.handle = c_void_p(wrapper.SSL_new(self.context))
        wrapper.SSL_set_fd(self.handle, one.fileno())
        if wrapper.SSL_connect(self.handle) <= 0:
            raise ConnectionError("no handshake")

    def sendall(self, data):
        data, at = bytes(data), 0
        while at < len(data):
            at += right(wrapper.SSL_write(self.handle, data[at:], len(data) - at), "SSL_write")

    def recv(self, size):
        buffer = ctypes.create_string_buffer(size)
        # It returns 0 behind a record that is not the server's data, too, such as a ticket.
        lengths = (wrapper.SSL_read(self.handle, buffer, size) for _ in range(10))
        length = next((length for length in lengths if length > 0), 0)
        return buffer.raw[:length]

    def unwrap(self):
        wrapper.SSL_shutdown(self.handle)

    def close(self):
        wrapper.SSL_free(self.handle)
        self.socket.close()


def put_corked(one, length, step, waits):
    """Sends a body of so many bytes, so many of them in a call, of which GnuTLS keeps all until it is told to send them."""
    data = head("POST", "/takes", length) + b"x" * length
    cork(one.handle)
    for at in range(0, len(data), step):
        one.send(data[at:at + step])
    again = 0
    if waits:
        right(uncork(one.handle, CORK_WAIT), "uncork")
    else:
        one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        one.socket.setblocking(False)
        while (result := uncork(one.handle, 0)) == AGAIN:
            again += 1
            select.select([], [one.socket], [])
        one.socket.setblocking(True)
        right(result, "uncork")
    return [answer(one, 65536), again]


def ask_without_waiting(one, other, times):
    """Asks for /page so often in calls that do not wait, of a record each, and reads what has come meanwhile. A call that
    has sent nothing is made again without its buffer, also by another thread, and after calls in the other session. What is
    asked is so long that the server has to be waited for. Tells how many answers there were, and how often a call was made
    again."""
    data = b"".join(head("GET", "/page")[:-2] + b"X-Filler: " + b"f" * 5000 + b"\r\n\r\n" for _ in range(times))
    whole = ctypes.create_string_buffer(data, len(data))
    start = ctypes.addressof(whole)
    one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    one.socket.setblocking(False)
    at = again = answers = 0
    waits, rest = False, b""

    def take():
        nonlocal rest, answers
        while (length := record_recv(one.handle, one.buffer, len(one.buffer))) > 0:
            text = rest + ctypes.string_at(one.buffer, length)
            answers += text.count(b"HTTP/1.1 200")
            # So little that no answer is in it twice.
            rest = text[-11:]
        if length != AGAIN:
            right(length, "record_recv")

    def resume():
        nonlocal result
        result = record_send(one.handle, None, 0)

    while at < len(data):
        if not waits:
            result = record_send(one.handle, start + at, min(RECORD, len(data) - at))
        elif again % 3 == 2:
            thread = threading.Thread(target=resume)
            thread.start()
            thread.join()
        else:
            resume()
        waits = result == AGAIN
        if waits:
            again += 1
            if again % 3 == 1:
                ask(other, "/page")
            take()
            select.select([one.socket], [one.socket], [], 5)
        else:
            at += right(result, "record_send")
    while answers < times:
        select.select([one.socket], [], [], 5)
        take()
    one.socket.setblocking(True)
    return [answers, again]


def update_keys(one):
    """Has both ends encrypt with new keys from here on."""
    right(key_update(one.handle, UPDATE_PEER), "key_update")


def in_one_place(count):
    """So many sessions one after the other, with a request in each. Tells at how many addresses they were."""
    places = set()
    for _ in range(count):
        one = tls_client.opened()
        places.add(one.handle.value)
        ask(one, "/page")
        tls_client.leave(one)
    return len(places)


# What a server answers, by path, and how.
BODIES = {"/page": b"p" * 200, "/large": b"l" * 1_000_000}


def answered(one, path, left):
    """Answers a request."""
    while left:
        left -= len(one.recv(min(left, 65536)))
    body = BODIES.get(path.split("-")[0], b"")
    status = "201 Created" if path == "/takes" else "200 OK" if body else "404 Not Found"
    first = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    if path.endswith("-corked"):
        cork(one.handle)
        for at in range(0, len(body), 100_000):
            one.send((first if at == 0 else b"") + body[at:at + 100_000])
        right(uncork(one.handle, CORK_WAIT), "uncork")
    elif path.endswith("-bytes"):
        for byte in first + body:
            one.send(bytes([byte]))
    elif path.endswith("-file"):
        one.sendall(first)
        with tempfile.TemporaryFile() as file:
            file.write(body)
            file.seek(0)
            left = len(body)
            while left:
                left -= one.until(lambda: record_send_file(one.handle, file.fileno(), None, left))
    else:
        one.sendall(first + body)


def work(listener, made, priority):
    """Serves a connection after the other."""
    while True:
        one, _ = listener.accept()
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = Session(one, SERVER, priority, made)
        data = b""
        try:
            while part := session.recv(65536):
                data += part
                while b"\r\n\r\n" in data:
                    text, data = data.split(b"\r\n\r\n", 1)
                    path = text.split()[1].decode()
                    length = text.lower().split(b"content-length:")[1].split()[0] if b"Length:" in text else 0
                    left = max(0, int(length) - len(data))
                    data = data[int(length):]
                    answered(session, path, left)
            session.unwrap()
        except OSError:
            pass
        session.close()


def serve(certificate, key, version="TLS1.3", threads=2):
    """Serves on a port of its own, which it tells."""
    listener = socket.create_server(("127.0.0.1", 0))
    made, priority = credentials(certificate, key), f"NORMAL:-VERS-ALL:+VERS-{version}"
    for _ in range(threads):
        threading.Thread(target=work, args=(listener, made, priority), daemon=True).start()
    return listener.getsockname()[1]


class Curl:
    """libcurl with GnuTLS, by a handle that keeps its connection (https://curl.se/libcurl/c/)."""

    URL, POSTFIELDS, METHOD, WRITE, SIZE, VERIFY_PEER, VERIFY_HOST = 10002, 10015, 10036, 20011, 60, 64, 81
    GET, VERSION, NO_BODY, HTTP, SIGNALS, CODE = 80, 32, 44, 84, 99, 0x200002

    def __init__(self, version):
        self.library = ctypes.CDLL("libcurl-gnutls.so.4")
        self.library.curl_easy_init.restype = c_void_p
        self.handle = c_void_p(self.library.curl_easy_init())
        self.length = 0

        def write(data, size, count, _):
            self.length += size * count
            return size * count

        self.write = ctypes.CFUNCTYPE(c_size_t, c_void_p, c_size_t, c_size_t, c_void_p)(write)
        self.set(self.WRITE, self.write)
        # CURL_SSLVERSION_TLSv1_2 or _3, and no more than that; CURL_HTTP_VERSION_1_1.
        number = {"1.2": 6, "1.3": 7}[version]
        for option, value in ((self.VERIFY_PEER, 0), (self.VERIFY_HOST, 0), (self.HTTP, 2), (self.SIGNALS, 1),
                              (self.VERSION, number | number << 16)):
            self.set(option, c_long(value))

    def set(self, option, value):
        right(-self.library.curl_easy_setopt(self.handle, c_int(option), value), f"option {option}")

    def ask(self, url, sends=None):
        """Makes a request. Tells its status, and how many bytes of body it was answered with."""
        self.length = 0
        self.set(self.URL, c_char_p(url.encode()))
        if sends is None:
            self.set(self.GET, c_long(1))
        else:
            self.set(self.SIZE, c_long(sends))
            self.body = ctypes.create_string_buffer(b"x" * sends)
            self.set(self.POSTFIELDS, self.body)
        right(-self.library.curl_easy_perform(self.handle), url)
        status = c_long()
        self.library.curl_easy_getinfo(self.handle, c_int(self.CODE), byref(status))
        return [status.value, self.length]

    def close(self):
        self.library.curl_easy_cleanup(self.handle)
