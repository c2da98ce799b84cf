"""Ends of TLS sessions that see what goes over the wire, and tell it: the records that each side sent, as they count them.

OpenSSL has no socket here, only memory: all bytes pass by this script."""

import socket
import ssl
import time


def records(data):
    """The records of a stream, whole ones only: types and payloads."""
    at = 0
    while at + 5 <= len(data):
        length = int.from_bytes(data[at + 3:at + 5], "big")
        yield data[at], bytes(data[at + 5:at + 5 + length])
        at += 5 + length


def told(data):
    """Bytes in application records, and alerts in the clear."""
    found = list(records(data))
    application = sum(len(payload) for kind, payload in found if kind == 23)
    return application, [payload[1] for kind, payload in found if kind == 21 and len(payload) == 2]


def contexts(version, certificate, key):
    """Those of a server and of a client that trusts it, and of one that does not, of this version alone."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.load_verify_locations(certificate)
    doubting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context in (server, trusting, doubting):
        context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
    for context in (trusting, doubting):
        context.check_hostname = False
    return server, trusting, doubting


class Peer:
    """One end of a session. `pause` is how long it waits before it answers for the first time."""

    def __init__(self, one, context, server_side, pause=0.0):
        self.one, self.pause, self.waited = one, pause, 0.0
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self.incoming, self.outgoing, server_side=server_side)
        self.sent, self.received = bytearray(), bytearray()

    def flush(self):
        data = self.outgoing.read()
        if data:
            if self.pause:
                begun = time.monotonic()
                time.sleep(self.pause)
                self.waited, self.pause = time.monotonic() - begun, 0
            self.one.sendall(data)
            self.sent += data

    def fill(self):
        data = self.one.recv(65536)
        self.received += data
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def drive(self, action):
        while True:
            try:
                result = action()
            except ssl.SSLWantReadError:
                self.flush()
                self.fill()
                continue
            finally:
                self.flush()
            return result

    def handshake(self):
        """Tells how long it took, this call and no more."""
        begun = time.monotonic()
        self.drive(self.session.do_handshake)
        return time.monotonic() - begun

    def fails(self):
        """The handshake must fail."""
        try:
            self.handshake()
        except (ssl.SSLError, ConnectionError):
            return True
        return False

    def say(self, length, times):
        for _ in range(times):
            self.drive(lambda: self.session.write(b"x" * length))

    def hear(self, length):
        left = length
        while left:
            left -= len(self.drive(lambda: self.session.read(min(left, 65536))))

    def told(self):
        """What it sent and received: bytes in application records, and alerts."""
        return [*told(self.sent), *told(self.received)]
