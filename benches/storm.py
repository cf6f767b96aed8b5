"""Everybody is dropped at once: how soon they are back, what it costs, and whether anything is missed.
Called by scripts/bench --storm N.

The server has a shard per core. Users with tokens sit in rooms of 50 whose publications are recovered;
one is published into each room while they are gone, and each must get it. A bystander's echo on an
established connection is timed all along. With --directory, the rooms are durable, in that folder.
"""

import argparse
import json
import os
import pathlib
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import certificate
from observe import cpu_seconds, metric, metrics
from pairs import prepare_namespace

PORT, METRICS = 9007, 9008
USERS_PER_PROCESS = 10_000
ROOM_USERS = 50
ROOMS_AT_ONCE = 100
SECRET = "the-secret-of-the-load-source-and-its-server"
KEY = "the-key-of-the-interface-of-programs"
BACK_SECONDS, MEMORY_RATIO = 10, 1.5


def config(folder, tls, durable):
    room = {"name": "room", "allow_subscribe_for_client": True, "allow_recovery": True}
    room |= {"history_size": 100, "history_ttl": "300s"}
    room |= {"durability": "log"} if durable else {}
    return {
        "client": {"token": {"hmac_secret_key": SECRET}, "allowed_origins": ["*"]},
        "http_api": {"key": KEY},
        "http_server": {"tls": tls} if tls else {},
        "debug": {"websocket_echo": True},
        "metrics": {"address": f"127.0.0.1:{METRICS}"},
        "log": {"level": "warn"},
        "persistence": {"data_dir": str(folder / "data")} if durable else {},
        "channel": {"namespaces": [room]},
    }


def broadcast(rooms_count, tls):
    """One publication into each room."""
    context = ssl.create_default_context(cafile=tls["cert_pem"]) if tls else None
    headers = {"X-API-Key": KEY, "Content-Type": "application/json"}
    address = f"{'https' if tls else 'http'}://localhost:{PORT}/api/broadcast"
    for first in range(0, rooms_count, ROOMS_AT_ONCE):
        rooms = range(first, min(first + ROOMS_AT_ONCE, rooms_count))
        body = json.dumps({"channels": [f"room:{room}" for room in rooms], "data": {"back": True}})
        request = urllib.request.Request(address, body.encode(), headers)
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:
            answers = json.load(answer)["result"]["responses"]
        if any("error" in one for one in answers):
            sys.exit("a broadcast was refused")


class Memory:
    """The most resident memory of a process while it is watched."""

    def __init__(self, pid):
        self.pid, self.most, self.ends = pid, 0, False
        self.thread = threading.Thread(target=self.watch)

    def now(self):
        return int(pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def watch(self):
        while not self.ends:
            self.most = max(self.most, self.now())
            time.sleep(0.02)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ends = True
        self.thread.join()


class Loads:
    """The processes of the users, which all do a thing at a word."""

    def __init__(self, arguments, tls):
        self.all = []
        for index, first in enumerate(range(0, arguments.connections, USERS_PER_PROCESS)):
            count = min(USERS_PER_PROCESS, arguments.connections - first)
            words = [arguments.load, "--address", f"127.0.0.1:{PORT}"]
            words += ["--source", f"127.0.1.{index + 1}", "--connections", str(count)]
            words += ["--tls", tls["cert_pem"]] if tls else []
            words += ["storm", "--first", str(first), "--secret", SECRET]
            pipe = subprocess.PIPE
            self.all.append(subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True))

    def say(self, word):
        for one in self.all:
            one.stdin.write(f"{word}\n")
            one.stdin.flush()

    def hear(self):
        return [json.loads(one.stdout.readline() or sys.exit("a load source ended")) for one in self.all]

    def stop(self):
        for one in self.all:
            one.kill()
            one.wait()


def bystander(arguments, tls, seconds):
    words = [arguments.load, "--address", f"127.0.0.1:{PORT}", "--connections", "1"]
    words += ["--tls", tls["cert_pem"]] if tls else []
    words += ["echo", "--depth", "1", "--seconds", str(seconds)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def measure(arguments, server, loads, tls):
    total = arguments.connections
    loads.hear()
    quiet = json.loads(bystander(arguments, tls, 2).communicate()[0])
    time.sleep(1)
    with Memory(server.pid) as memory:
        steady, used = memory.now(), cpu_seconds(server.pid)
        asked = metric(METRICS, "store_questions_total")
        watched = bystander(arguments, tls, 3)
        time.sleep(1)
        loads.say("drop")
        loads.hear()
        broadcast(-(-total // ROOM_USERS), tls)
        loads.say("return")
        back = loads.hear()
        busy = json.loads(watched.communicate()[0])
    spent = cpu_seconds(server.pid) - used
    recovered = sum(one["recovered"] for one in back)
    got = sum(one["publications"] for one in back)
    if recovered != total or got != total:
        sys.exit(f"of {total} users {recovered} recovered, with {got} publications")
    slowest = max(one["p99_s"] for one in back)
    reads = metric(METRICS, "store_questions_total") - asked
    print(f"  {total:,} users dropped at once{', TLS' if tls else ''}: all recovered what they missed")
    print(f"  back: p50 {max(one['p50_s'] for one in back):.2f} s, p99 {slowest:.2f} s, the last "
          f"{max(one['max_s'] for one in back):.2f} s after the drop (bar: p99 {BACK_SECONDS} s); "
          f"{1e6 * spent / total:.0f} us of the server each")
    print(f"  memory: steady {steady / 2**20:.1f} MiB, most {memory.most / 2**20:.1f} MiB, "
          f"ratio {memory.most / steady:.2f} (bar {MEMORY_RATIO})")
    print(f"  bystander: p99 {quiet['p99_us'] / 1000:.2f} ms quiet, {busy['p99_us'] / 1000:.2f} ms in the "
          f"storm, most {busy['max_us'] / 1000:.1f} ms; questions to the store: {reads:.0f}", flush=True)
    loads.say("end")
    loads.hear()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--load", required=True)
    parser.add_argument("--connections", type=int, default=20_000)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--directory", type=pathlib.Path, help="durable rooms, in this folder")
    arguments = parser.parse_args()
    prepare_namespace()
    with tempfile.TemporaryDirectory(prefix="storm-", dir=arguments.directory) as name:
        folder = pathlib.Path(name)
        tls = certificate.settings(folder) if arguments.tls else None
        path = folder / "config.json"
        path.write_text(json.dumps(config(folder, tls, arguments.directory is not None)))
        words = [arguments.server, "serve", "--config", str(path)]
        words += ["--address", "127.0.0.1", "--port", str(PORT)]
        server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        loads = None
        try:
            time.sleep(1)
            if server.poll() is not None:
                sys.exit("the server ended")
            loads = Loads(arguments, tls)
            measure(arguments, server, loads, tls)
        except SystemExit:
            if server.poll() is None:
                closes = metrics(METRICS).items()
                reasons = {name: count for name, count in closes
                           if name.startswith("closes_total") and count > 0}
                print(f"  the server closed: {reasons}", file=sys.stderr)
            raise
        finally:
            if loads:
                loads.stop()
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
