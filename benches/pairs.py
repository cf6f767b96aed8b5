"""Runs server and load in alternating pairs and prints ratios. Called by scripts/bench."""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import certificate

PORT = 9001
CONFIG = {
    "client": {"insecure": True, "allowed_origins": ["*"]},
    "debug": {"websocket_echo": True},
    "metrics": {"address": ""},
    "shards": 1,
    "log": {"level": "error"},
    "channel": {"without_namespace": {"history_size": 10, "history_ttl": "60s"}},
}
SECRET = "the-secret-of-the-load-source-and-its-server"
# Users who connect with a token, as the bare ring's clients connect without one.
USERS = {
    "client": {"token": {"hmac_secret_key": SECRET}, "allowed_origins": ["*"]},
    "metrics": {"address": ""},
    "shards": 1,
    "log": {"level": "error"},
}
CONNECT_BAR = 0.60
TLS_BARS = {"fan-out 1": 0.85, "fan-out 8": 0.60}


def sh(*words, **more):
    return subprocess.run(words, check=True, capture_output=True, text=True, **more)


def prepare_namespace():
    """scripts/bench starts this in a network namespace of its own, which is empty."""
    others = [name for name in os.listdir("/proc/sys/net/ipv4/conf") if name.startswith("eth")]
    if others:
        sys.exit("this is not a network namespace of its own; start it by scripts/bench")
    sh("ip", "link", "set", "lo", "up")
    for setting in (
        "net.ipv4.tcp_congestion_control=reno",
        "net.ipv4.ip_local_port_range=1024 65535",
        "net.core.somaxconn=65535",
    ):
        sh("sysctl", "-qw", setting)


