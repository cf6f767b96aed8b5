"""Durable publications: rate, latency and the store's lag, against the bare disk. Called by
scripts/bench --durable; the data directory must be on ext4.

The server and its journal run on core 0, the load on core 1. The bare disk is a loop on core 0 that
writes and syncs as many bytes per batch as the journal did, into a preallocated file beside it.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

PORT, METRICS = 9003, 9004
# Publications per second that must be held, and a quarter more.
RATE = 25_000


def config(data):
    return {
        "client": {"insecure": True, "allowed_origins": ["*"]},
        "metrics": {"address": f"127.0.0.1:{METRICS}"},
        "shards": 1,
        "log": {"level": "error"},
        "persistence": {"data_dir": str(data)},
        "channel": {"namespaces": [{
            "name": "log", "durability": "log", "history_size": 100000, "history_ttl": "1h",
            "allow_publish_for_client": True,
        }]},
    }


def metrics():
    with urllib.request.urlopen(f"http://127.0.0.1:{METRICS}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#") and " " in line]
    return {name.removeprefix("ringway_"): float(value) for name, value in pairs}


def bare(folder, batch_bytes, seconds):
    """Batches per second and the time of each, of nothing but write and fdatasync."""
    os.sched_setaffinity(0, {0})
    path, size = folder / "bare", 64 << 20
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(file, bytes(size))
    os.fsync(file)
    batch, at, took = b"x" * batch_bytes, 0, []
    began = time.monotonic()
    while (now := time.monotonic()) - began < seconds:
        os.pwrite(file, batch, at)
        os.fdatasync(file)
        took.append(time.monotonic() - now)
        at = (at + batch_bytes) % (size - batch_bytes)
    elapsed = time.monotonic() - began
    os.close(file)
    path.unlink()
    os.sched_setaffinity(0, {0, 1})
    return len(took) / elapsed, sorted(took)


class Bench:
    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        path = folder / "config.json"
        path.write_text(json.dumps(config(folder / "data")))
        words = [arguments.server, "serve", "--config", str(path)]
        words += ["--address", "127.0.0.1", "--port", str(PORT)]
        null = subprocess.DEVNULL
        self.server = subprocess.Popen(["taskset", "-c", "0", *words], stdout=null, stderr=null)
        time.sleep(1)
        if self.server.poll() is not None:
            sys.exit("the server ended")

    def load(self, *words):
        command = ["taskset", "-c", "1", self.arguments.load, "--address", f"127.0.0.1:{PORT}"]
        command += ["--server-pid", str(self.server.pid), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=700)
        if done.returncode != 0:
            sys.exit(f"load: {done.stderr.strip()}")
        print(f"  {done.stdout.strip()}", flush=True)
        return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--load", required=True)
    parser.add_argument("--directory", default=tempfile.gettempdir())
    parser.add_argument("--short", action="store_true")
    arguments = parser.parse_args()
    seconds, quiet = (2, 2) if arguments.short else (60, 20)
    with tempfile.TemporaryDirectory(dir=arguments.directory, prefix="bench-") as name:
        folder = pathlib.Path(name)
        kind = subprocess.run(["stat", "-f", "-c", "%T", name], capture_output=True, text=True)
        bench = Bench(arguments, folder)
        try:
            connections = ["--connections", 16]
            slow = bench.load(*connections, "durable", "--rate", 1000, "--seconds", quiet)
            words = ["durable", "--rate", RATE, "--seconds", seconds]
            steady = bench.load(*connections, *words)
            after = metrics()
            lag_ms, lag = after["store_lag_milliseconds"], after["store_lag_entries"]
            before = metrics()
            fast = bench.load(*connections, "durable", "--depth", 64, "--seconds", quiet / 4)
            after = metrics()
            passed = {name: after[name] - before.get(name, 0) for name in after}
            batches = passed["journal_commits_total"]
            batch_bytes = int(passed["journal_bytes_total"] / batches)
            entries = fast["acknowledged"] / batches
        finally:
            bench.server.kill()
            bench.server.wait()
        rate, _ = bare(folder, batch_bytes, min(seconds, 20))
        _, one = bare(folder, 512, min(seconds, 10))
    middle, p99 = (1e6 * one[int(len(one) * part)] for part in (0.5, 0.99))
    print(f"  {kind.stdout.strip()}: batches of {entries:.0f} entries, {batch_bytes} bytes")
    print(f"  steady         {steady['per_second']:>10,.0f} /s for {seconds} s, refused "
          f"{steady['refused']}, p99 {steady['p99_us']} us (bar 20,000)")
    print(f"  at most        {fast['per_second']:>10,.0f} /s, refused {fast['refused']}, "
          f"server {fast['server_cpu']} % of its core")
    share = fast["per_second"] / (rate * entries)
    print(f"  bare disk      {rate * entries:>10,.0f} /s in equal batches; share {share:.2f} (bar 0.70)")
    print(f"  store lag      {lag_ms:>10,.0f} ms, {lag:,.0f} entries at the end (bar 2,000 ms)")
    print(f"  p99 at 1000/s  {slow['p99_us']:>10,} us, p50 {slow['p50_us']} us")
    print(f"  one fdatasync  {middle:>10,.0f} us median, {p99:,.0f} us p99; "
          f"p99 / p99 {slow['p99_us'] / p99:.1f}, p99 / median {slow['p99_us'] / middle:.1f} (bar 3)")


if __name__ == "__main__":
    main()
