"""Durable publications: rate, latency and the store's lag, against the bare disk. Called by
scripts/bench --durable; the data directory should not be on tmpfs.

The server with its journal and store runs on core 0, the load on core 1. The bare disk is a loop on
core 0 that writes and syncs as many bytes per batch as the journal did, into a preallocated file
beside it, half of the time before the server and half of it behind.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from observe import metrics

PORT, METRICS = 9003, 9004
CONNECTIONS = 16
# Publications per second that must be held, and a quarter more.
RATE = 25_000
# The preallocated file of the bare disk.
BARE_BYTES = 64 << 20
# Of one publication in a batch of its own.
ENTRY_BYTES = 220
# A shared disk is slow for seconds at a time: many short pairs, of which most see the same disk.
PAIRS_EACH = 3
# Publications that each client leaves unanswered where as many are published as are acknowledged;
# beyond the first, the core and not the disk is the limit.
DEPTHS = (1, 4, 16)


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


def bare(folder, batch_bytes, seconds):
    """Batches per second of nothing but write and fdatasync, one behind the other."""
    with bare_file(folder) as file:
        at, batches, began = 0, 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            at = written(file, batch_bytes, at)
            batches += 1
        return batches / (time.perf_counter() - began)


def bare_at(folder, per_second, seconds):
    """Nothing but write and fdatasync of entries that come `per_second`, all that are due at once, as
    the journal does. How long each took from when it was due, and how long the syncs themselves,
    in microseconds and order. An entry that is due while the disk holds everything up waits like a
    publication: without that, a disk that stalls looks better than whoever depends on it."""
    with bare_file(folder) as file:
        at, done, waited, syncs, began = 0, 0, [], [], time.perf_counter()
        while done < seconds * per_second:
            now = time.perf_counter() - began
            due = min(int(now * per_second) + 1, seconds * per_second)
            if due == done:
                continue
            at = written(file, ENTRY_BYTES * (due - done), at)
            end = time.perf_counter() - began
            syncs.append((end - now) * 1e6)
            waited += [(end - entry / per_second) * 1e6 for entry in range(done, due)]
            done = due
        return sorted(waited), sorted(syncs)


def written(file, size, at):
    """Where the next batch goes, behind one that was written and synced."""
    os.pwrite(file, b"x" * size, at)
    os.fdatasync(file)
    return at + size if at + 2 * size < BARE_BYTES else 0


@contextlib.contextmanager
def bare_file(folder):
    os.sched_setaffinity(0, {0})
    path = folder / "bare"
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.write(file, bytes(BARE_BYTES))
        os.fsync(file)
        yield file
    finally:
        os.close(file)
        path.unlink()
        os.sched_setaffinity(0, {0, 1})


def percentile(values, hundredth):
    return values[len(values) * hundredth // 100]


class Bench:
    def __init__(self, arguments, folder):
        self.arguments, self.folder, self.pairs = arguments, folder, 0
        # Bytes of the journal's last batches, by depth.
        self.batch_bytes = {}
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
        command += ["--connections", str(CONNECTIONS), "--server-pid", str(self.server.pid)]
        command += map(str, words)
        done = subprocess.run(command, capture_output=True, text=True, timeout=700)
        if done.returncode != 0:
            sys.exit(f"load: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def at_most(self, depth, seconds):
        """As many publications as are acknowledged, against the bare disk in equal batches: before,
        as the journal's were last, and behind, as they were now."""
        if depth not in self.batch_bytes:
            self.run_at_most(depth, 1)
        first = bare(self.folder, self.batch_bytes[depth], seconds / 2)
        load, entries = self.run_at_most(depth, seconds)
        rate = (first + bare(self.folder, self.batch_bytes[depth], seconds / 2)) / 2
        load.update(entries=entries, bare=rate * entries, share=load["per_second"] / (rate * entries))
        return load

    def run_at_most(self, depth, seconds):
        """The load's report, and entries of a batch."""
        before = metrics(METRICS)
        load = self.load("durable", "--depth", depth, "--seconds", seconds)
        after = metrics(METRICS)
        commits, written = (after[name] - before.get(name, 0)
                            for name in ("journal_commits_total", "journal_bytes_total"))
        # What the store has to catch up with is not the bare disk's.
        while metrics(METRICS)["store_lag_entries"] > 0:
            time.sleep(0.2)
        self.batch_bytes[depth] = int(written / commits)
        return load, load["acknowledged"] / commits

    def latency(self, seconds):
        """At 1,000 publications per second, against the bare disk at the same pace."""
        self.pairs += 1
        if self.pairs % 2:
            load = self.load("durable", "--rate", 1000, "--seconds", seconds)
        waited, syncs = bare_at(self.folder, 1000, seconds)
        if not self.pairs % 2:
            load = self.load("durable", "--rate", 1000, "--seconds", seconds)
        if load["refused"]:
            sys.exit(f"{load['refused']} publications were refused: there is no latency to compare")
        return (load["p50_us"], load["p99_us"], percentile(waited, 50), percentile(waited, 99),
                percentile(syncs, 99))


def show(name, values, digits=0):
    print(f"  {name:<40} median {statistics.median(values):>10,.{digits}f}   "
          f"{min(values):,.{digits}f} to {max(values):,.{digits}f}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--load", required=True)
    parser.add_argument("--directory", default=tempfile.gettempdir())
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--short", action="store_true")
    arguments = parser.parse_args()
    pairs, seconds, quiet = (1, 2, 1) if arguments.short else (PAIRS_EACH * arguments.pairs, 60, 2)
    with tempfile.TemporaryDirectory(dir=arguments.directory, prefix="bench-") as name:
        kind = subprocess.run(["stat", "-f", "-c", "%T", name], capture_output=True, text=True)
        print(f"  file system {kind.stdout.strip()}, {CONNECTIONS} clients")
        bench = Bench(arguments, pathlib.Path(name))
        try:
            measure(bench, pairs, seconds, quiet)
        finally:
            bench.server.kill()
            bench.server.wait()


def measure(bench, pairs, seconds, quiet):
    steady = bench.load("durable", "--rate", RATE, "--seconds", seconds)
    lag = metrics(METRICS)["store_lag_milliseconds"]
    print(f"  {steady['per_second']:,.0f} /s for {seconds} s (bar 20,000), refused "
          f"{steady['refused']}, p99 {steady['p99_us']} us; store lag {lag:,.0f} ms (bar 2,000)")
    ours, ours99, bare50, bare99, sync99 = zip(*(bench.latency(quiet) for _ in range(pairs)))
    show("1,000 /s: p50, us", ours)
    show("1,000 /s: p99, us", ours99)
    show("bare write and fdatasync: p50, us", bare50)
    show("bare write and fdatasync: p99, us", bare99)
    show("one fdatasync among them: p99, us", sync99)
    show("p99 / bare p99 (bar 3)", [a / b for a, b in zip(ours99, bare99)], 2)
    show("p99 / p99 of one fdatasync", [a / b for a, b in zip(ours99, sync99)], 2)
    for depth in DEPTHS:
        runs = [bench.at_most(depth, quiet) for _ in range(pairs if depth == DEPTHS[0] else 1)]
        entries = statistics.median(run["entries"] for run in runs)
        cpu = statistics.median(run["server_cpu"] for run in runs)
        print(f"  {depth} unanswered each: batches of {entries:.0f}, core {cpu:.0f} % busy")
        show("acknowledged /s", [run["per_second"] for run in runs])
        show("bare disk in equal batches /s", [run["bare"] for run in runs])
        show("share (bar 0.70)", [run["share"] for run in runs], 2)


if __name__ == "__main__":
    main()
