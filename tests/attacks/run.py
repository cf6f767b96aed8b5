#!/usr/bin/env python3
"""Goal: no attack of the catalogue harms anybody but the attacker.

Method: the real binary; raw sockets. Each group is a file with rows: what is sent, and the close
code or status that must come back. After each row the process lives, and its memory is within the
row's bound. While a group runs, a bystander's echo stays fast: its p99 in the median quarter second
is at most twice the quiet one, or BYSTANDER_FLOOR_MS. Run: python3 tests/attacks/run.py [group …]
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
            self.windows.append(float(line))

    def take(self):
        taken, self.windows = self.windows, []
        return taken

    def stop(self):
        is_alive = self.process.poll() is None
        self.process.kill()
        self.process.wait()
        return is_alive


class Tally:
    def __init__(self):
        self.passed = self.failed = 0
        self.slow_bystander = False

    def count(self, name, problem):
        if problem:
            self.failed += 1
            print(f"FAILED  {name}: {problem}", flush=True)
        else:
            self.passed += 1
            print(f"ok      {name}", flush=True)


def run_group(name, tally):
    """Runs a group; once more if only its bystander was slow, which another program may have caused."""
    first = Tally()
    play_group(name, first)
    if first.slow_bystander and first.failed == 1:
        print(f"        {name}: once more, the bystander was slow", flush=True)
        first = Tally()
        play_group(name, first)
    tally.passed += first.passed
    tally.failed += first.failed


def play_group(name, tally):
    group = importlib.import_module(name)
    with Server("attacks.json", getattr(group, "CONFIG", {})) as server:
        bystander = Bystander(server.port)
        time.sleep(QUIET_SECONDS)
        quiet = statistics.median(bystander.take() or [0])
        for row_name, check in group.rows():
            tally.count(f"{name}: {row_name}", problem_of(server, check, group))
            if not server.is_alive:
                print(f"The server died:\n{server.log}")
                return
        windows = bystander.take()
        limit = max(2 * quiet, BYSTANDER_FLOOR_MS)
        busy = statistics.median(windows or [0])
        is_slow = f"{busy:.2f} ms, quiet {quiet:.2f} ms" if busy > limit else None
        gone = None if bystander.stop() else "it lost its connection"
        tally.slow_bystander = bool(is_slow) and not gone
        tally.count(f"{name}: the bystander ({quiet:.2f} → {busy:.2f} ms)", gone or is_slow)


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
