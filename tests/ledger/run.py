#!/usr/bin/env python3
"""Goal: the ledger of memory is true, and one connection takes no more than its budget.

Method: the real binary with one shard. Crowds of idle sessions come twice, plain, with
subscriptions and with TLS: what the ledger grows by after the first quarter is compared with what
the process grows by, and what it says after the second crowd left with what it said after the
first. The process's growth is that of its anonymous memory: pages of files, the program's own and
those of libraries, come and go with what else the machine does. Then a budget, and clients that go
over it on the wire in each way.
Run: python3 tests/ledger/run.py [part of a name …]
"""

import json
import os
import pathlib
import resource
import socket
import struct
import sys
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / name) for name in ("support", "tls", "overload")]

from ringway import Server, wait_for  # noqa: E402
from rig import CLIENT, check, metric, run_rows  # noqa: E402
from wire import Reader, connect, context, frame, upgrade  # noqa: E402

# Tables grow by doubling, and what they were before is not given back at once. Just below 2^13 and
# 2^11 most of that is in use again, and the first clients have touched what everybody shares.
CROWD, QUARTER = 8000, 2000
# So many are opened together, and so many come and go while memory settles.
AT_ONCE, PASSERS_BY = 50, 40
# Of what the process grew by: the ledger knows nothing of what the allocator adds, nor of what monoio
# keeps for a socket on the portable driver. More than all of it: whoever comes later is put where
# others were.
EXPLAINED_MIN = 0.65 if os.environ.get("DRIVER_OF_TESTS") == "portable" else 0.75
EXPLAINED_MAX = 1.20
# Memory has settled when it is no less after so long, or has not settled at all.
SETTLED_SECONDS, SETTLE_SECONDS_MAX = 3, 30
SETTLED_BYTES = 16 * 1024
# What clients take, beside places in tables, which stay.
GIVEN_BACK = ["identity", "subscriptions", "requests", "presence"]
# Buffers for use again are not the same after each crowd; one small message for each session would be
# more than this.
SPARE_BYTES_MAX = 32 * 1024
# A place in the table of TLS, without keys, and one in the timer wheel, which has as many.
TLS_PLACE_BYTES_MAX, TIMER_BYTES = 64, 12
BUDGET = 256 * 1024
MEMORY_LIMIT = 4008


