#!/usr/bin/env python3
"""Goal: certificates come by ACME, are taken up again and renewed in time, and nobody who is connected
notices.

Method: the real binary against Pebble, which looks for every proof; clients trust Pebble's root alone.
Each row has an authority and a folder of its own. Run: python3 tests/acme/run.py [part of a name …]
"""

import json
import os
import pathlib
import signal
import ssl
import stat
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
sys.path.insert(0, str(HERE.parent / "tls"))
sys.path.insert(0, str(HERE))

from certificates import make  # noqa: E402
from pebble import BLOCKED, Names, Pebble  # noqa: E402
from ringway import Server, binary, free_port, wait_for  # noqa: E402
from wire import Reader, connect, context, frame, upgrade  # noqa: E402

HOST, OTHER = "chat.example", "www.chat.example"
ISSUED = "certificates: a new one for"
# So long may an order take on a machine that builds beside it.
ISSUE_SECONDS = 60
# The first wait after nobody answered is 10 s and a quarter of it by chance, the second twice as long.
RETRY_SECONDS = 60
SHORT_SECONDS = 30


class Node(Server):
    """A server that is healthy before it has a certificate."""

    def is_healthy(self):
        try:
            address = f"http://127.0.0.1:{self.metrics_port}/health"
            with urllib.request.urlopen(address, timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    def metric(self, name):
        """The sum of a metric over shards; `None`: there is none."""
        address = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(address, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        values = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)]
        return sum(values) if values else None

    def handshakes(self, result):
        return self.metric(f'ringway_tls_handshakes_total{{result="{result}"')

    def attempts(self, result):
        return self.metric(f'ringway_acme_attempts_total{{result="{result}"')

    def wait(self, words, times=1, seconds=ISSUE_SECONDS):
        try:
            wait_for(words, lambda: self.log.count(words) >= times, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; log:\n{self.log}") from None

    def reload(self):
        seen = self.log.count("reload:")
        self.process.send_signal(signal.SIGHUP)
        self.wait("reload:", seen + 1)


class Row:
    """What one row has: an authority, a folder, and settings that name both."""

    def __init__(self, folder, names, seconds=7776000):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=folder))
        self.names = names
        self.pebble = Pebble(self.folder, names, seconds)
        self.cache = self.folder / "acme"
        self.is_started = False

    def start(self):
        self.pebble.start()
        self.is_started = True

    def stop(self):
        if self.is_started:
            self.pebble.stop()
            self.is_started = False

    def settings(self, hosts=(HOST,), **more):
        autocert = {"enabled": True, "host_whitelist": list(hosts), "cache_dir": str(self.cache),
                    "directory": self.pebble.directory, "directory_ca_pem": str(self.pebble.chain)}
        return {"http_server": {"tls_autocert": {**autocert, **more}}, "shards": 2}

    def node(self, *arguments, **more):
        return Node("echo.json", self.settings(*arguments, **more), port=self.pebble.tls_port)


def check(holds, *evidence):
    if not holds:
        raise AssertionError(repr(evidence))


def echo(port, trusted, host=HOST):
    """A WebSocket that has echoed once, and what answers with it."""
    client = connect(port, trusted, host=host)
    client.sendall(upgrade())
    reader = Reader(client)
    head, _ = reader.answer()
    check(head.startswith("HTTP/1.1 101"), head)
    say(client, reader)
    return client, reader


def say(client, reader):
    payload = os.urandom(20)
    client.sendall(frame(payload))
    check(reader.frame() == (2, payload))


def serial(client):
    return client.getpeercert()["serialNumber"]


def refused(port, trusted, host=HOST):
    """The reason why there is no handshake."""
    try:
        connect(port, trusted, host=host).close()
    except ssl.SSLError as error:
        return f"{error.reason}"
    raise AssertionError("a handshake came about")


def first_certificate(row):
    row.start()
    with row.node((HOST, OTHER), email="ops@chat.example") as node:
        node.wait(ISSUED)
        check("there is none yet; TLS is refused" in node.log, node.log)
        trusted = context(row.pebble.root())
        for host in (HOST, OTHER):
            client, _ = echo(node.port, trusted, host)
            client.close()
        check(node.attempts("issued") == 1 and node.metric("ringway_acme_failing") == 0)
        left = node.metric("ringway_acme_certificate_expiry_seconds") - time.time()
        check(89 * 86_400 < left < 91 * 86_400, left)
        renewal = node.metric("ringway_acme_next_attempt_seconds") - time.time()
        check(54 * 86_400 < renewal < 61 * 86_400, renewal)
        # The authority was shown a proof of each host, and nobody else gets one.
        check(node.handshakes("acme_challenge") >= 2, node.handshakes("acme_challenge"))
        reason = refused(node.port, context(row.pebble.root(), alpn=["acme-tls/1"]))
        check(reason in ("TLSV1_ALERT_ACCESS_DENIED", "TLSV13_ALERT_ACCESS_DENIED"), reason)
        check(node.handshakes("no_certificate") >= 1)
        secrets = [path.read_text() for path in row.cache.glob("*/*")]
        check(len(secrets) == 2, secrets)
        for text in secrets:
            check(not any(line in node.log for line in text.splitlines() if len(line) > 8))
            check('"key_pkcs8"' in text or "PRIVATE KEY" in text)
    for path in row.cache.rglob("*"):
        wanted = 0o700 if path.is_dir() else 0o600
        check(stat.S_IMODE(path.stat().st_mode) == wanted, path)
    check(stat.S_IMODE(row.cache.stat().st_mode) == 0o700)


