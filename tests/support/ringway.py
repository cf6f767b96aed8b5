"""Starts the real binary on free loopback ports; the Python twin of server.mjs.

The binary is named by RINGWAY_BIN (default: target/release/ringway of this checkout). A test names
a configuration in tests/configs/; only ports are put in here, so that tests can run side by side.
DRIVER_OF_TESTS names what drives its sockets, as --io takes it (default: what the server chooses).
"""

import json
import os
import pathlib
import random
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 10
STOP_SECONDS_MAX = 15
PORTS_GIVEN = set()


def binary():
    return os.path.abspath(os.environ.get("RINGWAY_BIN", ROOT / "target/release/ringway"))


def driver(name=None):
    """Arguments that choose the driver."""
    name = name or os.environ.get("DRIVER_OF_TESTS")
    return ["--io", name] if name else []


def wait_for(what, holds, seconds=10):
    give_up = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > give_up:
            raise AssertionError(f"waited in vain: {what}")
        time.sleep(0.02)


class Server:
    """A running server. Use as a context manager; `log` is what it wrote so far. One that speaks
    TLS is asked by https, by who trusts the certificate in `cafile`. `before` is a line of shell
    that the process is started behind, `io` its driver whatever that of the other tests."""

    def __init__(self, config_name, changes=None, port=None, cafile=None, before=None, io=None):
        config = json.loads((ROOT / "tests/configs" / config_name).read_text())
        config = merge(config, changes or {})
        self.port = port or free_port()
        self.context = ssl.create_default_context(cafile=str(cafile)) if cafile else None
        self.origin = f"{'https' if cafile else 'http'}://127.0.0.1:{self.port}"
        self.metrics_port = free_port()
        server = {"address": "127.0.0.1", "port": self.port}
        config["http_server"] = merge(config.get("http_server", {}), server)
        config["metrics"] = {"address": f"127.0.0.1:{self.metrics_port}"}
        self.config = config
        self.before, self.io = before, io
        self.folder = tempfile.TemporaryDirectory(prefix="ringway-test-")

    def __enter__(self):
        folder = pathlib.Path(self.folder.name)
        (folder / "config.json").write_text(json.dumps(self.config, indent=2))
        self.log_path = folder / "log"
        # The server reads RINGWAY_… itself, and refuses names it does not know.
        inherited = {n: v for n, v in os.environ.items() if not n.startswith("RINGWAY_")}
        command = [binary(), "serve", "--config", "config.json", "--allow-unsupported",
                   *driver(self.io)]
        if self.before:
            command = ["sh", "-c", f'{self.before}\nexec "$0" "$@"', *command]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=inherited, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log,
            )
        give_up = time.monotonic() + START_SECONDS_MAX
        while not self.is_healthy():
            if self.process.poll() is not None or time.monotonic() > give_up:
                self.stop()
                raise RuntimeError(f"{binary()} did not start:\n{self.last_log}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.last_log = self.log
        self.folder.cleanup()

    @property
    def log(self):
        try:
            return self.log_path.read_text(errors="replace")
        except FileNotFoundError:
            return self.last_log

    @property
    def is_alive(self):
        return self.process.poll() is None

    @property
    def resident_kib(self):
        """Memory in use, as the kernel counts it."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1])

    @property
    def cpu_seconds(self):
        """Time of a processor that it has taken, its own and the kernel's for it."""
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = stat.rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def is_healthy(self):
        address = f"{self.origin}/health"
        try:
            with urllib.request.urlopen(address, timeout=1, context=self.context) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def api(self, method, body):
        """Calls the HTTP API and returns the whole answer."""
        request = urllib.request.Request(
            f"{self.origin}/api/{method}",
            data=json.dumps(body).encode(),
            headers={"X-API-Key": self.config["http_api"]["key"],
                     "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10, context=self.context) as answer:
            return json.load(answer)


def merge(base, changes):
    merged = dict(base)
    for name, value in changes.items():
        is_section = isinstance(value, dict) and isinstance(base.get(name), dict)
        merged[name] = merge(base[name], value) if is_section else value
    return merged


def free_port():
    """A port that nobody listens on, that was not given before, and that the kernel gives to no
    client by chance: it takes theirs from above."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in PORTS_GIVEN:
            PORTS_GIVEN.add(port)
            return port
