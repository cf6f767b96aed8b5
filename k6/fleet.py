"""Many sockets by several k6 processes at once, against one server: each process takes its execution
segment of the VUs, has descriptors and source addresses of its own, and writes its summary; one table
tells what all of them saw. Called by scripts/k6-100k.
"""

import argparse
import json
import os
import pathlib
import resource
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Sockets of one VU; a k6 process keeps descriptors for itself.
SOCKETS, DESCRIPTORS_BESIDE = 100, 1000
# A source address has about 28,000 ports for one destination.
PORTS = 20_000
START_SECONDS = 10
# Of 127.0.1.0/24.
PROCESSES_MAX = 254
SCRIPTS = ("connect", "fanout", "chat", "storm")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, help="the ringway binary")
    parser.add_argument("--k6", required=True, help="the k6 binary, 2.0 or newer")
    parser.add_argument("--script", choices=SCRIPTS, default="fanout")
    parser.add_argument("--sockets", type=int, default=100_000)
    parser.add_argument("--ramp", type=int, default=240, help="seconds")
    parser.add_argument("--hold", type=int, default=300, help="seconds")
    parser.add_argument("--members", type=int, default=100, help="of a room")
    parser.add_argument("--publish", type=float, default=10, help="seconds between a VU's messages")
    parser.add_argument("--untimed", action="store_true", help="no thresholds of time")
    return parser.parse_args()


def free_ports(count):
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return ports


def config(secret, metrics):
    return {
        "client": {"token": {"hmac_secret_key": secret}, "allowed_origins": ["*"]},
        "metrics": {"address": f"127.0.0.1:{metrics}"},
        "http_api": {"key": secrets.token_hex(16)},
        "log": {"level": "error"},
        "channel": {"namespaces": [{
            "name": "room", "history_size": 50, "history_ttl": "10m", "force_recovery": True,
            "allow_subscribe_for_client": True, "allow_publish_for_subscriber": True,
            "allow_history_for_subscriber": True,
        }]},
    }


