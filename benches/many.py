"""A hundred thousand users on one node: memory, connect rate and idle cost. Called by scripts/bench
--many N.

The server has a shard per core; users come from processes of 15,000, each from an address of its own.
Each user has a token with a name of 36 bytes and 64 bytes of info, a channel of its own, a room of 50 with
presence, and a channel with everybody (`--bare`: none of these; `--tls`: over TLS), and answers the server's pings.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import certificate
from observe import cpu_seconds, metric

PORT, METRICS = 9005, 9006
USERS_PER_PROCESS = 15_000
SECRET = "the-secret-of-the-load-source-and-its-server"
PING_SECONDS = 25


def config(rooms, tls):
    options = {"presence": True} if rooms else {}
    return {
        "http_server": {"tls": tls} if tls else {},
        "client": {"token": {"hmac_secret_key": SECRET}, "allowed_origins": ["*"]},
        "metrics": {"address": f"127.0.0.1:{METRICS}"},
        "log": {"level": "warn"},
        "channel": {"namespaces": [
            {"name": name, "allow_subscribe_for_client": True, **(options if name == "room" else {})}
            for name in ("own", "room", "all")
        ]},
    }


def pss(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * int(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1])


def slab():
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("Slab:")).split()[1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--load", required=True)
    parser.add_argument("--connections", type=int, default=100_000)
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--tls", action="store_true", help="over TLS")
    parser.add_argument("--files", type=int, help="RLIMIT_NOFILE of the server")
    parser.add_argument("--hold", type=float, default=40.0)
    parser.add_argument("--idle", type=float, default=PING_SECONDS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        path = pathlib.Path(name) / "config.json"
        tls = certificate.settings(path.parent) if arguments.tls else None
        path.write_text(json.dumps(config(not arguments.bare, tls)))
        words = [arguments.server, "serve", "--config", str(path)]
        words += ["--address", "127.0.0.1", "--port", str(PORT)]
        files = arguments.files or resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
        server = subprocess.Popen(words, preexec_fn=limit, stdout=subprocess.DEVNULL)
        loads = []
        try:
            time.sleep(1)
            if server.poll() is not None:
                sys.exit("the server ended")
            measure(arguments, server, loads, files, path.parent)
        finally:
            for load in loads:
                load.kill()
            server.kill()
            server.wait()


def measure(arguments, server, loads, files, folder):
    total, before, kernel = arguments.connections, pss(server.pid), slab()
    began, used = time.monotonic(), cpu_seconds(server.pid)
    for index, first in enumerate(range(0, total, USERS_PER_PROCESS)):
        words = [arguments.load, "--address", f"127.0.0.1:{PORT}", "--source", f"127.0.1.{index + 1}"]
        words += ["--tls", str(folder / "cert.pem")] if arguments.tls else []
        words += ["--connections", str(min(USERS_PER_PROCESS, total - first)), "hold"]
        words += ["--first", str(first), "--secret", SECRET, "--hold", str(arguments.hold + 600)]
        words += ["--bare"] if arguments.bare else []
        loads.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        ready = json.loads(loads[-1].stdout.readline() or sys.exit("the load source ended"))
        if not arguments.bare and ready["subscriptions"] != 3 * ready["connections"]:
            sys.exit(f"subscriptions are missing: {ready}")
    took, spent = time.monotonic() - began, cpu_seconds(server.pid) - used
    # Everybody is pinged once in this time, and whoever does not answer is closed.
    time.sleep(arguments.hold)
    began, used = time.monotonic(), cpu_seconds(server.pid)
    time.sleep(arguments.idle)
    idle = (cpu_seconds(server.pid) - used) / (time.monotonic() - began) / total
    now, held = pss(server.pid), metric(METRICS, "connections{")
    if held != total or metric(METRICS, "closes_total"):
        sys.exit(f"{held:,.0f} of {total:,} connections are left")
    if any(load.poll() is not None for load in loads):
        sys.exit("a load source ended")
    each = (768 if arguments.bare else 1280) + 1024 * arguments.tls
    budget = (32 << 20) + total * each
    print(f"  {total:,} users, {'no' if arguments.bare else '3'} subscriptions each, one process, "
          f"{'TLS, ' if arguments.tls else ''}RLIMIT_NOFILE {files:,}, descriptors {len(os.listdir(f'/proc/{server.pid}/fd'))}")
    print(f"  connected and subscribed in {took:.1f} s, {total / took:,.0f} /s; "
          f"{1e6 * spent / total:.1f} us of the server each")
    print(f"  PSS {now / 2**20:.1f} MiB, bar {budget / 2**20:.1f}; {(now - before) / total:.0f} bytes each; "
          f"kernel slabs of both sides {(slab() - kernel) / total:,.0f} bytes each")
    print(f"  idle cost {1e6 * idle:.2f} us per connection and second (bar 0.5)", flush=True)


if __name__ == "__main__":
    main()
