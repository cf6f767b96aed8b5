"""An authority for certificates, and names that all lead to this machine: Pebble and its server for
names, by Let's Encrypt, as scripts/install brings them."""

import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import sys
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
sys.path.insert(0, str(HERE.parent / "tls"))

from certificates import make  # noqa: E402
from ringway import ROOT, free_port, wait_for  # noqa: E402

TOOLS = ROOT / ".tools" / "pebble"
BLOCKED = "blocked.example"


def tool(name):
    path = TOOLS / name
    if not path.exists():
        raise SystemExit(f"{path} is not there; run scripts/install")
    return str(path)


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


class Process:
    """A process with its log."""

    def begin(self, name, line, log, environment=None):
        self.log_path = log
        # Whatever the environment says, every proof is looked at.
        inherited = {n: v for n, v in os.environ.items() if not n.startswith("PEBBLE_")}
        with open(log, "ab") as out:
            self.process = subprocess.Popen([tool(name), *line], stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=out, env={**inherited, **(environment or {})})

    def stop(self):
        self.process.kill()
        self.process.wait()

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")


class Names(Process):
    """Answers for every name with 127.0.0.1, unless it is told another address."""

    def __init__(self, folder):
        self.port, self.management = free_port(), free_port()
        address = f"127.0.0.1:{self.port}"
        self.begin("pebble-challtestsrv", [
            "-dnsserver", address, "-management", f"127.0.0.1:{self.management}", "-defaultIPv6", "",
            "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", ""], folder / "names.log")
        wait_for("names", lambda: listens(self.management))

    def lead(self, host, address):
        body = json.dumps({"host": f"{host}.", "addresses": [address]}).encode()
        url = f"http://127.0.0.1:{self.management}/add-a"
        urllib.request.urlopen(url, body, timeout=5).close()


class Pebble(Process):
    """An authority whose certificates are valid for `seconds`, and which looks for proofs at
    `tls_port`, again for each order unless it `remembers`. It forgets everything when it is stopped."""

    def __init__(self, folder, names, seconds=7776000):
        self.remembers = False
        self.folder = folder
        self.port, self.management, self.tls_port = free_port(), free_port(), free_port()
        self.chain, self.key = make(folder, "directory", "localhost", "127.0.0.1")
        self.directory = f"https://127.0.0.1:{self.port}/dir"
        self.names = names
        self.config = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management}",
            "certificate": str(self.chain), "privateKey": str(self.key),
            "httpPort": free_port(), "tlsPort": self.tls_port, "keyAlgorithm": "ecdsa",
            "domainBlocklist": [BLOCKED], "retryAfter": {"authz": 1, "order": 1},
            "profiles": {"default": {"description": "of tests", "validityPeriod": seconds}},
        }

    def start(self):
        path = self.folder / "pebble.json"
        path.write_text(json.dumps({"pebble": self.config}))
        line = ["-config", str(path), "-strict", "-dnsserver", f"127.0.0.1:{self.names.port}"]
        # It sleeps for some seconds before each look, as authorities do; a test need not.
        environment = {"PEBBLE_VA_NOSLEEP": "1",
                       "PEBBLE_AUTHZREUSE": "100" if self.remembers else "0"}
        self.begin("pebble", line, self.folder / "pebble.log", environment)
        wait_for("pebble", lambda: listens(self.port) and listens(self.management))
        return self

    def root(self):
        """Who vouches for what it issues."""
        trusted = ssl.create_default_context(cafile=str(self.chain))
        url = f"https://127.0.0.1:{self.management}/roots/0"
        with urllib.request.urlopen(url, timeout=5, context=trusted) as answer:
            path = self.folder / f"root-{time.monotonic_ns()}.pem"
            path.write_bytes(answer.read())
        return path

    @property
    def orders(self):
        """How many it has had, since its first start."""
        return self.log.count("Added order ")

    @property
    def accounts(self):
        """How many it has now."""
        counts = re.findall(r"There are now (\d+) accounts in memory", self.log)
        return int(counts[-1]) if counts else 0
