"""Memory that runs out: a process with 256 MiB, clients that do not read, and more that come.

The process is put into a control group of its own; where none can be made, it gets the same limit
as an option, and what it takes is compared with that.
"""

import contextlib
import os
import pathlib
import re
import signal
import socket
import threading
import time

from rig import check, come, gauge, metric, server_through
from ringway import wait_for
from wire import Reader, frame, upgrade

MIB = 1 << 20
LIMIT_BYTES = 256 * MIB
STALLED, LIVE = 300, 20
CHANNELS_AT_ONCE = 100
PAYLOAD = "x" * 32_000
QUEUE_BYTES = 4 * MIB
FLOOD_SECONDS = 12
# Live clients are asked all along, and share two cores with the flood and its source.
ANSWER_SECONDS_MAX = 5
QUIET = {"history_size": 0, "history_ttl": "0s", "allow_recovery": False}
GROUPS = pathlib.Path("/sys/fs/cgroup")


@contextlib.contextmanager
def group():
    """A control group with the limit, of either version, or None where none can be made."""
    for parent, limit in ((GROUPS / "memory", "memory.limit_in_bytes"), (GROUPS, "memory.max")):
        made = parent / f"ringway-{os.getpid()}"
        try:
            made.mkdir()
        except OSError:
            continue
        try:
            # Without the controller the new group has no such file.
            if (made / limit).exists():
                (made / limit).write_text(str(LIMIT_BYTES))
                yield made
                return
        finally:
            # Whoever was in it is gone, and the kernel notices a little later.
            wait_for("the group to be empty", lambda: removed(made))
    yield None


def removed(folder):
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def limited(rig, name, levels):
    """A server that may take so much, whose limit is in the control group or the option."""
    with group() as made:
        changes = {
            "node": {"name": name}, "memory": dict(levels),
            "client": {"queue_max_size": QUEUE_BYTES},
            "channel": {"without_namespace": QUIET},
        }
        if made is None:
            changes["memory"]["limit"] = LIMIT_BYTES
        before = f"echo $$ > {made}/cgroup.procs" if made else ":"
        server = server_through(rig, name, before, changes)
        try:
            yield server, made is not None
        finally:
            server.stop()


def member(server, channel, reads):
    """A client with a subscription; one that does not read has little room in the kernel."""
    made = socket.socket()
    made.settimeout(ANSWER_SECONDS_MAX)
    if not reads:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect(("127.0.0.1", server.port))
    made.sendall(upgrade("/connection/websocket"))
    reader = Reader(made)
    head, _ = reader.answer()
    check(head.startswith("HTTP/1.1 101"), head)
    made.sendall(frame(b'{"id":1,"connect":{}}', opcode=1))
    check(b'"connect"' in reader.frame()[1])
    subscribe = b'{"id":2,"subscribe":{"channel":"%s"}}' % channel.encode()
    made.sendall(frame(subscribe, opcode=1))
    check(b'"subscribe"' in reader.frame()[1])
    return made, reader


class Flood:
    """Publications into the channels of those who do not read, until it is ended."""

    def __init__(self, server, payload=PAYLOAD):
        self.payload = payload
        self.server, self.ends, self.count, self.refused = server, False, 0, 0
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.ends:
            for first in range(0, STALLED, CHANNELS_AT_ONCE):
                channels = [f"stalled{at}" for at in range(first, first + CHANNELS_AT_ONCE)]
                try:
                    self.server.api("broadcast", {"channels": channels, "data": self.payload})
                    self.count += 1
                except OSError:
                    self.refused += 1
                    time.sleep(0.05)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ends = True
        self.thread.join()


def ask(client, number, took):
    """A live client asks for something and hears the answer."""
    connection, reader = client
    started = time.monotonic()
    connection.sendall(frame(b'{"id":%d,"presence_stats":{"channel":"live"}}' % number, opcode=1))
    while True:
        opcode, payload = reader.frame()[:2]
        if payload == b"{}":
            # A ping of the protocol is answered as it came.
            connection.sendall(frame(b"{}", opcode=1))
            continue
        check(opcode == 1, "a live client was closed", payload[:100])
        check(b'"id":%d' % number in payload, payload[:100])
        took.append(time.monotonic() - started)
        return


