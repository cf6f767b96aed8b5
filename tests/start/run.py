#!/usr/bin/env python3
"""Goal: where io_uring is denied, the server serves by the portable driver and says why and what it
costs; told that only the ring will do, it refuses in one sentence instead of failing later.

Method: the real binary below denied.py, once as on a kernel without io_uring (ENOSYS) and once as in
a container whose profile forbids it (EPERM). Run: python3 tests/start/run.py
"""

import errno
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

from ringway import binary  # noqa: E402

SECONDS_MAX = 10
CONFIG = '{"client": {"insecure": true}, "http_server": {"address": "127.0.0.1", "port": 0}, '
CONFIG += '"metrics": {"address": "127.0.0.1:0"}}'
# Words of the one sentence that says what is denied, by error.
WORDS = {
    errno.ENOSYS: ["io_uring", "CONFIG_IO_URING"],
    errno.EPERM: ["io_uring", "not permitted", "seccomp"],
}
LISTENS = "listens on http://"


def start(error_number=None, io=None):
    """Runs the server to its end, or for a while; its exit code (None: it ran on), its words."""
    environment = {n: v for n, v in os.environ.items() if not n.startswith("RINGWAY_")}
    line = [binary(), "serve", "--config", "config.json", *(["--io", io] if io else [])]
    if error_number is not None:
        line = [sys.executable, str(HERE / "denied.py"), str(error_number), *line]
    with tempfile.TemporaryDirectory(prefix="ringway-test-") as folder:
        (pathlib.Path(folder) / "config.json").write_text(CONFIG)
        process = subprocess.Popen(line, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            told = process.communicate(timeout=SECONDS_MAX if io == "ring" else 2)
            return process.returncode, *told
        except subprocess.TimeoutExpired:
            process.terminate()
            return None, *process.communicate()


def problem_of_portable(error_number, io):
    """It serves, and only who did not ask for the portable driver is told why he has it."""
    code, out, err = start(error_number, io)
    if code is not None or LISTENS not in out:
        return f"{code}: {out!r} {err!r}"
    if "driver=portable" not in err:
        return f"the limits do not name the driver: {err!r}"
    warnings = [line for line in err.splitlines() if "WARN" in line]
    wanted = [[*WORDS[error_number], "portable", "costs"]] if io is None else []
    if len(warnings) != len(wanted):
        return f"{len(warnings)} warnings: {err!r}"
    missing = [w for line, words in zip(warnings, wanted) for w in words if w not in line]
    return f"{warnings} lack {missing}" if missing else None


def problem_of_ring(error_number):
    code, out, err = start(error_number, "ring")
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    if code in (None, 0):
        return f"it exited with {code}, after {out!r}"
    if LISTENS in out:
        return f"it said that it listens: {out!r}"
    if len(errors) != 1:
        return f"{len(errors)} errors: {err!r}"
    missing = [word for word in WORDS[error_number] if word not in errors[0]]
    if missing or "panicked" in err:
        return f"{errors[0]!r} lacks {missing}; all of it: {err!r}"
    return None


def problem_of_allowed():
    """Without the filter io_uring is used: what the other rows see is the filter's doing."""
    code, out, err = start()
    works = code is None and LISTENS in out and "driver=io_uring" in err
    return None if works else f"{code}: {out!r} {err!r}"


def main():
    rows = [("it starts where nothing is denied", problem_of_allowed)]
    for number in WORDS:
        name = f"io_uring_setup fails with {errno.errorcode[number]}"
        rows += [
            (f"{name}: it serves, and says why so",
             lambda number=number: problem_of_portable(number, None)),
            (f"{name}: it serves with --io portable, without a warning",
             lambda number=number: problem_of_portable(number, "portable")),
            (f"{name}: it refuses with --io ring", lambda number=number: problem_of_ring(number)),
        ]
    passed = failed = 0
    for name, check in rows:
        problem = check()
        passed, failed = passed + (not problem), failed + bool(problem)
        print(f"FAILED  {name}: {problem}" if problem else f"ok      {name}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