def memory_mib(pid):
    """Proportional set size: all of a process's own memory, and its part of what is shared."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1]) / 1024


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start_server(wanted, folder, secret, started):
    port, metrics = free_ports(2)
    path = folder / "config.json"
    path.write_text(json.dumps(config(secret, metrics)))
    command = [wanted.server, "serve", "--config", str(path), "--address", "127.0.0.1",
               "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    started.append(server)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return server, port
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.05)
    sys.exit("the server did not start")


def start_k6(wanted, folder, port, secret, started):
    """One process for as many sockets as it may have descriptors."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    each = min(limit - DESCRIPTORS_BESIDE, PORTS)
    if each * PROCESSES_MAX < wanted.sockets:
        sys.exit(f"a process may have {limit} files: raise `ulimit -Hn` to 20,000 or more")
    sockets = min(SOCKETS, max(1, wanted.sockets // 4))
    vus = -(-wanted.sockets // sockets)
    count = min(vus, max(1, -(-vus * sockets // each)))
    edges = ["0", *(f"{at}/{count}" for at in range(1, count)), "1"]
    settings = {
        "RINGWAY_URL": f"ws://127.0.0.1:{port}/connection/websocket",
        "VUS": vus, "SOCKETS": sockets, "MEMBERS": wanted.members, "RAMP_SECONDS": wanted.ramp,
        "HOLD_SECONDS": wanted.hold, "PUBLISH_SECONDS": wanted.publish,
        "UNTIMED": "1" if wanted.untimed else "",
    }
    fleet = []
    # k6 reads what scripts are told from its environment, too; nobody else can read that.
    environment = {**os.environ, "RINGWAY_SECRET": secret}
    for at in range(count):
        summary = folder / f"summary-{at}.json"
        words = [f"-e{name}={value}" for name, value in {**settings, "SUMMARY": summary}.items()]
        command = [wanted.k6, "run", "--quiet", "--no-usage-report", "--address", "127.0.0.1:0",
                   "--local-ips", f"127.0.1.{at + 1}",
                   "--execution-segment", f"{edges[at]}:{edges[at + 1]}",
                   "--execution-segment-sequence", ",".join(edges),
                   *words, str(ROOT / "k6" / f"{wanted.script}.js")]
        started.append(subprocess.Popen(command, env=environment))
        fleet.append((started[-1], summary))
    return fleet, vus * sockets


def watch(wanted, server, fleet, total):
    """Waits for all processes. What the server and k6 took late in the hold, when a storm is over."""
    deadline = time.monotonic() + wanted.ramp + wanted.hold + 180
    late = time.monotonic() + wanted.ramp + wanted.hold * 0.9
    seen = None
    while any(process.poll() is None for process, _ in fleet):
        if server.poll() is not None:
            sys.exit("the server ended")
        if time.monotonic() > deadline:
            sys.exit("k6 did not end in time")
        if seen is None and time.monotonic() > late:
            alive = [process.pid for process, _ in fleet if process.poll() is None]
            seen = {"held": held(server.pid), "server": memory_mib(server.pid),
                    "k6": sum(memory_mib(pid) for pid in alive)}
            print(f"  late in the hold: {seen['held']:,} of {total:,} sockets, "
                  f"server {seen['server']:,.0f} MiB, k6 {seen['k6']:,.0f} MiB", flush=True)
        time.sleep(0.2)
    return seen


def held(pid):
    """Established connections of the server's port, by the kernel's count."""
    port = next(word for at, word in enumerate(words(pid)) if words(pid)[at - 1] == "--port")
    count = subprocess.run(["ss", "-Htn", "state", "established", f"( sport = :{port} )"],
                           capture_output=True, text=True, check=True)
    return len(count.stdout.splitlines())


def words(pid):
    return pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def table(summaries, seconds):
    """Counts are added up; of a percentile the worst process counts."""
    def of(name, value):
        return [summary[name][value] for summary in summaries if value in summary.get(name, {})]

    for name in sorted({name for summary in summaries for name in summary}):
        label = name.removeprefix("ringway_")
        if of(name, "p(95)"):
            row = "   ".join(f"{stat} {max(of(name, stat)):,.0f}" for stat in
                             ("med", "p(95)", "p(99)", "max") if of(name, stat))
            print(f"  {label:<18} {row} ms, worst of {len(summaries)} processes; "
                  f"{sum(of(name, 'count')):,.0f} samples")
        elif of(name, "passes"):
            passes, fails = sum(of(name, "passes")), sum(of(name, "fails"))
            print(f"  {label:<18} {100 * passes / max(1, passes + fails):.3f} % of "
                  f"{passes + fails:,.0f}")
        else:
            count = sum(of(name, "count"))
            print(f"  {label:<18} {count:,.0f}, {count / seconds:,.0f} /s over the whole run")


def main():
    wanted = arguments()
    secret = secrets.token_hex(32)
    # Ended from outside, it ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    started = []
    with tempfile.TemporaryDirectory(prefix="k6-") as name:
        folder = pathlib.Path(name)
        try:
            server, port = start_server(wanted, folder, secret, started)
            began = time.monotonic()
            fleet, total = start_k6(wanted, folder, port, secret, started)
            print(f"{wanted.script}: {total:,} sockets by {len(fleet)} k6 processes, ramp "
                  f"{wanted.ramp} s, hold {wanted.hold} s", flush=True)
            seen = watch(wanted, server, fleet, total)
            cpu = cpu_seconds(server.pid)
        finally:
            for process in started:
                process.kill()
                process.wait()
        codes = [process.returncode for process, _ in fleet]
        summaries = [json.loads(path.read_text()) for _, path in fleet if path.exists()]
        table(summaries, time.monotonic() - began)
        print(f"  server CPU         {cpu:.1f} s")
        print(f"  exit codes of k6   {' '.join(map(str, codes))} (99: a threshold was crossed)")
        came = sum(summary.get("ringway_connected", {}).get("count", 0) for summary in summaries)
        lost = seen is None or min(seen["held"], came) < total * 0.99
        if lost:
            print("  fewer than 99 % of the sockets were connected, and held late in the hold")
        return 1 if any(codes) or len(summaries) < len(fleet) or lost else 0


if __name__ == "__main__":
    sys.exit(main())
