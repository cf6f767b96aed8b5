#!/usr/bin/env python3
"""Goal: the echo of the server behaves as RFC 6455 says, in the judgement of the Autobahn suite.

Method: the suite's own cases, fetched from PyPI at test time (none of its code is in this
repository), made readable for Python 3 by convert.py, and driven by fuzz.py on `autobahn` and
`twisted`. They live in .tools/autobahn/ of the checkout.

Run: python3 tests/autobahn/run.py                  the core cases: sections 1 to 7 and 10
     python3 tests/autobahn/run.py --section 9      large messages, with a larger limit
     python3 tests/autobahn/run.py --case 6.4.1     one case, or all with this prefix
"""

import argparse
import pathlib
import subprocess
import sys
import tarfile
import venv

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

from convert import convert  # noqa: E402
from ringway import ROOT, Server  # noqa: E402

TOOLS = ROOT / ".tools/autobahn"
SUITE = "autobahntestsuite==25.10.1"
PACKAGES = ["autobahn==24.4.2", "twisted==24.11.0", "setuptools<81"]
# A message, its echo and buffers that grow by doubling are in memory together.
MESSAGE_BYTES = 32 * 1024 * 1024
LARGE_MESSAGES = {"websocket": {"message_size_limit": MESSAGE_BYTES},
                  "client": {"memory_limit": 8 * MESSAGE_BYTES}}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--section", choices=["core", "9"], default="core")
    parser.add_argument("--case", default="", help="only cases with this prefix")
    arguments = parser.parse_args()
    python = prepare()
    changes = LARGE_MESSAGES if arguments.section == "9" else {}
    with Server("echo.json", changes) as server:
        line = [python, HERE / "fuzz.py", f"ws://127.0.0.1:{server.port}/debug/echo",
                arguments.section, arguments.case]
        result = subprocess.run(line, env={"PYTHONPATH": str(TOOLS)}, check=False).returncode
        if not server.is_alive:
            print(f"The server died:\n{server.log}")
            result = 1
    return result


def prepare():
    """Fetches and converts what is missing; returns the interpreter to use."""
    python = TOOLS / "venv/bin/python"
    ready = TOOLS / "ready"
    # What was prepared by another version of these two files is prepared again.
    mark = SUITE + " ".join(PACKAGES) + (HERE / "convert.py").read_text()
    if ready.exists() and ready.read_text() == mark:
        return python
    venv.create(TOOLS / "venv", with_pip=True, clear=True)
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", *PACKAGES], check=True)
    download = [*pip, "download", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*download, "--dest", TOOLS, SUITE], check=True)
    [archive] = TOOLS.glob("autobahntestsuite-*.tar.gz")
    with tarfile.open(archive) as source:
        source.extractall(TOOLS / "source", filter="data")
    [cases] = (TOOLS / "source").glob("autobahntestsuite-*/autobahntestsuite/case")
    convert(cases, TOOLS / "cases")
    ready.write_text(mark)
    return python


if __name__ == "__main__":
    sys.exit(main())
