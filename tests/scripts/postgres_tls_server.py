"""A server of Postgres that speaks TLS from the first byte on, as PostgreSQL does since 17, and has no more than idle
sessions."""

import ssl


def message(kind, payload):
    return kind + (len(payload) + 4).to_bytes(4, "big") + payload


WELCOME = b"".join([
    message(b"R", bytes(4)),
    message(b"S", b"server_version\x0017.0\0"),
    message(b"S", b"client_encoding\0UTF8\0"),
    message(b"K", bytes(8)),
    message(b"Z", b"I"),
])


def take(one, count):
    taken = b""
    while len(taken) < count:
        part = one.recv(count - len(taken))
        if not part:
            raise EOFError("the client has left")
        taken += part
    return taken


def greet(listener, certificate, key):
    """Accepts a client, which must ask for Postgres inside TLS, and tells it that it is in. Tells its session."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["postgresql"])
    one = context.wrap_socket(listener.accept()[0], server_side=True)
    if one.selected_alpn_protocol() != "postgresql":
        raise ValueError(f"it asks for {one.selected_alpn_protocol()}")
    length = int.from_bytes(take(one, 4), "big")
    take(one, length - 4)
    one.sendall(WELCOME)
    return one
