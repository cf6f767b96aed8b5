"""A7 to A12, A14 to A16: frames that no honest client sends, on the echo and on the client path."""

import functools
import struct
import time

from wire import BINARY, CLIENT, CLOSE, ECHO, PING, PONG, TEXT, Socket, frame

LIMIT = 65536


def lengths(prefix, *octets):
    return bytes([prefix, *octets])


def closing(code, reason=b""):
    return frame(CLOSE, struct.pack("!H", code) + reason)


# Bytes after the upgrade, and the code that the server closes with.
BROKEN = {
    "A7 text not masked": (frame(TEXT, b"a", mask=None), {1002}),
    "A7 ping not masked": (frame(PING, b"a", mask=None), {1002}),
    "A7 close not masked": (frame(CLOSE, b"", mask=None), {1002}),
    "A8 RSV1": (frame(TEXT, b"a", rsv=4), {1002}),
    "A8 RSV2": (frame(TEXT, b"a", rsv=2), {1002}),
    "A8 RSV3": (frame(TEXT, b"a", rsv=1), {1002}),
    "A8 RSV on ping": (frame(PING, b"", rsv=7), {1002}),
    **{f"A8 opcode {code}": (frame(code, b"a"), {1002}) for code in [3, 4, 5, 6, 7, 11, 12, 15]},
    "A8 ping of 126": (frame(PING, b"a" * 126), {1002}),
    "A8 close of 126": (frame(CLOSE, b"\x03\xe8" + b"a" * 124), {1002}),
    "A8 ping in fragments": (frame(PING, b"a", fin=False), {1002}),
    "A8 close in fragments": (frame(CLOSE, b"", fin=False), {1002}),
    "A8 continuation of nothing": (frame(0, b"a"), {1002}),
    "A8 text inside text": (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), {1002}),
    "A9 length with top bit": (frame(BINARY, length=lengths(127, 0x80, *[0] * 7)), {1002, 1009}),
    "A9 length all ones": (frame(BINARY, length=lengths(127, *[255] * 8)), {1002, 1009}),
    "A9 length 2^62": (frame(BINARY, length=lengths(127, 0x40, *[0] * 7)), {1002, 1009}),
    "A9 length 2^32": (frame(BINARY, length=lengths(127, 0, 0, 0, 1, 0, 0, 0, 0)), {1002, 1009}),
    "A9 length 2^31": (frame(BINARY, length=lengths(127, 0, 0, 0, 0, 128, 0, 0, 0)), {1002, 1009}),
    "A10 5 in 16 bits": (frame(TEXT, b"abcde", length=lengths(126, 0, 5)), {1002}),
    "A10 125 in 16 bits": (frame(TEXT, b"a" * 125, length=lengths(126, 0, 125)), {1002}),
    "A10 5 in 64 bits": (frame(TEXT, b"abcde", length=lengths(127, *[0] * 7, 5)), {1002}),
    "A10 65535 in 64 bits": (
        frame(TEXT, b"a" * 65535, length=lengths(127, 0, 0, 0, 0, 0, 0, 255, 255)), {1002}),
    "A10 0 in 16 bits": (frame(BINARY, b"", length=lengths(126, 0, 0)), {1002}),
    "A10 ping of 5 in 16 bits": (frame(PING, b"abcde", length=lengths(126, 0, 5)), {1002}),
    "A11 one frame over the limit": (frame(BINARY, b"a" * (LIMIT + 1)), {1009}),
    "A11 announced only": (frame(BINARY, length=lengths(127, *[0] * 5, 1, 0, 1)), {1009}),
    "A11 over the limit in two": (
        frame(BINARY, b"a" * LIMIT, fin=False) + frame(0, b"b"), {1009}),
    "A11 over the limit in many": (
        frame(BINARY, b"a", fin=False) + frame(0, b"a" * 1000, fin=False) * 70, {1009}),
    "A14 bad byte": (frame(TEXT, b"\xff"), {1007}),
    "A14 overlong": (frame(TEXT, b"\xc0\xaf"), {1007}),
    "A14 surrogate": (frame(TEXT, b"\xed\xa0\x80"), {1007}),
    "A14 beyond the last": (frame(TEXT, b"\xf4\x90\x80\x80"), {1007}),
    "A14 cut short": (frame(TEXT, b"\xe2\x82"), {1007}),
    "A14 bad in the first fragment": (frame(TEXT, b"\xff", fin=False), {1007}),
    "A14 split inside, bad at once": (
        frame(TEXT, b"\xf4", fin=False) + frame(0, b"\x90", fin=False), {1007}),
    "A14 in the close reason": (closing(1000, b"\xff"), {1007, 1002}),
    "A15 close of one byte": (frame(CLOSE, b"\x03"), {1002}),
    **{f"A15 close {code}": (closing(code), {1002}) for code in
       [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]},
}

