#!/usr/bin/env python3
"""Goal: where io_uring is denied, the server says so in one sentence instead of failing later.

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
# Can the server do without io_uring? Then it must start and say that it listens.
DOES_WITHOUT = False
# Otherwise it must refuse: words of the one sentence, by error.
WORDS = {
    errno.ENOSYS: ["io_uring", "CONFIG_IO_URING"],
    errno.EPERM: ["io_uring", "not permitted", "seccomp"],
}
LISTENS = "listens on http://"


def refuses(error_number):
    return error_number is not None and not DOES_WITHOUT


def start(error_number=None):
    """Runs the server to its end, or for SECONDS_MAX; its exit code (None: it ran on), its words."""
    environment = {n: v for n, v in os.environ.items() if not n.startswith("RINGWAY_")}
    line = [binary(), "serve", "--config", "config.json"]
    if error_number is not None:
        line = [sys.executable, str(HERE / "denied.py"), str(error_number), *line]
    with tempfile.TemporaryDirectory(prefix="ringway-test-") as folder:
        (pathlib.Path(folder) / "config.json").write_text(CONFIG)
        process = subprocess.Popen(line, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            told = process.communicate(timeout=SECONDS_MAX if refuses(error_number) else 2)
            return process.returncode, *told
        except subprocess.TimeoutExpired:
            process.terminate()
            return None, *process.communicate()


def problem_of_denied(error_number):
    code, out, err = start(error_number)
    if DOES_WITHOUT:
        return None if code is None and LISTENS in out else f"{code}: {out!r} {err!r}"
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
    """Without the filter it starts: what the other rows see is the filter's doing."""
    code, out, err = start()
    return None if code is None and LISTENS in out else f"{code}: {out!r} {err!r}"


def main():
    rows = [("it starts where nothing is denied", problem_of_allowed)]
    for number in WORDS:
        name = f"io_uring_setup fails with {errno.errorcode[number]}"
        rows.append((name, lambda number=number: problem_of_denied(number)))
    passed = failed = 0
    for name, check in rows:
        problem = check()
        passed, failed = passed + (not problem), failed + bool(problem)
        print(f"FAILED  {name}: {problem}" if problem else f"ok      {name}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