def restart_takes_it_up(row):
    row.start()
    with row.node() as node:
        node.wait(ISSUED)
    orders = row.pebble.orders
    check(orders == 1, orders)
    trusted = context(row.pebble.root())
    row.stop()
    with row.node() as node:
        check("certificates: one was kept, valid for 89 days" in node.log, node.log)
        client, _ = echo(node.port, trusted)
        client.close()
        check(ISSUED not in node.log and "asking for one" not in node.log, node.log)
    check(row.pebble.orders == orders)


def renewal_in_place(row):
    row.start()
    with row.node() as node:
        node.wait(ISSUED)
        trusted = context(row.pebble.root())
        client, reader = echo(node.port, trusted)
        before, proofs = serial(client), node.handshakes("acme_challenge")
        node.wait(ISSUED, 2, SHORT_SECONDS + ISSUE_SECONDS)
        check(node.handshakes("acme_challenge") > proofs, "it was proven again")
        later, later_reader = echo(node.port, trusted)
        check(serial(later) != before, "the new one is shown")
        say(client, reader)
        say(later, later_reader)
        client.close()
        later.close()
        check(row.pebble.accounts == 1, row.pebble.accounts)
        check(node.attempts("issued") >= 2 and node.metric("ringway_acme_failing") == 0)
        check(node.handshakes("no_certificate") == 0, "nobody was refused")


def nobody_answers_at_first(row):
    with row.node() as node:
        node.wait("the authority cannot be reached")
        check("It is tried again in 1" in node.log and "there is none in place" in node.log, node.log)
        refusing = context(row.pebble.chain)
        reason = refused(node.port, refusing)
        check(reason in ("TLSV1_ALERT_ACCESS_DENIED", "TLSV13_ALERT_ACCESS_DENIED"), reason)
        check(node.handshakes("no_certificate") == 1)
        check(node.metric("ringway_acme_failing") == 1 and node.attempts("unreachable") >= 1)
        check(node.metric("ringway_acme_certificate_expiry_seconds") == 0)
        row.start()
        node.wait(ISSUED, seconds=RETRY_SECONDS)
        echo(node.port, context(row.pebble.root()))[0].close()
        check(node.metric("ringway_acme_failing") == 0)


def what_there_is_is_served(row):
    """A host more, and nobody to ask for it: the others have their certificate meanwhile."""
    row.start()
    with row.node() as node:
        node.wait(ISSUED)
    trusted = context(row.pebble.root())
    row.stop()
    with row.node((HOST, OTHER)) as node:
        node.wait("the authority cannot be reached")
        check(f"it is not for {OTHER}" in node.log, node.log)
        check("the one in place is valid for 89 days" in node.log, node.log)
        client, reader = echo(node.port, trusted)
        # Without the account that it knew, the authority says so; removing it is the way out.
        row.start()
        node.wait("account.json", seconds=RETRY_SECONDS)
        check(node.metric("ringway_acme_failing") == 1)
        say(client, reader)
        client.close()
    [account] = row.cache.glob("*/account.json")
    account.unlink()
    [retry_at] = row.cache.glob("*/retry_at")
    retry_at.unlink()
    with row.node((HOST, OTHER)) as node:
        node.wait(ISSUED)
        echo(node.port, context(row.pebble.root()), OTHER)[0].close()


def a_known_host_needs_no_proof(row):
    row.pebble.remembers = True
    row.start()
    with row.node() as node:
        node.wait(ISSUED)
    [certificate] = row.cache.glob("*/certificate.pem")
    certificate.unlink()
    with row.node() as node:
        node.wait(ISSUED)
        check(node.handshakes("acme_challenge") == 0)
        echo(node.port, context(row.pebble.root()))[0].close()
    check(row.pebble.orders == 2 and row.pebble.accounts == 1, row.pebble.orders)


