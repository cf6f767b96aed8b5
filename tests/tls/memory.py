#!/usr/bin/env python3
"""Goal: TLS costs an idle connection at most 1 KiB of the server's memory.

Method: the real binary with one shard; as many idle WebSockets without TLS and with it; what the
process has for itself (PSS) with half of them and with all of them, per connection of the second
half. What TLS costs is the difference.
Run: python3 tests/tls/memory.py [connections]
"""

import pathlib
import resource
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
sys.path.insert(0, str(HERE))

import socket  # noqa: E402

from ringway import Server  # noqa: E402
from run import V1_2, V1_3, Rig  # noqa: E402
from wire import Reader, connect, upgrade  # noqa: E402

CONNECTIONS = 8000
# The allocator gives back what handshakes freed after a second.
SETTLE_SECONDS = 3
TLS_BYTES_MAX = 1024


def pss(server):
    text = pathlib.Path(f"/proc/{server.process.pid}/smaps_rollup").read_text()
    [line] = [line for line in text.splitlines() if line.startswith("Pss:")]
    return 1024 * int(line.split()[1])


def idle(server, ssl_context):
    if ssl_context:
        client = connect(server.port, ssl_context)
    else:
        client = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    client.sendall(upgrade())
    head, _ = Reader(client).answer()
    assert head.startswith("HTTP/1.1 101"), head
    return client


def cost(server, ssl_context, count):
    """Bytes of the server for each connection."""
    clients, sizes = [], []
    for half in (count // 2, count):
        clients += [idle(server, ssl_context) for _ in range(half - len(clients))]
        time.sleep(SETTLE_SECONDS)
        sizes.append(pss(server))
    for client in clients:
        client.close()
    return (sizes[1] - sizes[0]) / (count - count // 2)


def main(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="ringway-test-") as folder:
        rig = Rig(folder)
        ways = [
            ("without TLS", None, None),
            ("TLS 1.3, own record layer", {}, V1_3),
            ("TLS 1.3, record layer of rustls", {"record_layer": "rustls"}, V1_3),
            ("TLS 1.2", {"min_version": "1.2"}, V1_2),
        ]
        costs = {}
        for name, tls, version in ways:
            # `connect` may take its time here.
            patient = {"shards": 1, "client": {"stale_close_delay": "600s"}}
            changes = patient if tls is None else {**rig.settings(**tls), **patient}
            cafile = None if tls is None else rig.chain
            with Server("echo.json", changes, cafile=cafile) as server:
                context = rig.context(version) if version else None
                costs[name] = cost(server, context, count)
            beyond = costs[name] - costs["without TLS"]
            print(f"{name}: {costs[name]:.0f} bytes for each of {count}, {beyond:.0f} of them TLS",
                  flush=True)
    beyond = costs["TLS 1.3, own record layer"] - costs["without TLS"]
    is_within = 0 < beyond <= TLS_BYTES_MAX
    print(f"{int(is_within)} passed, {int(not is_within)} failed")
    return 0 if is_within else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else CONNECTIONS))
