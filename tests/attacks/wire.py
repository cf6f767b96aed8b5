"""Raw sockets: requests and WebSocket frames exactly as a row wants them, and what came back."""

import json
import os
import socket
import struct
import time

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ECHO = "/debug/echo"
CLIENT = "/connection/websocket"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
GONE = (ConnectionError, TimeoutError, OSError)


def head(lines, host="127.0.0.1"):
    """A request head of these lines, with a Host."""
    return ("\r\n".join([lines[0], f"Host: {host}", *lines[1:]]) + "\r\n\r\n").encode("latin-1")


def upgrade(path=ECHO, extra=(), without=(), method="GET", version="HTTP/1.1"):
    """A request to become a WebSocket; `extra` lines are added, names in `without` are left out."""
    lines = ["Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {KEY}",
             "Sec-WebSocket-Version: 13"]
    kept = [line for line in lines if line.split(":")[0] not in without]
    return head([f"{method} {path} {version}", *kept, *extra])


def frame(opcode, payload=b"", fin=True, rsv=0, mask=b"\x11\x22\x33\x44", length=None):
    """A frame of a client. `length` are bytes to use for the length instead of the right ones."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    masked = 0x80 if mask else 0
    if length is None:
        size = len(payload)
        if size < 126:
            length = bytes([size])
        elif size < 65536:
            length = b"\x7e" + struct.pack("!H", size)
        else:
            length = b"\x7f" + struct.pack("!Q", size)
    second = length[0] | masked
    body = bytes(b ^ mask[i % 4] for i, b in enumerate(payload)) if mask else payload
    return bytes([first, second]) + length[1:] + (mask or b"") + body


class Socket:
    """One connection to the server."""

    def __init__(self, server, receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(5)
        self.socket.connect(("127.0.0.1", server.port))
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, octets):
        """Sends all of it; False if the peer was gone before."""
        try:
            self.socket.sendall(octets)
            return True
        except GONE:
            return False

    def receive(self, seconds):
        """More bytes; empty at the end, None if nothing came in time."""
        self.socket.settimeout(max(seconds, 0.001))
        try:
            return self.socket.recv(65536)
        except TimeoutError:
            return None
        except GONE:
            return b""

    def read_to_end(self, seconds):
        """All that comes until the peer closes; and whether it did."""
        give_up = time.monotonic() + seconds
        while (left := give_up - time.monotonic()) > 0:
            octets = self.receive(left)
            if octets == b"":
                return self.buffer, True
            self.buffer += octets or b""
        return self.buffer, False

    def open(self, path=ECHO, extra=()):
        """Becomes a WebSocket."""
        self.send(upgrade(path, extra))
        give_up = time.monotonic() + 5
        while b"\r\n\r\n" not in self.buffer and time.monotonic() < give_up:
            self.buffer += self.receive(1) or b""
        answer, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 101"):
            raise AssertionError(f"no upgrade: {answer[:80]!r}")
        return self

    def next_frame(self, seconds=5):
        """The next frame as (opcode, payload); None at the end or if nothing came in time."""
        give_up = time.monotonic() + seconds
        while True:
            found = take_frame(self.buffer)
            if found:
                opcode, payload, self.buffer = found
                return opcode, payload
            octets = self.receive(give_up - time.monotonic())
            if not octets:
                return None
            self.buffer += octets

    def close_code(self, seconds=5):
        """The code of the close frame; 0 if the connection ended without one; None if it lives."""
        give_up = time.monotonic() + seconds
        while (left := give_up - time.monotonic()) > 0:
            found = self.next_frame(left)
            if found is None:
                return 0 if self.receive(0.05) == b"" else None
            if found[0] == CLOSE:
                return struct.unpack("!H", found[1][:2])[0] if len(found[1]) >= 2 else 1005
        return None

    def client(self):
        """Becomes a client of the Centrifuge protocol, in JSON."""
        self.open(CLIENT)
        self.replies = []
        self.command({"id": 1, "connect": {}})
        return self

    def command(self, *commands):
        lines = "\n".join(json.dumps(command) for command in commands)
        return self.send(frame(TEXT, lines.encode(), mask=os.urandom(4)))

    def reply(self, seconds=5):
        """The next reply or push as an object; None if nothing came. Pings are answered."""
        while True:
            while self.replies:
                if reply := self.replies.pop(0):
                    return reply
                self.command({})
            found = self.next_frame(seconds)
            if found is None or found[0] == CLOSE:
                return None
            if found[0] == TEXT:
                self.replies = [json.loads(line) for line in found[1].splitlines() if line]

    def answer_to(self, number, seconds=5):
        while (reply := self.reply(seconds)) is not None:
            if reply.get("id") == number:
                return reply
        return None


def take_frame(buffer):
    """Splits a frame of a server from the start of the buffer."""
    if len(buffer) < 2:
        return None
    size, start = buffer[1] & 0x7F, 2
    if size >= 126:
        width = 2 if size == 126 else 8
        if len(buffer) < 2 + width:
            return None
        size, start = int.from_bytes(buffer[2:2 + width], "big"), 2 + width
    if len(buffer) < start + size:
        return None
    return buffer[0] & 0x0F, buffer[start:start + size], buffer[start + size:]


def exchange(server, octets, seconds=3):
    """Sends bytes on a new connection; returns the statuses that came back, the text, the end."""
    with Socket(server) as connection:
        connection.send(octets)
        answer, is_ended = connection.read_to_end(seconds)
    statuses = [int(part[:3]) for part in answer.decode("latin-1").split("HTTP/1.1 ")[1:]
                if part[:3].isdigit()]
    return statuses, answer, is_ended
