"""Clients that take nothing beside those who do. Called by scripts/bench --stalled.

5,000 clients are in one channel, and 100 of them stop reading with half of their outbox full; then
publications go to everybody. The latency of the others against the same without anyone who stalls;
whether each who stalls stays within its budget, and is gone in time with its reason.
Server on core 0, load on core 1, alternating pairs.
"""

import argparse
import base64
import json
import os
import pathlib
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
import urllib.request

from observe import metrics
from pairs import Bench, PORT, prepare_namespace, sh

METRICS = 9010
KEY = "the-key-of-the-interface-of-programs"
QUEUE_BYTES = 1 << 20
# Half of their outboxes waits, behind what the kernel has taken: no more than this for a socket.
KERNEL_BYTES, PIECE_BYTES = 128 << 10, 64 << 10
P99_BAR, GONE_SECONDS = 1.2, 10
CONFIG = {
    "client": {"insecure": True, "allowed_origins": ["*"], "queue_max_size": QUEUE_BYTES},
    "http_api": {"key": KEY},
    "metrics": {"address": f"127.0.0.1:{METRICS}"},
    "shards": 1,
    "log": {"level": "error"},
}


def frame(text):
    """A text frame of a client (RFC 6455, 5.2), whose mask is zero."""
    size = len(text)
    head = struct.pack("!BB", 0x81, 0x80 | size) if size < 126 else struct.pack("!BBH", 0x81, 0xFE, size)
    return head + bytes(4) + text


def upgrade():
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()


class Stalled:
    """A client that subscribes, and takes nothing from then on."""

    def __init__(self):
        self.socket = socket.socket()
        self.socket.settimeout(10)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", PORT))
        self.say(upgrade(), b"101 Switching Protocols")
        self.say(frame(b'{"id":1,"connect":{}}'), b'"connect"')
        self.say(frame(b'{"id":2,"subscribe":{"channel":"flood"}}'), b'"id":2,"subscribe"')
        self.say(frame(b'{"id":3,"subscribe":{"channel":"bench"}}'), b'"id":3,"subscribe"')

    def say(self, words, answer):
        self.socket.sendall(words)
        heard = b""
        while answer not in heard:
            piece = self.socket.recv(4096)
            if not piece:
                sys.exit(f"a client was sent away: {heard[-200:]}")
            heard += piece


def publish(data):
    headers = {"X-API-Key": KEY, "Content-Type": "application/json"}
    body = json.dumps({"channel": "flood", "data": data}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/api/publish", body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        if "error" in json.load(answer):
            sys.exit("a publication was refused")


def outboxes():
    return metrics(METRICS)['memory_bytes{shard="0",kind="outbox"}']


def fill(count):
    for _ in range((QUEUE_BYTES + 4 * KERNEL_BYTES) // PIECE_BYTES):
        publish("x" * PIECE_BYTES)
        if outboxes() > count * QUEUE_BYTES / 2:
            return
    sys.exit("the kernel took it all")


def closes(reason):
    return sum(value for name, value in metrics(METRICS).items()
               if name.startswith("closes_total{") and f'reason="{reason}"' in name)


class Watch:
    """The most that all outboxes took, and when those who stall were gone."""

    def __init__(self, count):
        self.count, self.most, self.gone, self.ends = count, 0, None, False
        self.began = time.monotonic()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.ends and self.gone is None:
            self.most = max(self.most, outboxes())
            if closes("slow") >= self.count:
                self.gone = time.monotonic() - self.began
            time.sleep(0.1)

    def finish(self):
        give_up = time.monotonic() + GONE_SECONDS + 2
        while self.gone is None and time.monotonic() < give_up:
            time.sleep(0.1)
        self.ends = True
        self.thread.join()
        if self.gone is None:
            sys.exit(f"{closes('slow'):.0f} of {self.count} were sent away as slow")


def measure(bench, arguments, stalls):
    """p99 of those who read, in microseconds; with some who do not, what those took and how long."""
    clients, stalled_count, rounds = arguments.sizes
    server = bench.start("ringway", bench.stalled)
    watch = None
    if stalls:
        stalled = [Stalled() for _ in range(stalled_count)]
        watch = Watch(stalled_count)
        fill(stalled_count)
    load = bench.load(server, clients - stalled_count, "fanout", "--rounds", str(rounds))
    if watch:
        if watch.gone is not None:
            sys.exit("they were gone before the others were measured; fewer --rounds would do")
        watch.finish()
        for one in stalled:
            one.socket.close()
    server.stop()
    return load["p99_us"], watch


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--load", required=True)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--short", action="store_true")
    arguments = parser.parse_args()
    arguments.tls, arguments.reference = False, None
    arguments.sizes = (200, 10, 50) if arguments.short else (5_000, 100, 150)
    prepare_namespace()
    sh("sysctl", "-qw", f"net.ipv4.tcp_wmem=4096 16384 {KERNEL_BYTES}")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        bench = Bench(arguments, folder)
        bench.stalled = folder / "stalled.json"
        bench.stalled.write_text(json.dumps(CONFIG))
        quiet, beside, most, gone = [], [], 0, 0
        for pair in range(1 if arguments.short else arguments.pairs):
            for stalls in (False, True) if pair % 2 == 0 else (True, False):
                p99, watch = measure(bench, arguments, stalls)
                (beside if stalls else quiet).append(p99)
                if watch:
                    most, gone = max(most, watch.most), max(gone, watch.gone)
    clients, count, _ = arguments.sizes
    ratios = [one / other for one, other in zip(beside, quiet)]
    print(f"  {clients:,} clients, {count} of them take nothing; p99 of the others, us: "
          f"{statistics.median(beside):,.0f} ({min(beside):,} to {max(beside):,}), "
          f"without anyone stalled {statistics.median(quiet):,.0f} ({min(quiet):,} to {max(quiet):,})")
    print(f"  ratio median {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}), bar {P99_BAR}")
    print(f"  outboxes of those {most / count / 2**10:,.0f} KiB each at most, bar {QUEUE_BYTES / 2**10:,.0f}; "
          f"gone as slow after {gone:.1f} s, bar {GONE_SECONDS}", flush=True)
    if most > count * QUEUE_BYTES:
        sys.exit("more was kept for them than their budget")


if __name__ == "__main__":
    main()
