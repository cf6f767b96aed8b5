#!/usr/bin/env python3
"""Goal: who a client is behind proxies cannot be forged, and too many of them harm nobody else.

Method: the real binary; raw sockets from several loopback addresses, each of which is another
client or another proxy; control groups of 256 MiB, and few descriptors. Rows are in proxies.py,
limits.py, shedding.py and descriptors.py.
Run: python3 tests/overload/run.py [part of a name …]
"""

import pathlib
import sys
import tempfile
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "tls"), str(HERE)]

import descriptors  # noqa: E402
import limits  # noqa: E402
import proxies  # noqa: E402
import shedding  # noqa: E402
from rig import Rig  # noqa: E402


def main():
    wanted = sys.argv[1:]
    rows = [(f"proxies: {name}", act) for name, act in proxies.rows()]
    rows += [(f"limits: {name}", act) for name, act in limits.rows()]
    rows += [*shedding.rows(), *descriptors.rows()]
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="ringway-overload-") as folder:
        rig = Rig(folder)
        try:
            for name, act in rows:
                if wanted and not any(part in name for part in wanted):
                    continue
                started = time.monotonic()
                try:
                    remark = act(rig)
                except Exception:
                    failed += 1
                    print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
                    continue
                passed += 1
                took = time.monotonic() - started
                print(f"ok      {name} ({took:.1f} s){': ' + remark if remark else ''}", flush=True)
            for server in rig.servers.values():
                if not server.is_alive:
                    failed += 1
                    print(f"FAILED  a server ended:\n{server.log[-2000:]}", flush=True)
        finally:
            rig.stop()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
