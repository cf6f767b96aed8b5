#!/usr/bin/env python3
"""Goal: without limits a new client costs what it did before they existed; with them, little more.

Method: clients come and go as fast as two processes can make them; the server's CPU time per
upgrade, and per refusal, in alternating rounds of every server that is compared.
Run: python3 tests/overload/cost.py BINARY_BEFORE BINARY_AFTER [rounds]
"""

import multiprocessing
import os
import pathlib
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "tls"), str(HERE)]

import ringway  # noqa: E402
from limits import flooding  # noqa: E402

SECONDS = 3
PROCESSES = 2
OPEN = {"address_connection_limit": 1000, "address_connection_rate": 100_000,
        "connection_rate_limit": 100_000}
SHUT = {"address_connection_rate": 1}


def measure(server):
    """Microseconds of CPU for each client, and clients per second."""
    stop, counts = multiprocessing.Event(), multiprocessing.Queue()
    floods = [multiprocessing.Process(target=flooding,
                                      args=(server.port, f"127.0.0.{60 + number}", stop, counts))
              for number in range(PROCESSES)]
    before = server.cpu_seconds
    started = time.monotonic()
    for process in floods:
        process.start()
    time.sleep(SECONDS)
    stop.set()
    count = sum(counts.get(timeout=10) for _ in floods)
    for process in floods:
        process.join()
    took = time.monotonic() - started
    return (server.cpu_seconds - before) / count * 1e6, count / took


def main():
    before, after = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    compared = [("before", before, {}), ("after, no limits", after, {}),
                ("after, all limits", after, OPEN), ("after, refused", after, SHUT)]
    results = {name: [] for name, _, _ in compared}
    for number in range(rounds):
        for name, binary, client in compared if number % 2 else reversed(compared):
            os.environ["RINGWAY_BIN"] = binary
            with ringway.Server("echo.json", {"client": client, "shards": 2}) as server:
                results[name].append(measure(server))
    for name, measured in results.items():
        costs, rates = zip(*measured)
        print(f"{name:18} {statistics.median(costs):6.1f} µs of the server each "
              f"({min(costs):.1f} to {max(costs):.1f}), {statistics.median(rates):.0f}/s")


if __name__ == "__main__":
    main()
