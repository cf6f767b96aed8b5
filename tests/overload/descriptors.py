"""Places that run out: RLIMIT_NOFILE bounds the tables of sockets, and all of them are taken."""

import os
import resource
import statistics
import time

from rig import check, come, dial
from ringway import Server, wait_for
from wire import Reader, frame, upgrade

# A ring has a table of so many descriptors, less ten, and a shard 64 rings, each of them two files; on
# the portable driver 128 files are for others than clients.
FILES = {"portable": 256}
FILES_OF_RINGS = 192
SILENT, WAITING, FREED = 40, 10, 60
IDLE_SECONDS = 3
CPU_SHARE_MAX = 0.05
SERVED_SECONDS_MAX = 1
# The usual answer, and a single one: a busy machine held one up for 2.6 s.
ANSWER_SECONDS_MAX = 0.05
SINGLE_SECONDS_MAX = 5


def ask(connection, reader, number):
    """How long an established client waits for an answer."""
    started = time.monotonic()
    connection.sendall(frame(b'{"id":%d,"presence_stats":{"channel":"a"}}' % number, opcode=1))
    while b'"id":%d' % number not in reader.frame()[1]:
        pass
    return time.monotonic() - started


def fill(server):
    """Clients until one is told that there is no room."""
    kept = []
    while True:
        status, _, connection = come(server)
        if status == 503:
            connection.close()
            return kept
        kept.append(connection)


def exhausted(_):
    """While no place is free accepting costs nothing, and who is there is served as before; as soon
    as there are some, who waited is let in."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    files = FILES.get(os.environ.get("DRIVER_OF_TESTS"), FILES_OF_RINGS)
    with Server("echo.json", {"shards": 1}, before=f"ulimit -n {files}") as server:
        established = dial(server)
        established.sendall(upgrade("/connection/websocket"))
        reader = Reader(established)
        reader.answer()
        established.sendall(frame(b'{"id":1,"connect":{}}', opcode=1))
        reader.frame()
        established.sendall(frame(b'{"id":2,"subscribe":{"channel":"a"}}', opcode=1))
        reader.frame()
        kept = fill(server)
        # The places that are left for telling others so: taken by clients that say nothing.
        silent = [dial(server) for _ in range(SILENT)]
        time.sleep(0.3)
        waiting = []
        for _ in range(WAITING):
            connection = dial(server)
            connection.sendall(upgrade("/connection/websocket"))
            waiting.append(connection)
        started, used = time.monotonic(), server.cpu_seconds
        took = []
        while time.monotonic() - started < IDLE_SECONDS:
            took.append(ask(established, reader, 10 + len(took)))
            time.sleep(0.05)
        share = (server.cpu_seconds - used) / (time.monotonic() - started)
        check(share < CPU_SHARE_MAX, "accepting spins", share)
        usual = statistics.median(took)
        check(usual < ANSWER_SECONDS_MAX and max(took) < SINGLE_SECONDS_MAX, usual, max(took))
        check(not any(has_answer(connection) for connection in waiting), "there was a place")
        freed = time.monotonic()
        for connection in kept[:FREED]:
            connection.close()
        for connection in waiting:
            head, _ = Reader(connection).answer()
            check(head.startswith("HTTP/1.1 101"), head)
        served = time.monotonic() - freed
        check(served < SERVED_SECONDS_MAX, served)
        ask(established, reader, 5000)
        for connection in [established, *kept[FREED:], *silent, *waiting]:
            connection.close()
        wait_for("room", lambda: is_let_in(server))
        return (f"{len(kept) + 1} clients with {files} files; {100 * share:.1f} % CPU with all places "
                f"taken and an established client asking 20 times a second, answered in "
                f"{1000 * usual:.1f} ms ({1000 * max(took):.1f} at most); who waited is in {1000 * served:.0f} ms after "
                f"{FREED} places were free")


def has_answer(connection):
    connection.setblocking(False)
    try:
        connection.recv(1)
        return True
    except BlockingIOError:
        return False
    finally:
        connection.settimeout(5)


def is_let_in(server):
    status, _, connection = come(server)
    connection.close()
    return status == 101


def rows():
    yield "descriptors: accepting waits for a place", exhausted
