"""Users who connect, subscribe and leave, a hundred thousand of them: what the server holds behind them.
Called by scripts/bench --cycles N.

They come in groups, each with tokens and three subscriptions as in many.py, each group from an address
of its own. What is held between groups differs by some percent, as pages come and go: medians are compared, that of
four groups behind the first four, which warm the server up, and that of the last four.
"""

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import certificate
from many import METRICS, PORT, SECRET, config, pss
from observe import metric

GROUP = 5_000
LEVELS, WARM_GROUPS = 4, 4
GROWTH_BAR = 0.02
# The server looks at channels that nobody uses any more every 5 s.
QUIET_SECONDS = 6


def group(arguments, index, count, folder):
    words = [arguments.load, "--address", f"127.0.0.1:{PORT}", "--source", f"127.0.2.{index + 1}"]
    words += ["--tls", str(folder / "cert.pem")] if arguments.tls else []
    words += ["--connections", str(count), "hold", "--secret", SECRET, "--hold", "0.2"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    ready = json.loads(done.stdout.partition("\n")[0] or "{}")
    if ready.get("subscriptions") != 3 * count:
        sys.exit(f"a group did not come whole: {ready} {done.stderr.strip()}")


def all_gone():
    give_up = time.monotonic() + 60
    while left := metric(METRICS, "connections{"):
        if time.monotonic() > give_up:
            sys.exit(f"{left:,.0f} connections are left")
        time.sleep(0.1)


def level(arguments, server, index, count, folder):
    """What is held behind a group."""
    group(arguments, index, count, folder)
    all_gone()
    time.sleep(QUIET_SECONDS)
    return pss(server.pid)


def measure(arguments, server, folder):
    size = min(GROUP, max(1, arguments.cycles // LEVELS))
    for index in range(WARM_GROUPS):
        group(arguments, index, size, folder)
    uncounted = range(WARM_GROUPS, WARM_GROUPS + LEVELS)
    first = [level(arguments, server, index, size, folder) for index in uncounted]
    sizes = [min(size, arguments.cycles - done) for done in range(0, arguments.cycles, size)]
    last = []
    for index, count in enumerate(sizes):
        if len(sizes) - index > LEVELS:
            group(arguments, uncounted.stop + index, count, folder)
            all_gone()
        else:
            last.append(level(arguments, server, uncounted.stop + index, count, folder))
    before, after = statistics.median(first), statistics.median(last)
    print(f"  {arguments.cycles:,} users came and went{', TLS' if arguments.tls else ''}, {size:,} at a time: "
          f"PSS {before / 2**20:.2f} to {after / 2**20:.2f} MiB, {100 * (after / before - 1):+.1f} % "
          f"(bar {100 * GROWTH_BAR:.0f} %)", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--load", required=True)
    parser.add_argument("--cycles", type=int, default=100_000)
    parser.add_argument("--tls", action="store_true", help="over TLS")
    arguments = parser.parse_args()
    if arguments.cycles > 240 * GROUP:
        sys.exit(f"so many groups have no address of their own: at most {240 * GROUP:,}")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        path = pathlib.Path(name) / "config.json"
        tls = certificate.settings(path.parent) if arguments.tls else None
        path.write_text(json.dumps(config(True, tls)))
        words = [arguments.server, "serve", "--config", str(path)]
        words += ["--address", "127.0.0.1", "--port", str(PORT)]
        server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        try:
            time.sleep(1)
            if server.poll() is not None:
                sys.exit("the server ended")
            measure(arguments, server, path.parent)
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
