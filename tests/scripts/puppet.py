"""A process that does as it is told.

Called with the name it is to have (`/proc/PID/comm`), it runs one Python statement or expression a line and
answers each with a line of JSON: {"ok": value} or {"error": text}. What follows is what it can be told.
"""

import array
import base64
import ctypes
import fcntl
import hashlib
import json
import os
import signal
import socket
import struct
import sys
import termios
import time
import traceback

# No protocol that anything tells apart starts like this.
FILLER = b"\xaa\x55\xc3\x3c" * 4096
WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
libc = ctypes.CDLL(None, use_errno=True)
# What new sockets of the internet speak; 0 is TCP.
transport = 0


def name_process(name):
    libc.prctl(15, name.encode(), 0, 0, 0)


def unix_address(path):
    return "\0" + path[1:] if path.startswith("@") else path


def new_socket(address):
    if isinstance(address, str):
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    return socket.socket(family, socket.SOCK_STREAM, transport)


def listen(address=("127.0.0.1", 0), backlog=1024, reuse_port=False):
    """Listens on (host, port), or on a UNIX socket's path; an abstract one starts with an @."""
    listener = new_socket(address)
    if reuse_port:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(unix_address(address) if isinstance(address, str) else address)
    listener.listen(backlog)
    return listener


def port(listener):
    return listener.getsockname()[1]


def connect(address):
    client = new_socket(address)
    client.connect(unix_address(address) if isinstance(address, str) else address)
    return client


def connect_all(address, count):
    return [connect(address) for _ in range(count)]


def accept_all(listener, count):
    return [listener.accept()[0] for _ in range(count)]


def close_all(sockets):
    for one in sockets:
        one.close()


def try_connect(address, options=()):
    """Connects, and tells the errno of what went wrong; 0 for nothing."""
    client = new_socket(address)
    for option in options:
        client.setsockopt(*option)
    with client:
        return client.connect_ex(address)


def timed_connects(address, count):
    """Connects one after the other. Tells how long that took in all, in seconds."""
    total = 0.0
    sockets = []
    for _ in range(count):
        client = new_socket(address)
        start = time.monotonic()
        client.connect(address)
        total += time.monotonic() - start
        sockets.append(client)
    close_all(sockets)
    return total