class Server:
    def __init__(self, words, env):
        self.process = subprocess.Popen(
            ["taskset", "-c", "0", *words],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(0.7)
        if self.process.poll() is not None:
            sys.exit(f"the server ended: {' '.join(words)}")

    def stop(self):
        self.process.kill()
        self.process.wait()
        time.sleep(0.2)


class Bench:
    def __init__(self, arguments, folder):
        self.arguments = arguments
        self.config = folder / "bench.json"
        self.config.write_text(json.dumps(CONFIG))
        self.certificate = folder / "cert.pem"
        self.tls = folder / "tls.json"
        if arguments.tls:
            http_server = {"tls": certificate.settings(folder)}
            self.tls.write_text(json.dumps({**CONFIG, "http_server": http_server}))
            self.users_tls = folder / "users_tls.json"
            self.users_tls.write_text(json.dumps({**USERS, "http_server": http_server}))
        self.users = folder / "users.json"
        self.users.write_text(json.dumps(USERS))

    def start(self, who, config=None):
        if who == "bare":
            return Server([self.arguments.reference], {**os.environ, "PORT": str(PORT)})
        address = ["--address", "127.0.0.1", "--port", str(PORT)]
        config = config or (self.tls if who == "tls" else self.config)
        words = [self.arguments.server, "serve", "--config", str(config), *address]
        words += ["--io", "portable" if who == "portable" else "ring"]
        return Server(words, os.environ)

    def load(self, server, connections, *words, who="ringway"):
        """One measurement: the load source's line of JSON."""
        command = ["taskset", "-c", "1", self.arguments.load]
        command += ["--address", f"127.0.0.1:{PORT}", "--connections", str(connections)]
        command += ["--tls", str(self.certificate)] if who == "tls" else []
        command += ["--server-pid", str(server.process.pid), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
        if done.returncode != 0:
            server.stop()
            sys.exit(f"{' '.join(words)}: {done.stderr.strip()}")
        # `hold` has a second line, about its end.
        return json.loads(done.stdout.partition("\n")[0])


def report(name, results, bar):
    for who, values in results.items():
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"  {name:14} {who:8} median {middle:>12,.0f}   {low:,.0f} to {high:,.0f}")
    if "bare" in results:
        ratio(name, results["ringway"], results["bare"], f"(bar {bar})")
    if "portable" in results:
        ratio(name, results["portable"], results["ringway"], "portable to ring")
    if "tls" in results:
        tls_bar = TLS_BARS.get(name)
        remark = "TLS to plain" + (f" (bar {tls_bar})" if tls_bar else "")
        ratio(name, results["tls"], results["ringway"], remark)


def ratio(name, ours, theirs, remark):
    ratios = [one / other for one, other in zip(ours, theirs)]
    middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
    print(f"  {name:14} ratio    median {middle:12.3f}   {low:.3f} to {high:.3f}   {remark}")


def speed(bench, pairs, short):
    size, rounds = (500, 5) if short else (10_001, 60)
    who = ["ringway"] + (["bare"] if bench.arguments.reference else [])
    who += ["portable"] if bench.arguments.portable else []
    who += ["tls"] if bench.arguments.tls else []
    tests = {
        "echo depth 1": (0.85, lambda w: ["echo", "--depth", "1"]),
        "echo depth 8": (0.85, lambda w: ["echo", "--depth", "8"]),
        "fan-out 1": (0.92, lambda w: ["fanout", "--outstanding", "1", "--rounds", str(rounds)]),
        "fan-out 8": ("4 x", lambda w: ["fanout", "--outstanding", "8", "--rounds", str(rounds * 4)]),
    }
    results = {name: {one: [] for one in who} for name in tests}
    for pair in range(pairs):
        for one in who if pair % 2 == 0 else who[::-1]:
            server = bench.start(one)
            for name, (_, words) in tests.items():
                arguments = words(one)
                if one == "bare":
                    echo = arguments[0] == "echo"
                    arguments += ["--path", "/chat"] if echo else ["--dialect", "bare"]
                if short and arguments[0] == "echo":
                    arguments += ["--seconds", "0.5"]
                connections = size if arguments[0] == "fanout" else min(size, 1000)
                measured = bench.load(server, connections, *arguments, who=one)
                results[name][one].append(measured["per_second"])
                print(f"  pair {pair + 1} {one:8} {name:14} {json.dumps(measured)}", flush=True)
            server.stop()
    print()
    for name, (bar, _) in tests.items():
        report(name, results[name], bar)
    eight, one = results["fan-out 8"]["ringway"], results["fan-out 1"]["ringway"]
    gain = statistics.median(a / b for a, b in zip(eight, one))
    print(f"  eight outstanding broadcasts deliver {gain:.2f} x as much as one")


def connects(bench, pairs, short):
    """Accept to connect reply with HS256, against accept to the first echo of the bare ring."""
    who = ["ringway"] + (["bare"] if bench.arguments.reference else [])
    who += ["tls"] if bench.arguments.tls else []
    results = {one: [] for one in who}
    for pair in range(pairs):
        for one in who if pair % 2 == 0 else who[::-1]:
            server = bench.start(one, bench.users_tls if one == "tls" else bench.users)
            words = ["hold", "--bare", "--secret", SECRET, "--hold", "0"]
            if one == "bare":
                words = ["idle", "--dialect", "bare", "--path", "/chat", "--hold", "0"]
            measured = bench.load(server, 500 if short else 10_000, *words, who=one)
            results[one].append(measured["connects_per_second"])
            print(f"  pair {pair + 1} {one:8} connects       {json.dumps(measured)}", flush=True)
            server.stop()
    report("connects", results, CONNECT_BAR)


def memory(bench, short, who="ringway"):
    connections = 500 if short else 15_000
    server = bench.start(who)
    measured = bench.load(server, connections, "idle", "--hold", "1" if short else "5")
    server.stop()
    bar = 32 * 2**20 + connections * 1024
    print(f"  {who}: {connections} idle sessions: {json.dumps(measured)}")
    print(f"  PSS {measured['pss'] / 2**20:.1f} MiB, bar {bar / 2**20:.1f} MiB")


def fairness(bench, short):
    connections, rounds = (500, 20) if short else (15_002, 60)
    server = bench.start("ringway")
    quiet = bench.load(server, 1, "echo", "--depth", "1", "--seconds", "1")
    words = ["fanout", "--outstanding", "8", "--rounds", str(rounds), "--bystander", "/debug/echo"]
    busy = bench.load(server, connections, *words)
    server.stop()
    print(f"  quiet p99 {quiet['p99_us']} us; beside a saturating channel {busy['bystander']}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--load", required=True)
    parser.add_argument("--reference")
    parser.add_argument("--portable", action="store_true")
    parser.add_argument("--tls", action="store_true", help="Ringway over TLS too")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--short", action="store_true")
    arguments = parser.parse_args()
    prepare_namespace()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments, pathlib.Path(folder))
        speed(bench, arguments.pairs, arguments.short)
        connects(bench, arguments.pairs, arguments.short)
        memory(bench, arguments.short)
        if arguments.portable:
            memory(bench, arguments.short, "portable")
        fairness(bench, arguments.short)


if __name__ == "__main__":
    main()
