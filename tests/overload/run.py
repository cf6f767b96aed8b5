#!/usr/bin/env python3
"""Goal: who a client is behind proxies cannot be forged, and too many of them harm nobody else.

Method: the real binary; raw sockets from several loopback addresses, each of which is another
client or another proxy; control groups of 256 MiB, and few descriptors. Rows are in proxies.py,
limits.py, shedding.py and descriptors.py.
Run: python3 tests/overload/run.py [part of a name …]
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "tls"), str(HERE)]

import descriptors  # noqa: E402
import limits  # noqa: E402
import proxies  # noqa: E402
import shedding  # noqa: E402
from rig import run_rows  # noqa: E402


def main():
    rows = [(f"proxies: {name}", act) for name, act in proxies.rows()]
    rows += [(f"limits: {name}", act) for name, act in limits.rows()]
    return run_rows([*rows, *shedding.rows(), *descriptors.rows()], sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
