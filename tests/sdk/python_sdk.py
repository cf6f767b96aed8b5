#!/usr/bin/env python3
"""Goal: the public Python client library works unchanged, in both wire formats.

Method: the real binary, `centrifuge-python` from PyPI in .tools/python_sdk of the checkout; each
case opens clients of its own. Run: python3 tests/sdk/python_sdk.py   (ONLY=text picks cases by
name)
"""

import asyncio
import os
import pathlib
import subprocess
import sys
import venv

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

from ringway import ROOT, Server  # noqa: E402

TOOLS = ROOT / ".tools/python_sdk"
PACKAGE = "centrifuge-python==0.7.0"


def prepare():
    """The interpreter that has the library."""
    python, ready = TOOLS / "bin/python", TOOLS / "ready"
    if not ready.exists() or ready.read_text() != PACKAGE:
        venv.create(TOOLS, with_pip=True, clear=True)
        line = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", PACKAGE]
        subprocess.run(line, check=True)
        ready.write_text(PACKAGE)
    return python


def main():
    if not os.environ.get("PYTHON_SDK_READY"):
        environment = {**os.environ, "PYTHON_SDK_READY": "1"}
        return subprocess.run([prepare(), __file__], env=environment, check=False).returncode
    import python_cases
    with Server("sdk.json") as server:
        passed, failed = asyncio.run(python_cases.run(server, os.environ.get("ONLY", "")))
        if failed:
            print(f"--- server:\n{server.log}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
