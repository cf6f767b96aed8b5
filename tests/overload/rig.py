"""Servers of these tests, sockets from many addresses, and headers of proxies."""

import json
import pathlib
import signal
import socket
import struct
import tempfile
import time
import traceback
import urllib.request

from certificates import make
from ringway import Server, merge, wait_for
from wire import Reader, upgrade

CLIENT = "/connection/websocket"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
UNSPECIFIED, IPV4, IPV6 = 0x00, 0x11, 0x21


class Rig:
    """A certificate, and servers that are started once for each configuration."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.chain, self.key = make(folder, "one", "one.example", "127.0.0.1")
        self.servers = {}

    def tls(self):
        return {"enabled": True, "cert_pem": str(self.chain), "key_pem": str(self.key)}

    def server(self, changes, **how):
        """A server with these settings, which others may share."""
        name = json.dumps(changes, sort_keys=True)
        if name not in self.servers:
            is_tls = "tls" in changes.get("http_server", {})
            cafile = self.chain if is_tls else None
            changes = merge({"log": {"level": "debug"}, "shards": 2}, changes)
            self.servers[name] = Server("echo.json", changes, cafile=cafile, **how).__enter__()
        return self.servers[name]

    def poor_server(self, files):
        """A server on the portable driver, whose connections are files, with so few of them."""
        changes = {"shards": 1, "node": {"name": "poor"}}
        return self.server(changes, before=f"ulimit -n {files}", io="portable")

    def stop(self):
        for server in self.servers.values():
            server.stop()


def run_rows(rows, wanted):
    """Runs the rows whose name has one of the texts that are wanted, or all; what to exit with."""
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="ringway-rows-") as folder:
        rig = Rig(folder)
        try:
            for name, act in rows:
                if wanted and not any(part in name for part in wanted):
                    continue
                started = time.monotonic()
                try:
                    remark = act(rig)
                except Exception:
                    failed += 1
                    print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
                    continue
                passed += 1
                took = time.monotonic() - started
                print(f"ok      {name} ({took:.1f} s){': ' + remark if remark else ''}", flush=True)
            for server in rig.servers.values():
                if not server.is_alive:
                    failed += 1
                    print(f"FAILED  a server ended:\n{server.log[-2000:]}", flush=True)
        finally:
            rig.stop()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def check(holds, *evidence):
    if not holds:
        raise AssertionError(repr(evidence))


def dial(server, source="127.0.0.1", seconds=5):
    """A connection from one of the loopback addresses."""
    made = socket.socket()
    made.settimeout(seconds)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.bind((source, 0))
    made.connect(("127.0.0.1", server.port))
    return made


def header(client="192.0.2.7", port=4711, command=PROXY, tlvs=b""):
    """A header of the PROXY protocol, version 2, for a client of either family."""
    if ":" in client:
        ends = socket.inet_pton(socket.AF_INET6, client) + socket.inet_pton(socket.AF_INET6, "::1")
        return raw_header(command, IPV6, ends + struct.pack("!HH", port, 8000) + tlvs)
    ends = socket.inet_aton(client) + socket.inet_aton("127.0.0.1")
    return raw_header(command, IPV4, ends + struct.pack("!HH", port, 8000) + tlvs)


def raw_header(command, family, body, length=None):
    length = len(body) if length is None else length
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", length) + body


def forwarded(octets, *values):
    """A request with headers X-Forwarded-For."""
    lines = "".join(f"\r\nX-Forwarded-For: {value}" for value in values).encode()
    return octets.replace(b"\r\n\r\n", lines + b"\r\n\r\n", 1)


def come(server, source="127.0.0.1", before=b"", values=()):
    """Wants a session from an address: status, seconds of Retry-After, the connection."""
    connection = dial(server, source)
    connection.sendall(before + forwarded(upgrade(CLIENT), *values))
    head, _ = Reader(connection).answer()
    status = int(head.split()[1])
    seconds = [line.split(":")[1] for line in head.split("\r\n") if line.startswith("Retry-After")]
    return status, int(seconds[0]) if seconds else None, connection


def ends_silently(connection):
    """Does the server end it without a byte?"""
    try:
        return connection.recv(65536) == b""
    except ConnectionError:
        return True


def metrics(server):
    """Lines of the metrics."""
    address = f"http://127.0.0.1:{server.metrics_port}/metrics"
    with urllib.request.urlopen(address, timeout=5) as answer:
        return answer.read().decode().splitlines()


def metric(server, name, label=""):
    """The sum of a metric over shards, or of one label."""
    lines = metrics(server)
    if not any(line.startswith(f"# TYPE ringway_{name} ") for line in lines):
        raise KeyError(f"there is no metric {name}")
    wanted = f"ringway_{name}_total{{" if not label else f'ringway_{name}_total{{reason="{label}"}}'
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(wanted))


def gauge(server, name):
    """A gauge of the process."""
    [line] = [line for line in metrics(server) if line.startswith(f"ringway_{name} ")]
    return int(line.rsplit(" ", 1)[1])


def counted(server, name, label, act):
    """Does `act`, and waits until it is counted once under a label."""
    before = metric(server, name, label)
    act()
    wait_for(f"{name} {label}", lambda: metric(server, name, label) > before)
    count = metric(server, name, label) - before
    check(count == 1, name, label, count)


def logged(server, peer, connection):
    """Ends a connection, and waits for the line that says from where it came."""
    connection.close()
    wait_for(f"a line about {peer}", lambda: f"peer={peer}" in server.log)


def reload(server, changes):
    """New settings for a running server, once it says that they hold."""
    server.config = merge(server.config, changes)
    path = pathlib.Path(server.folder.name) / "config.json"
    path.write_text(json.dumps(server.config))
    done = "reload: every shard has the new settings"
    before = server.log.count(done)
    server.process.send_signal(signal.SIGHUP)
    wait_for("the reload", lambda: server.log.count(done) > before)
