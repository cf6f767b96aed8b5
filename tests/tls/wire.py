"""A client of TLS by Python's ssl: on a socket, or on memory, where a test decides what becomes of
each byte."""

import base64
import os
import socket
import ssl

SECONDS_MAX = 15


def context(cafile, version=None, alpn=("http/1.1",)):
    """A client that trusts one certificate; `version` fixes the version."""
    made = ssl.create_default_context(cafile=str(cafile))
    if version:
        made.minimum_version = made.maximum_version = version
    if alpn:
        made.set_alpn_protocols(list(alpn))
    return made


def connect(port, ssl_context, host="one.example", session=None):
    plain = socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        return ssl_context.wrap_socket(plain, server_hostname=host, session=session,
                                       suppress_ragged_eofs=False)
    except BaseException:
        plain.close()
        raise


def request(path="/health", *headers):
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: one.example", *headers, "", ""]).encode()


def upgrade(path="/debug/echo"):
    key = base64.b64encode(os.urandom(16)).decode()
    return request(path, "Upgrade: websocket", "Connection: Upgrade",
                   f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13")


def frame(payload, opcode=2):
    """A frame of RFC 6455 with the mask zero, which leaves the payload as it is."""
    length = len(payload)
    if length < 126:
        head = bytes([0x80 | opcode, 0x80 | length])
    else:
        head = bytes([0x80 | opcode, 0x80 | 126]) + length.to_bytes(2, "big")
    return head + bytes(4) + payload


class Reader:
    """Takes whole answers and frames out of anything with recv()."""

    def __init__(self, connection):
        self.connection, self.held = connection, b""

    def more(self):
        part = self.connection.recv(65536)
        self.held += part
        return part

    def exactly(self, count):
        while len(self.held) < count:
            if not self.more():
                raise EOFError(f"{len(self.held)} of {count} bytes: {self.held[:80]!r}")
        taken, self.held = self.held[:count], self.held[count:]
        return taken

    def answer(self):
        """Head and body of an answer of HTTP."""
        while b"\r\n\r\n" not in self.held:
            if not self.more():
                raise EOFError(f"no answer: {self.held[:80]!r}")
        head, _, self.held = self.held.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        body = self.exactly(int(lengths[0].split(b":")[1])) if lengths else b""
        return head.decode(), body

    def frame(self):
        """Opcode and payload of a frame of the server."""
        first, second = self.exactly(2)
        length = second & 0x7f
        if length == 126:
            length = int.from_bytes(self.exactly(2), "big")
        elif length == 127:
            length = int.from_bytes(self.exactly(8), "big")
        return first & 0x0f, self.exactly(length)


class Memory:
    """TLS on memory over a plain socket: `step` bytes at a time go out."""

    def __init__(self, port, ssl_context, step=1 << 20, host="one.example"):
        self.plain = socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX)
        self.plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.step = step
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = ssl_context.wrap_bio(self.incoming, self.outgoing, server_hostname=host)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.plain.close()

    def flush(self):
        data = self.outgoing.read()
        for start in range(0, len(data), self.step):
            self.plain.sendall(data[start:start + self.step])

    def until_done(self, act):
        while True:
            try:
                result = act()
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                part = self.plain.recv(65536)
                if not part:
                    self.incoming.write_eof()
                self.incoming.write(part)

    def shake(self):
        self.until_done(self.tls.do_handshake)
        return self

    def sendall(self, data):
        self.tls.write(data)
        self.flush()

    def recv(self, count):
        return self.until_done(lambda: self.tls.read(count))
