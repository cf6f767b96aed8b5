"""C1, C4, C5: readers that stall, channels without number, and what they leave behind."""

import threading
import time
import urllib.request

from wire import Socket

# Stalled readers may hold their budgets, each of 1 MiB, until they are closed.
ROW_MEMORY_KIB = 96 * 1024

STALLED_COUNT = 30
READERS_COUNT = 30
MESSAGES_COUNT = 150
PAYLOAD_BYTES = 20_000
CONNECTIONS_COUNT = 20
NAMES_COUNT = 2000
CHANNELS_PER_CONNECTION = 128
SERIES_MAX = 1000
SETTLE_SECONDS = 10


def subscriber(server, channel, receive_buffer=None):
    connection = Socket(server, receive_buffer).client()
    connection.command({"id": 2, "subscribe": {"channel": channel}})
    if "subscribe" not in (connection.answer_to(2) or {}):
        raise AssertionError("no subscription")
    return connection


def stalled_readers(server):
    """Half the subscribers stop reading: the others get everything, in order, and in time."""
    stalled = [subscriber(server, "c1", 2048) for _ in range(STALLED_COUNT)]
    readers = [subscriber(server, "c1") for _ in range(READERS_COUNT)]
    before = server.resident_kib
    seen = [[] for _ in readers]

    def read(connection, numbers):
        while len(numbers) < MESSAGES_COUNT and (push := connection.reply(10)):
            if "pub" in push.get("push", {}):
                numbers.append(push["push"]["pub"]["data"]["n"])

    threads = [threading.Thread(target=read, args=pair) for pair in zip(readers, seen)]
    for thread in threads:
        thread.start()
    slowest = 0
    for number in range(MESSAGES_COUNT):
        started = time.monotonic()
        data = {"n": number, "text": "a" * PAYLOAD_BYTES}
        server.api("publish", {"channel": "c1", "data": data})
        slowest = max(slowest, time.monotonic() - started)
    for thread in threads:
        thread.join()
    grown = server.resident_kib - before
    time.sleep(SETTLE_SECONDS + 2)
    left = server.api("presence_stats", {"channel": "c1"})["result"].get("num_clients", 0)
    codes = [code for code in (one.close_code(0.01) for one in readers) if code is not None]
    for connection in [*stalled, *readers]:
        connection.socket.close()
    if any(numbers != list(range(MESSAGES_COUNT)) for numbers in seen):
        return f"readers saw {sorted(len(numbers) for numbers in seen)} of {MESSAGES_COUNT}"
    if slowest > 1:
        return f"a publisher waited {slowest:.2f} s"
    if grown > STALLED_COUNT * 1500:
        return f"memory grew by {grown} KiB for {STALLED_COUNT} stalled readers"
    if left != READERS_COUNT:
        return f"{left} subscribers, not {READERS_COUNT}; readers were closed with {codes}"
    return None


def channel_names(server):
    """Each connection asks for 2,000 channels: it gets 128, and the names leave nothing behind."""
    series_before = series(server)
    before = server.resident_kib
    connections = [Socket(server).client() for _ in range(CONNECTIONS_COUNT)]
    granted = []
    for index, connection in enumerate(connections):
        connection.answer_to(1)
        count = 0
        for first in range(0, NAMES_COUNT, 100):
            commands = [{"id": first + n + 2, "subscribe": {"channel": f"c4-{index}-{first + n}"}}
                        for n in range(100)]
            if not connection.command(*commands):
                break
            for _ in commands:
                reply = connection.reply(5)
                if reply is None:
                    break
                count += "subscribe" in reply
        granted.append(count)
    for connection in connections:
        connection.socket.close()
    time.sleep(SETTLE_SECONDS)
    grown = server.resident_kib - before
    if set(granted) != {CHANNELS_PER_CONNECTION}:
        return f"granted {sorted(set(granted))} channels"
    # Stopped halfway by 3509 or not: what remains is memory that the allocator keeps.
    if grown > 8192:
        return f"{grown} KiB remain of {CONNECTIONS_COUNT * NAMES_COUNT} names"
    series_after = series(server)
    if series_after > SERIES_MAX or series_after > series_before + 20:
        return f"{series_before} series became {series_after}"
    return None


def series(server):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(1 for line in lines if line and not line.startswith("#"))


def api_names(server):
    """The API publishes to 5,000 channels, each once: no series of its own for any."""
    before = series(server)
    for first in range(0, 5000, 500):
        channels = [f"c5-{first + n}" for n in range(500)]
        server.api("broadcast", {"channels": channels, "data": {}})
    after = series(server)
    return f"{before} series became {after}" if after > before + 20 or after > SERIES_MAX else None


def rows():
    yield "C1 stalled readers", stalled_readers
    yield "C4 C5 channels without number", channel_names
    yield "C5 channels of the API", api_names