def crowded(server):
    """Those who do not read and those who do, connected in turn."""
    stalled = [member(server, f"stalled{at}", False) for at in range(STALLED)]
    live = [member(server, "live", True) for _ in range(LIVE)]
    return stalled, live


def shed(rig):
    """Newcomers get 503, those who do not read are closed, live clients are answered, nobody is
    killed; and when the flood is over everybody is let in again."""
    with limited(rig, "shed", {}) as (server, is_held):
        stalled, live = crowded(server)
        took, statuses, most = [], [], 0
        with Flood(server) as flood:
            give_up = time.monotonic() + FLOOD_SECONDS
            number = 10
            while time.monotonic() < give_up:
                check(server.is_alive, "the server was killed", server.log[-1000:])
                number += 1
                for client in live:
                    ask(client, number, took)
                status, seconds, connection = come(server, "127.0.0.10")
                connection.close()
                check(status == 101 or status == 503 and 5 <= seconds <= 10, status, seconds)
                statuses.append(status)
                most = max(most, gauge(server, "memory_used_bytes"))
        check(server.is_alive, "the server was killed")
        check(gauge(server, "memory_limit_bytes") == LIMIT_BYTES)
        check(most < LIMIT_BYTES, most)
        refused = metric(server, "upgrades_refused", "memory")
        check(refused == statuses.count(503) > 0, refused, statuses.count(503))
        closed = metric(server, "closes", "overloaded")
        check(closed >= STALLED / 2, closed)
        wait_for("room for newcomers", lambda: let_in(server), 20)
        levels = changes_of_level(server)
        check(2 in levels and levels[-1] == gauge(server, "memory_level") == 0, levels)
        for client in live:
            ask(client, 5, took)
        for connection, _ in [*stalled, *live]:
            connection.close()
    check(max(took) < ANSWER_SECONDS_MAX, max(took))
    took.sort()
    return (f"{place(is_held)}: {flood.count} broadcasts of {CHANNELS_AT_ONCE * len(PAYLOAD) // 1000} kB, at "
            f"most {most // MIB} MiB; {closed:.0f} of {STALLED} that did not read closed, 0 of {LIVE} "
            f"others, answered in {1000 * took[len(took) // 2]:.1f} ms (at most "
            f"{1000 * took[-1]:.0f}); {refused:.0f} of {len(statuses)} newcomers refused; "
            f"levels {levels}")


def place(is_held):
    return "in a control group" if is_held else "by memory.limit, without a control group"


def let_in(server):
    status, _, connection = come(server, "127.0.0.10")
    connection.close()
    return status == 101


def changes_of_level(server):
    """The levels as the log tells them, one behind the other."""
    told = {"refused with 503": 1, "that hold most": 2, "still refused": 1, "let in again": 0}
    lines = re.findall(r"memory: \d+ % of .*", server.log)
    return [next(level for text, level in told.items() if text in line) for line in lines]


def without(rig):
    """The same without levels: the process takes more than it may, and is killed for it where the
    kernel holds it to the limit. Without this the row above would prove nothing."""
    with limited(rig, "unshed", {"refuse_level": 0, "shed_level": 0}) as (server, is_held):
        stalled, live = crowded(server)

        def is_lost():
            if is_held:
                return not server.is_alive
            return server.resident_kib * 1024 > LIMIT_BYTES

        # So much at once that a busy machine fills it before the readers are closed as stalled.
        with Flood(server, 3 * PAYLOAD):
            wait_for("more than the limit", is_lost, FLOOD_SECONDS)
        for connection, _ in [*stalled, *live]:
            connection.close()
        code = server.process.poll()
        check(code in (None, -signal.SIGKILL), code)
        return f"{place(is_held)}: {'killed' if code else 'beyond the limit'}"


def rows():
    yield "memory: without levels the process is lost", without
    yield "memory: newcomers are refused, then who holds most is closed", shed
