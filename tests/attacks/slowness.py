"""A1, A2: peers that send or read as slowly as they can."""

import time

from wire import CLIENT, TEXT, Socket, frame, head, upgrade

SLOW_COUNT = 200
HANDSHAKE_SECONDS_MAX = 5
SLACK_SECONDS = 2.5
STALL_SECONDS_MAX = 10
PAYLOAD_BYTES = 60_000


def slow_heads(server):
    """200 heads, one line each second: all closed in time, while the service answers others."""
    connections = [Socket(server) for _ in range(SLOW_COUNT)]
    for connection in connections:
        connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
    give_up = time.monotonic() + HANDSHAKE_SECONDS_MAX + SLACK_SECONDS
    while connections and time.monotonic() < give_up:
        for connection in connections:
            connection.send(b"X-A: b\r\n")
        if not server.is_healthy():
            return "the service does not answer others"
        time.sleep(1)
        connections = [one for one in connections if one.receive(0) is None]
    for connection in connections:
        connection.socket.close()
    return f"{len(connections)} of {SLOW_COUNT} are still open" if connections else None


def ended_in_time(octets, server):
    with Socket(server) as connection:
        connection.send(octets)
        answer, is_ended = connection.read_to_end(HANDSHAKE_SECONDS_MAX + SLACK_SECONDS)
    if not is_ended:
        return "still open"
    return None if not answer or b"408" in answer[:20] else f"answer {answer[:60]!r}"


def slow_body(server):
    """An API call announces a body that never comes: it must not be kept for long."""
    key = f"X-API-Key: {server.config['http_api']['key']}"
    octets = head(["POST /api/publish HTTP/1.1", key, "Content-Length: 1000"])
    with Socket(server) as connection:
        connection.send(octets + b"{")
        _, is_ended = connection.read_to_end(35)
    return None if is_ended else "an announced body that never comes is waited for over 35 s"


def no_connect_command(server):
    """A WebSocket that never sends `connect` is closed with 3502."""
    with Socket(server) as connection:
        connection.open(CLIENT)
        code = connection.close_code(13)
    return None if code == 3502 else f"closed with {code}"


def slow_reader(server):
    """A subscriber that never reads: its queue is bounded, and it is closed."""
    with Socket(server, receive_buffer=1024) as reader:
        reader.client()
        reader.command({"id": 2, "subscribe": {"channel": "slow"}})
        if reader.answer_to(2) is None:
            return "no subscription"
        before = server.resident_kib
        for _ in range(200):
            server.api("publish", {"channel": "slow", "data": "a" * PAYLOAD_BYTES})
        grown = server.resident_kib - before
        time.sleep(STALL_SECONDS_MAX + 1)
        stats = server.api("presence_stats", {"channel": "slow"})["result"]
        left = stats.get("num_clients", 0)
    if grown > 8192:
        return f"memory grew by {grown} KiB for one reader"
    return f"{left} subscriber left" if left else None


def slow_echo(server):
    """Echoes that are never read: the server keeps little of them, and closes."""
    before = server.resident_kib
    with Socket(server, receive_buffer=1024) as connection:
        connection.open()
        connection.socket.settimeout(2)
        message = frame(TEXT, b"a" * PAYLOAD_BYTES)
        for _ in range(500):
            if not connection.send(message):
                break
        grown = server.resident_kib - before
        time.sleep(STALL_SECONDS_MAX + 1)
        _, is_ended = connection.read_to_end(HANDSHAKE_SECONDS_MAX + SLACK_SECONDS)
    if grown > 8192:
        return f"memory grew by {grown} KiB"
    return None if is_ended else "the connection is still open"


def pipelined(server):
    """Requests without end, answers unread."""
    before = server.resident_kib
    with Socket(server, receive_buffer=1024) as connection:
        connection.socket.settimeout(2)
        burst = head(["GET /centrifuge.js HTTP/1.1"]) * 100
        for _ in range(500):
            if not connection.send(burst):
                break
        grown = server.resident_kib - before
    return f"memory grew by {grown} KiB" if grown > 8192 else None


def rows():
    yield f"A1 {SLOW_COUNT} slow heads", slow_heads
    for name, octets in [("nothing at all", b""), ("half a line", b"GET / HT"),
                         ("a head without end", b"GET / HTTP/1.1\r\nHost: a\r\n"),
                         ("half an upgrade", upgrade()[:-2])]:
        def check(server, octets=octets):
            return ended_in_time(octets, server)
        yield f"A1 {name}", check
    yield "A2 slow body", slow_body
    yield "A2 no connect command", no_connect_command
    yield "A2 slow reader of a channel", slow_reader
    yield "A2 slow reader of echoes", slow_echo
    yield "A2 pipelined requests, answers unread", pipelined