def series(server, name):
    """Values of a metric of the one shard, by kind."""
    address = f"http://127.0.0.1:{server.metrics_port}/metrics"
    with urllib.request.urlopen(address, timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    found = {}
    for line in lines:
        if line.startswith((f"ringway_{name}{{", f"ringway_{name} ")):
            kind = line.split('kind="')[1].split('"')[0] if 'kind="' in line else ""
            found[kind] = found.get(kind, 0) + float(line.rsplit(" ", 1)[1])
    check(found, "there is no metric", name)
    return found


def anonymous_bytes(server):
    """Memory of the process that is no file's, without what the kernel may take back at any time."""
    text = pathlib.Path(f"/proc/{server.process.pid}/smaps_rollup").read_text()
    sizes = {line.split()[0]: int(line.split()[1]) for line in text.splitlines()[1:]}
    return 1024 * (sizes["Pss_Anon:"] - sizes["LazyFree:"])


def settled(server, ssl_context):
    """The ledger, and what the process takes, once the allocator has given back what it can."""
    stay = series(server, "connections")[""]
    began = least_at = time.monotonic()
    least = anonymous_bytes(server)
    while time.monotonic() - least_at < SETTLED_SECONDS:
        check(time.monotonic() - began < SETTLE_SECONDS_MAX, "memory does not settle")
        # To be asked makes a shard allocate, and clients that come and go make it free.
        series(server, "memory_bytes")
        for client, _ in sessions(server, [()] * PASSERS_BY, ssl_context):
            # By a reset, which leaves no port waiting: there are not many.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        time.sleep(0.1)
        now = anonymous_bytes(server)
        if now < least - SETTLED_BYTES:
            least, least_at = now, time.monotonic()
    wait_for("who passed by is gone", lambda: series(server, "connections")[""] <= stay)
    return series(server, "memory_bytes"), anonymous_bytes(server)


def reply_to(reader, number):
    while True:
        opcode, payload = reader.frame()
        for line in payload.decode().splitlines() if opcode == 1 else []:
            reply = json.loads(line)
            if reply.get("id") == number:
                return reply


def say(client, reader, **command):
    client.sendall(frame(json.dumps(command).encode(), opcode=1))
    return reply_to(reader, command["id"])


def sessions(server, asked, ssl_context=None):
    """A session for each list of channels, all of them at once: a busy machine need not switch back
    and forth for each."""
    opened = []
    for channels in asked:
        if ssl_context:
            client = connect(server.port, ssl_context)
        else:
            client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        client.sendall(upgrade(CLIENT))
        opened.append((client, Reader(client), channels))
    for client, reader, channels in opened:
        head, _ = reader.answer()
        check(head.startswith("HTTP/1.1 101"), head)
        client.sendall(frame(json.dumps({"id": 1, "connect": {}}).encode(), opcode=1))
    for client, reader, channels in opened:
        check("connect" in reply_to(reader, 1))
        for number, channel in enumerate(channels):
            reply = say(client, reader, id=number + 2, subscribe={"channel": channel})
            check("subscribe" in reply, reply)
    return [(client, reader) for client, reader, _ in opened]


def crowd(server, ssl_context, names, counts):
    """What ledger and process say when so many are there, each time; the ledger when all left."""
    clients, there = [], []
    for count in counts:
        while len(clients) < count:
            numbers = range(len(clients), min(count, len(clients) + AT_ONCE))
            opened = sessions(server, [names(number) for number in numbers], ssl_context)
            clients += [client for client, _ in opened]
        there.append(settled(server, ssl_context))
    for client in clients:
        client.close()
    wait_for("all left", lambda: series(server, "connections")[""] == 0, 60)
    return there, settled(server, ssl_context)[0]


def explained(rig, secure=False, names=lambda number: ()):
    options = {"shards": 1, "client": {"ping_interval": "600s"}}
    if secure:
        options["http_server"] = {"tls": rig.tls()}
    with Server("echo.json", options, cafile=rig.chain if secure else None) as server:
        ssl_context = context(rig.chain) if secure else None
        if secure:
            ssl_context.check_hostname = False
        nobody, _ = settled(server, ssl_context)
        there, first_left = crowd(server, ssl_context, names, (QUARTER, CROWD))
        _, second_left = crowd(server, ssl_context, names, (QUARTER,))
    (quarter, before), (ledger, after) = there
    grown, count = after - before, CROWD - QUARTER
    known = {kind: (ledger[kind] - quarter[kind]) / count for kind in ledger}
    share = sum(known.values()) * count / grown
    each = ", ".join(f"{kind} {size:.0f}" for kind, size in known.items() if size >= 1)
    remark = f"{share:.0%} of {grown / count:.0f} bytes each: {each}"
    check(EXPLAINED_MIN <= share <= EXPLAINED_MAX, remark)
    for kind in GIVEN_BACK:
        check(first_left[kind] == second_left[kind], kind, first_left, second_left)
    spare = second_left["outbox"] - first_left["outbox"]
    check(spare <= SPARE_BYTES_MAX, "messages stay", first_left, second_left)
    places = (second_left["timers"] - first_left["timers"]) / TIMER_BYTES
    kept = second_left["tls"] - first_left["tls"]
    check(kept <= places * TLS_PLACE_BYTES_MAX, "keys stay", kept, places)
    # What stays is the table of users, and buffers for use again.
    taken = {kind: ledger[kind] - nobody[kind] for kind in ledger}
    for kind in ("identity", "requests"):
        check(second_left[kind] - nobody[kind] <= taken[kind] / 20, kind, nobody, second_left)
    return remark


def plain(rig):
    """Idle sessions."""
    return explained(rig)


def subscribed(rig):
    """With a channel of their own and one of twenty."""
    return explained(rig, names=lambda n: (f"own-{n:06}-of-one-session", f"room-{n // 20}"))


def encrypted(rig):
    """With TLS."""
    return explained(rig, secure=True)


def budget_server(rig, **client):
    options = {"memory_limit": BUDGET, "queue_max_size": 8 * BUDGET, **client}
    return rig.server({"client": options, "websocket": {"message_size_limit": 8 * BUDGET}})


def closed(server, reader, act):
    """Does `act`; the connection is closed with 4008 for it, and counted once."""
    before = metric(server, "closes", "memory_limit")
    act()
    while True:
        opcode, payload = reader.frame()
        if opcode == 8:
            break
    code = int.from_bytes(payload[:2], "big")
    check(code == MEMORY_LIMIT, code, payload)
    wait_for("it is counted", lambda: metric(server, "closes", "memory_limit") == before + 1)
    check(server.is_healthy())


def unfinished_message(rig):
    """A message that never ends is cut at the budget."""
    server = budget_server(rig)
    [(client, reader)] = sessions(server, [()])

    def act():
        length = 6 * BUDGET
        client.sendall(bytes([0x81, 0xff]) + length.to_bytes(8, "big") + bytes(4))
        try:
            client.sendall(b" " * (2 * BUDGET))
        except ConnectionError:
            pass

    closed(server, reader, act)
    wait_for("it is given back", lambda: series(server, "memory_bytes")["requests"] < BUDGET)


def slow_reader(rig):
    """A client that reads nothing is closed at the budget, although more might wait for it."""
    server = budget_server(rig)
    [(client, reader)] = sessions(server, [("flood",)])
    data = "x" * 60_000

    before = metric(server, "closes", "memory_limit")

    def act():
        for _ in range(200):
            server.api("publish", {"channel": "flood", "data": data})
            if metric(server, "closes", "memory_limit") > before:
                return
        raise AssertionError("it was never closed")

    closed(server, reader, act)


def too_many_channels(rig):
    """Subscriptions count, whatever client.channel_limit allows."""
    server = budget_server(rig, channel_limit=100_000)
    [(client, reader)] = sessions(server, [()])

    def act():
        for number in range(BUDGET // 512 + 1):
            subscribe = {"channel": f"channel-{number}"}
            command = {"id": number + 2, "subscribe": subscribe}
            client.sendall(frame(json.dumps(command).encode(), opcode=1))

    closed(server, reader, act)


def body(rig):
    """The body of a request is cut at the budget."""
    server = budget_server(rig)
    before = metric(server, "closes", "memory_limit")
    with socket.create_connection(("127.0.0.1", server.port), timeout=15) as client:
        key = server.config["http_api"]["key"]
        head = (f"POST /api/publish HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n"
                f"Content-Length: {8 * BUDGET}\r\n\r\n")
        try:
            client.sendall(head.encode() + b" " * (4 * BUDGET))
            check(client.recv(4096) == b"")
        except ConnectionError:
            pass
    wait_for("it is counted", lambda: metric(server, "closes", "memory_limit") == before + 1)
    wait_for("it is given back", lambda: series(server, "memory_bytes")["requests"] < BUDGET)


ROWS = [plain, subscribed, encrypted, unfinished_message, slow_reader, too_many_channels, body]


def main():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # The servers' allocator gives back what is freed when it is, and not some time later.
    os.environ["MIMALLOC_PURGE_DELAY"] = "0"
    return run_rows([(act.__name__.replace("_", " "), act) for act in ROWS], sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