def refused_host(row):
    row.start()
    with row.node((HOST, BLOCKED)) as node:
        node.wait("the authority refuses")
        [line] = [line for line in node.log.splitlines() if "the authority refuses" in line]
        for words in [BLOCKED, "rejectedIdentifier", "host_whitelist", "tried again in 1"]:
            check(words in line, words, line)
        check(node.attempts("refused") == 1 and node.metric("ringway_acme_failing") == 1)
    # Who is restarted again and again asks no sooner for that.
    with row.node((HOST, BLOCKED)) as node:
        node.wait("because it refused before this start")
        check("minutes" in node.log and "retry_at" in node.log, node.log)
        check("asking for one" not in node.log, node.log)


def unproven_host(row):
    row.names.lead("elsewhere.example", "127.0.0.9")
    row.start()
    with row.node((HOST, "elsewhere.example")) as node:
        node.wait("the authority did not find its proof")
        [line] = [line for line in node.log.splitlines() if "did not find its proof" in line]
        check("elsewhere.example: " in line and "port 443 must lead to the client port" in line, line)
        check(f"proof: {HOST}" not in line, line)
        check(node.attempts("refused") == 1)
        # The proofs are taken away again.
        reason = refused(node.port, context(row.pebble.chain, alpn=["acme-tls/1"]))
        check("ACCESS_DENIED" in reason, reason)


def beside_a_static_certificate(row):
    row.start()
    chain, key = make(row.folder, "static", "static.example")
    settings = row.settings()
    settings["http_server"]["tls"] = {"enabled": True, "cert_pem": str(chain), "key_pem": str(key)}
    with Node("echo.json", settings, port=row.pebble.tls_port) as node:
        # Its clients are served before anything is fetched.
        echo(node.port, context(chain), "static.example")[0].close()
        node.wait(ISSUED)
        fetched = context(row.pebble.root())
        client, reader = echo(node.port, fetched)
        before = serial(client)
        # A reload of one does not take the other away.
        chain.write_bytes(make(row.folder, "second", "static.example", "more.example")[0].read_bytes())
        key.write_bytes((row.folder / "second.key").read_bytes())
        node.reload()
        node.wait("every shard has the new settings")
        echo(node.port, context(chain), "more.example")[0].close()
        again, _ = echo(node.port, fetched)
        check(serial(again) == before)
        again.close()
        # What needs a restart says so, and changes nothing now.
        path = pathlib.Path(node.folder.name) / "config.json"
        config = json.loads(path.read_text())
        config["http_server"]["tls_autocert"]["host_whitelist"] = [HOST, OTHER]
        path.write_text(json.dumps(config))
        node.reload()
        node.wait("http_server.tls_autocert.host_whitelist: [\"chat.example\"] -> "
                  "[\"chat.example\", \"www.chat.example\"] (after a restart)")
        node.wait("every shard has the new settings", 2)
        say(client, reader)
        echo(node.port, fetched)[0].close()
        check("asking for one" in node.log and node.log.count("asking for one") == 1, node.log)
        # So does switching the other certificate off: it stays until then.
        config["http_server"]["tls"]["enabled"] = False
        path.write_text(json.dumps(config))
        node.reload()
        node.wait("http_server.tls.enabled: true -> false (after a restart)")
        node.wait("every shard has the new settings", 3)
        echo(node.port, context(chain), "more.example")[0].close()
        client.close()


def from_a_static_certificate(row):
    """Who moves to fetched certificates by a reload keeps the other one until the restart."""
    row.start()
    chain, key = make(row.folder, "static", "static.example")
    settings = row.settings()
    fetched = settings["http_server"].pop("tls_autocert")
    settings["http_server"]["tls"] = {"enabled": True, "cert_pem": str(chain), "key_pem": str(key)}
    with Node("echo.json", settings, port=row.pebble.tls_port) as node:
        echo(node.port, context(chain), "static.example")[0].close()
        path = pathlib.Path(node.folder.name) / "config.json"
        config = json.loads(path.read_text())
        config["http_server"]["tls"] = {"enabled": True}
        config["http_server"]["tls_autocert"] = fetched
        path.write_text(json.dumps(config))
        for times in (1, 2):
            node.reload()
            if times == 1:
                node.wait("every shard has the new settings")
            else:
                node.wait("nothing has changed")
            echo(node.port, context(chain), "static.example")[0].close()


def told(row, changes, command="check-config"):
    """What the binary says to a configuration: its exit code and its lines."""
    settings = row.settings(**changes)
    config = {"client": {"insecure": True}, "metrics": {"address": ""}, **settings}
    config["http_server"] = {"address": "127.0.0.1", "port": free_port(), **config["http_server"]}
    path = row.folder / "told.json"
    path.write_text(json.dumps(config))
    environment = {n: v for n, v in os.environ.items() if not n.startswith("RINGWAY_")}
    done = subprocess.run([binary(), command, "--config", str(path)], env=environment,
                          capture_output=True, text=True, timeout=20)
    return done.returncode, (done.stderr + done.stdout).splitlines()


