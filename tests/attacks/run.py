#!/usr/bin/env python3
"""Goal: no attack of the catalogue harms anybody but the attacker.

Method: the real binary; raw sockets. Each group is a file with rows: what is sent, and the close
code or status that must come back. After each row the process lives, and its memory is within the
row's bound. While a group runs, a bystander's echo stays fast: its p99 in the median quarter second
is at most twice the quiet one, or twice that of an echo by a process that nobody attacks in the same
quarter seconds (what the machine itself does to an echo; at most BYSTANDER_NOISE_MS_MAX), or
BYSTANDER_FLOOR_MS.
Run: python3 tests/attacks/run.py [group …]
"""

import importlib
import pathlib
import statistics
import subprocess
import sys
import threading
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

from ringway import Server  # noqa: E402

GROUPS = ["requests", "slowness", "frames", "origins", "paths", "injection", "tokens",
          "token_flood", "exhaustion"]
QUIET_SECONDS = 2
BYSTANDER_FLOOR_MS = 2.0
BYSTANDER_TRIES = 3
# What an attack itself does to the other process excuses no more than this.
BYSTANDER_NOISE_MS_MAX = 20.0
ROW_MEMORY_KIB = 16 * 1024


class Bystander:
    """Reads what bystander.py measures."""

    def __init__(self, port):
        line = [sys.executable, HERE / "bystander.py", str(port)]
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
        self.windows = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.windows.append(tuple(float(p99) for p99 in line.split()))

    def take(self):
        """The medians since the last call, in ms: of its own p99, and of the process nobody attacks."""
        taken, self.windows = self.windows, []
        return tuple(statistics.median(p99s) for p99s in zip(*taken)) or (0.0, 0.0)

    def stop(self):
        is_alive = self.process.poll() is None
        self.process.kill()
        self.process.wait()
        return is_alive


class Tally:
    def __init__(self):
        self.passed = self.failed = 0

    def count(self, name, problem):
        if problem:
            self.failed += 1
            print(f"FAILED  {name}: {problem}", flush=True)
        else:
            self.passed += 1
            print(f"ok      {name}", flush=True)


def run_group(name, tally):
    """Runs a group; again if only its bystander was slow, which another program may have caused."""
    for tries_left in range(BYSTANDER_TRIES - 1, -1, -1):
        attempt = Tally()
        slow = play_group(name, attempt)
        if not slow or attempt.failed or not tries_left:
            break
        print(f"        {name}: once more, the bystander was slow: {slow}", flush=True)
    if slow:
        attempt.count(f"{name}: the bystander", slow)
    tally.passed += attempt.passed
    tally.failed += attempt.failed


def play_group(name, tally):
    """Plays all rows; returns what was slow about the bystander, if it was."""
    group = importlib.import_module(name)
    with Server("attacks.json", getattr(group, "CONFIG", {})) as server:
        bystander = Bystander(server.port)
        time.sleep(QUIET_SECONDS)
        quiet, _ = bystander.take()
        for row_name, check in group.rows():
            tally.count(f"{name}: {row_name}", problem_of(server, check, group))
            if not server.is_alive:
                print(f"The server died:\n{server.log}")
                return None
        busy, unattacked = bystander.take()
        measured = f"{quiet:.2f} → {busy:.2f} ms, unattacked {unattacked:.2f} ms"
        if not bystander.stop():
            tally.count(f"{name}: the bystander", "it lost its connection")
            return None
        noise = min(2 * unattacked, BYSTANDER_NOISE_MS_MAX)
        if busy > max(2 * quiet, noise, BYSTANDER_FLOOR_MS):
            return measured
        tally.count(f"{name}: the bystander ({measured})", None)
        return None


def problem_of(server, check, group):
    before = server.resident_kib
    try:
        problem = check(server)
    except Exception:
        problem = traceback.format_exc()
    if not server.is_alive:
        return f"the process ended; {problem}"
    grown = server.resident_kib - before
    bound = getattr(group, "ROW_MEMORY_KIB", ROW_MEMORY_KIB)
    if not problem and grown > bound:
        problem = f"memory grew by {grown} KiB, beyond {bound}"
    return problem


def main():
    tally = Tally()
    for name in sys.argv[1:] or GROUPS:
        run_group(name, tally)
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