def filler(count):
    return (FILLER * (count // len(FILLER) + 1))[:count]


def send(sockets, count):
    """Sends so many bytes on each socket."""
    for one in sockets:
        one.sendall(filler(count))


def receive(sockets, count):
    """Receives exactly so many bytes on each socket. Tells how many in all."""
    total = 0
    for one in sockets:
        left = count
        while left > 0:
            data = one.recv(min(left, 65536))
            if not data:
                raise EOFError(f"{left} bytes short")
            left -= len(data)
        total += count
    return total


def receive_to_end(one):
    total = 0
    while data := one.recv(65536):
        total += len(data)
    return total


def receive_until(one, end):
    data = b""
    while not data.endswith(end):
        byte = one.recv(1)
        if not byte:
            raise EOFError
        data += byte
    return data


def http_exchange(one, requests, size):
    """As a client: so many requests, each answered with a body of `size`. Tells bytes sent and received."""
    sent = received = 0
    for _ in range(requests):
        request = b"GET /item HTTP/1.1\r\nHost: test\r\n\r\n"
        one.sendall(request)
        sent += len(request)
        received += len(receive_until(one, b"\r\n\r\n")) + receive([one], size)
    return [sent, received]


def http_serve(one, requests, size):
    """As a server, the same."""
    sent = received = 0
    for _ in range(requests):
        received += len(receive_until(one, b"\r\n\r\n"))
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + filler(size)
        one.sendall(answer)
        sent += len(answer)
    return [sent, received]


def reset(one):
    """Closes with RST."""
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()


def try_receive(one):
    """Receives to the end, which may be a reset."""
    try:
        receive_to_end(one)
    except ConnectionError:
        pass


def run_child(work):
    """Runs `work` in a process of its own. Tells its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def run_program(arguments, descriptors=()):
    """Runs a program with descriptors of ours. Tells its exit code."""
    child = os.fork()
    if child == 0:
        for descriptor in descriptors:
            os.set_inheritable(descriptor, True)
        os.execv(arguments[0], arguments)
    return os.waitpid(child, 0)[1]


def become(name, one):
    """Executes another puppet under another name, which has the socket as `inherited`."""
    os.set_inheritable(one.fileno(), True)
    os.execv(sys.executable, [sys.executable, "-u", sys.argv[0], name, str(one.fileno())])


def give(channel, one):
    socket.send_fds(channel, [b"x"], [one.fileno()])
    one.close()


def take(channel):
    _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
    return socket.socket(fileno=descriptors[0])


def splice_from(one, count):
    """Takes so many bytes from a socket to /dev/null without reading them."""
    source, sink = os.pipe()
    null = os.open("/dev/null", os.O_WRONLY)
    left = count
    while left > 0:
        moved = os.splice(one.fileno(), sink, min(left, 65536))
        if moved == 0:
            raise EOFError(f"{left} bytes short")
        left -= moved
        while moved > 0:
            moved -= os.splice(source, null, moved)
    for descriptor in (source, sink, null):
        os.close(descriptor)
    return count


def splice_between(source, sink):
    """Passes on what comes from one socket to another, without reading it, to its end. Tells how much."""
    exit_end, entry = os.pipe()
    total = 0
    while moved := os.splice(source.fileno(), entry, 65536):
        total += moved
        while moved > 0:
            moved -= os.splice(exit_end, sink.fileno(), moved)
    for descriptor in (exit_end, entry):
        os.close(descriptor)
    return total


def zero_copy_receive(one, count):
    """Takes so many bytes, of which there are no more, from a socket with TCP_ZEROCOPY_RECEIVE, which is no
    receive (linux/tcp.h). What waits is copied as it is no more than there is room for."""
    room = ctypes.create_string_buffer(count)
    left = count
    while left > 0:
        # address, length, recv_skip_hint, inq, err, copybuf_address, copybuf_len, flags, and three of none.
        wanted = bytearray(struct.pack("=QIIIiQiIQQII", 0, 0, 0, 0, 0, ctypes.addressof(room), left, 0, 0, 0, 0, 0))
        size = ctypes.c_uint(len(wanted))
        place = (ctypes.c_char * len(wanted)).from_buffer(wanted)
        if libc.getsockopt(one.fileno(), socket.IPPROTO_TCP, 35, place, ctypes.byref(size)) != 0:
            raise OSError(ctypes.get_errno(), "TCP_ZEROCOPY_RECEIVE")
        taken = struct.unpack_from("=i", wanted, 32)[0]
        if taken == 0:
            time.sleep(0.001)
        left -= taken
    return count


def send_file(one, count):
    """Sends so many bytes of a file, which are zeroes, without reading them."""
    descriptor = os.memfd_create("payload")
    os.truncate(descriptor, count)
    send_of(one, descriptor, count)


def send_by_file(one, data):
    """Sends `data` from a file, without reading it."""
    descriptor = os.memfd_create("payload")
    os.write(descriptor, data)
    send_of(one, descriptor, len(data))


def send_of(one, descriptor, count):
    offset = 0
    while offset < count:
        offset += os.sendfile(one.fileno(), descriptor, offset, count - offset)
    os.close(descriptor)


def send_many(one, parts):
    """Sends `parts`, a message each, with one sendmmsg. Tells how many bytes went."""
    class Vector(ctypes.Structure):
        _fields_ = [("base", ctypes.c_char_p), ("length", ctypes.c_size_t)]

    class Header(ctypes.Structure):
        _fields_ = [("name", ctypes.c_void_p), ("name_length", ctypes.c_uint),
                    ("vectors", ctypes.POINTER(Vector)), ("count", ctypes.c_size_t),
                    ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t), ("flags", ctypes.c_int)]

    class Message(ctypes.Structure):
        _fields_ = [("header", Header), ("sent", ctypes.c_uint)]

    vectors = [(Vector * 1)(Vector(part, len(part))) for part in parts]
    messages = (Message * len(parts))()
    for message, vector in zip(messages, vectors):
        message.header.vectors = vector
        message.header.count = 1
    done = libc.sendmmsg(one.fileno(), messages, len(parts), 0)
    if done != len(parts):
        raise OSError(ctypes.get_errno(), f"sendmmsg sent {done}")
    return sum(message.sent for message in messages)


def unread(one):
    """Bytes that wait in a socket's queue."""
    count = array.array("i", [0])
    fcntl.ioctl(one, termios.FIONREAD, count)
    return count[0]


def ask_upgrade(one):
    """As a client, the first half of a WebSocket handshake."""
    key = base64.b64encode(os.urandom(16))
    one.sendall(b"GET /socket HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n")


def grant_upgrade(one, before=b""):
    """As a server, the whole of it, with what comes `before` the answer in the same call."""
    request = receive_until(one, b"\r\n\r\n")
    key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
    accept = base64.b64encode(hashlib.sha1(key + WEBSOCKET_GUID).digest())
    one.sendall(before + b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")


def finish_upgrade(one):
    """As a client, the second half."""
    receive_until(one, b"\r\n\r\n")


def header(size, masked, opcode=2, last=True):
    """The header of a frame, which is the last of its message or not; the mask is zero, so the payload goes as it is."""
    mask = 0x80 if masked else 0
    first = bytes([(0x80 if last else 0) | opcode])
    if size < 126:
        return first + bytes([mask | size]) + (b"\0" * 4 if masked else b"")
    if size < 65536:
        return first + bytes([mask | 126]) + struct.pack(">H", size) + (b"\0" * 4 if masked else b"")
    return first + bytes([mask | 127]) + struct.pack(">Q", size) + (b"\0" * 4 if masked else b"")


def frame(size, masked, opcode=2, last=True):
    return header(size, masked, opcode, last) + filler(size)


def send_fragments(one, sizes, masked, begins=True):
    """Sends frames of a message that does not end with them. Tells how many bytes went."""
    total = 0
    for number, size in enumerate(sizes):
        opcode = 2 if begins and number == 0 else 0
        data = frame(size, masked, opcode, last=False)
        one.sendall(data)
        total += len(data)
    return total


def send_steadily(one, data, every, seconds):
    """Sends `data` at a steady pace. Tells how often, and in how many seconds."""
    start = time.monotonic()
    count = 0
    while time.monotonic() - start < seconds:
        one.sendall(data)
        count += 1
        time.sleep(max(0.0, start + count * every - time.monotonic()))
    return [count, time.monotonic() - start]


def talk_briefly(address, messages, every, seconds):
    """Opens a WebSocket now and then, sends some messages on it and closes it. Tells how many in all, and in
    how many seconds."""
    start = time.monotonic()
    count = 0
    while time.monotonic() - start < seconds:
        with connect(address) as one:
            ask_upgrade(one)
            finish_upgrade(one)
            for _ in range(messages):
                one.sendall(frame(5, True))
        count += 1
        time.sleep(max(0.0, start + count * every - time.monotonic()))
    return [count * messages, time.monotonic() - start]


def serve_briefly(listener, count):
    """As a server, so many of those, each to its end. Tells bytes received."""
    total = 0
    for _ in range(count):
        with listener.accept()[0] as one:
            grant_upgrade(one)
            total += receive_to_end(one)
    return total


def http_ask(one, paths):
    """As a client: asks for each path in turn, and reads the answer whole. Tells the status of each."""
    return http_time(one, paths)[0]


def http_time(one, paths):
    """The same. Tells the statuses, and how many seconds each has taken."""
    statuses, seconds = [], []
    for path in paths:
        start = time.monotonic()
        one.sendall(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: test\r\n\r\n")
        head = receive_until(one, b"\r\n\r\n").lower()
        receive([one], int(head.split(b"content-length:")[1].split()[0]))
        seconds.append(time.monotonic() - start)
        statuses.append(int(head.split()[1]))
    return [statuses, seconds]


def http_pace(one, paths, per_second, seconds):
    """The same over and over, at a steady pace. Tells how often it asked, and in how many seconds."""
    start, count = time.monotonic(), 0
    while time.monotonic() - start < seconds:
        count += len(http_ask(one, [paths[count % len(paths)]]))
        time.sleep(max(0.0, start + count / per_second - time.monotonic()))
    return [count, time.monotonic() - start]


def set_last_pid(pid):
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write(str(pid))


def main():
    name_process(sys.argv[1])
    kept = globals()
    if len(sys.argv) > 2:
        # The one that became this one was told to, and left the answer to it.
        kept["inherited"] = socket.socket(fileno=int(sys.argv[2]))
        print(json.dumps({"ok": None}), flush=True)
    for line in sys.stdin:
        try:
            try:
                code = compile(line.strip(), "told", "eval")
            except SyntaxError:
                code = compile(line.strip(), "told", "exec")
            value = eval(code, kept)
            print(json.dumps({"ok": value}, default=repr), flush=True)
        except Exception as error:
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    main()