# Closes that are in order are answered with their own code.
CLOSES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]


def closed_with(path, octets, codes, server):
    with Socket(server) as connection:
        connection.open(path)
        connection.send(octets)
        code = connection.close_code(4)
    return None if code in codes else f"closed with {code}, expected {sorted(codes)}"


def echoes_split_text(server):
    """A code point in two fragments is in order."""
    with Socket(server) as connection:
        connection.open()
        connection.send(frame(TEXT, b"\xe2", fin=False) + frame(0, b"\x82\xac"))
        found = connection.next_frame()
    return None if found == (TEXT, b"\xe2\x82\xac") else f"echo {found}"


def at_the_limit(server):
    with Socket(server) as connection:
        connection.open()
        connection.send(frame(BINARY, b"a" * LIMIT))
        found = connection.next_frame()
    return None if found and len(found[1]) == LIMIT else "a message at the limit is not echoed"


def fragments(size, path, server):
    """16,000 fragments that never end: closed long before all were taken."""
    first = TEXT if path == CLIENT else BINARY
    with Socket(server) as connection:
        connection.open(path)
        connection.send(frame(first, b"a" * size, fin=False))
        flood = frame(0, b"a" * size, fin=False) * 500
        for _ in range(32):
            if not connection.send(flood):
                break
        code = connection.close_code(5)
    # The reset of a connection that still sends may overtake the close frame.
    return None if code in {1008, 1009, 0} else f"closed with {code}"


def unfinished(server):
    """Many connections each begin a large message: what they hold is bounded by what they sent."""
    held = [Socket(server).open() for _ in range(100)]
    before = server.resident_kib
    for connection in held:
        connection.send(frame(BINARY, b"a" * 1000, fin=False))
    time.sleep(0.3)
    grown = server.resident_kib - before
    for connection in held:
        connection.socket.close()
    return None if grown < 8192 else f"100 messages of 1000 bytes hold {grown} KiB"


def flood(path, opcode, server):
    """50,000 control frames, answers unread: closed, and nothing queues without bound."""
    before = server.resident_kib
    with Socket(server, receive_buffer=4096) as connection:
        connection.open(path)
        burst = frame(opcode, b"a" * 100) * 500
        for _ in range(100):
            if not connection.send(burst):
                break
        grown = server.resident_kib - before
        code = connection.close_code(5)
    if grown > 4096:
        return f"memory grew by {grown} KiB"
    return None if code in {1008, 0} else f"closed with {code}"


def answered(code, server):
    return closed_with(ECHO, closing(code), {code}, server)


def nothing_after_close(server):
    with Socket(server) as connection:
        connection.open()
        connection.send(closing(1000) + frame(TEXT, b"late") + frame(PING, b"late"))
        answer, is_ended = connection.read_to_end(6)
    if b"late" in answer:
        return "what came after the close was answered"
    return None if is_ended else "the connection stays open"


def closing_ends(server):
    """A client that was told to close and does not is closed within the time for it."""
    with Socket(server) as connection:
        connection.open()
        connection.send(frame(TEXT, b"a", rsv=4))
        started = time.monotonic()
        answer, is_ended = connection.read_to_end(8)
        seconds = time.monotonic() - started
    return None if is_ended and seconds < 6.5 else f"ended: {is_ended} after {seconds:.1f} s"


def close_storm(server):
    for _ in range(300):
        with Socket(server) as connection:
            connection.open()
            connection.send(closing(1000) * 20)
    return None


def rows():
    for path in [ECHO, CLIENT]:
        for name, (octets, codes) in BROKEN.items():
            yield f"{name} ({path})", functools.partial(closed_with, path, octets, codes)
        for size in [0, 1]:
            flooded = functools.partial(fragments, size, path)
            yield f"A12 fragments of {size} without end ({path})", flooded
        yield f"A16 ping flood ({path})", functools.partial(flood, path, PING)
        yield f"A16 pong flood ({path})", functools.partial(flood, path, PONG)
    for code in CLOSES:
        yield f"A15 close {code} is answered", functools.partial(answered, code)
    yield "A11 at the limit", at_the_limit
    yield "A12 many unfinished messages", unfinished
    yield "A14 a code point in two fragments", echoes_split_text
    yield "A15 nothing after close", nothing_after_close
    yield "A15 the closing handshake ends", closing_ends
    yield "A15 close storm", close_storm