def refusals(row):
    row.cache.mkdir(mode=0o700)
    file = row.folder / "file"
    file.write_text("")
    file.chmod(0o600)
    shared = row.folder / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    parent = "http_server.tls_autocert"
    cases = [
        ({"cache_dir": str(shared)}, "cache_dir", "(mode 755); run `chmod 700"),
        ({"cache_dir": str(file)}, "cache_dir", "is not a directory"),
        ({"cache_dir": ""}, "cache_dir", "is needed"),
        ({"hosts": []}, "host_whitelist", "is needed"),
        ({"hosts": ["*.example.org"]}, "host_whitelist", "only proven by DNS"),
        ({"hosts": ["192.0.2.1"]}, "host_whitelist", "is an address"),
        ({"hosts": ["localhost"]}, "host_whitelist", "no name of a host"),
        ({"hosts": [f"h{n}.example" for n in range(101)]}, "host_whitelist", "at most 100"),
        ({"email": "ops"}, "email", "no address"),
        ({"directory": "http://127.0.0.1/dir"}, "directory", "https://"),
        ({"directory_ca_pem": str(file)}, "directory_ca_pem", "no certificate"),
        ({"directory_ca_pem": "none.pem"}, "directory_ca_pem", "cannot be opened"),
        ({"http": True}, "http", "TLS-ALPN-01"),
    ]
    for changes, option, words in cases:
        for command in ["check-config", "serve", "doctor"]:
            code, lines = told(row, changes, command)
            errors = [line for line in lines if line.startswith("error")]
            check(code == 2 and len(errors) == 1, changes, command, code, lines)
            check(f" {parent}.{option}: " in errors[0] and words in errors[0], errors)


def what_is_kept_and_cannot_be_used(row):
    """Names each file of an earlier start that others may read, or that makes no sense."""
    row.start()
    with row.node() as node:
        node.wait(ISSUED)
    [certificate] = row.cache.glob("*/certificate.pem")
    [account] = row.cache.glob("*/account.json")
    kept = {path: path.read_text() for path in (certificate, account)}
    for path, text in kept.items():
        for mode, content, words in [(0o644, text, "(mode 644); run `chmod 600"),
                                     (0o600, text[:100], "remove it, and another is asked for")]:
            path.write_text(content)
            path.chmod(mode)
            for command in ["check-config", "serve"]:
                code, lines = told(row, {}, command)
                errors = [line for line in lines if line.startswith("error")]
                check(code == 2 and len(errors) == 1, command, code, lines)
                check(str(path) in errors[0] and words in errors[0], errors)
                check(text[60:90] not in errors[0], "no key is shown")
        path.write_text(text)
        path.chmod(0o600)


def what_doctor_and_check_config_see(row):
    code, lines = told(row, {})
    check(code == 0 and any("has no certificate yet" in line for line in lines), lines)
    code, lines = told(row, {}, "doctor")
    said = "\n".join(lines)
    check("has no certificate yet" in said and "authorities connect to 443" in said, said)
    row.pebble.config["profiles"]["default"]["validityPeriod"] = 3
    row.start()
    with row.node() as node:
        node.wait(ISSUED)
    wait_for("its end", lambda: "expired" in "\n".join(told(row, {})[1]), 20)
    check("expired" in "\n".join(told(row, {}, "doctor")[1]))
    row.stop()
    with row.node() as node:
        node.wait("the one that was kept expired")
        node.wait("the authority cannot be reached")


ROWS = [
    first_certificate,
    restart_takes_it_up,
    renewal_in_place,
    nobody_answers_at_first,
    what_there_is_is_served,
    a_known_host_needs_no_proof,
    refused_host,
    unproven_host,
    beside_a_static_certificate,
    from_a_static_certificate,
    refusals,
    what_is_kept_and_cannot_be_used,
    what_doctor_and_check_config_see,
]
SECONDS = {renewal_in_place: SHORT_SECONDS}


def main(parts):
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="ringway-test-") as folder:
        names = Names(pathlib.Path(folder))
        try:
            for act in ROWS:
                if parts and not any(part in act.__name__ for part in parts):
                    continue
                row = Row(folder, names, SECONDS.get(act, 7776000))
                began = time.monotonic()
                try:
                    act(row)
                    problem = None
                except Exception:
                    problem = traceback.format_exc()
                finally:
                    row.stop()
                passed, failed = passed + (not problem), failed + bool(problem)
                took = f"{act.__name__} ({time.monotonic() - began:.0f} s)"
                print(f"FAILED  {took}: {problem}" if problem else f"ok      {took}", flush=True)
        finally:
            names.stop()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
