#!/usr/bin/env python3
"""Goal: TLS on the client port works with what others wrote, and bad TLS harms nobody but its
sender.

Method: the real binary; openssl s_client and Python's ssl as clients, on sockets and on memory.
Each row has a server that others may share. Run: python3 tests/tls/run.py [part of a name …]
"""

import hashlib
import os
import pathlib
import re
import resource
import select
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
sys.path.insert(0, str(HERE))

from certificates import make, openssl  # noqa: E402
from ringway import Server, binary, driver, free_port, wait_for  # noqa: E402
from wire import Memory, Reader, connect, context, frame, request, upgrade  # noqa: E402

V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
HANDSHAKE_SECONDS = 5
FLOOD = 1000
FLOOD_ECHO_SECONDS_MAX = 0.1
FLOOD_TRIES = 3
# Each way of sealing: (name, changes of http_server.tls, version of the client).
WAYS = [
    ("own, 1.3", {}, V1_3),
    ("rustls, 1.3", {"record_layer": "rustls"}, V1_3),
    ("1.2", {"min_version": "1.2"}, V1_2),
]


class Rig:
    """Certificates, and servers that are started once for each configuration."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.chain, self.key = make(folder, "one", "one.example", "127.0.0.1")
        self.second_chain, self.second_key = make(folder, "two", "two.example", "*.wild.example")
        self.servers = {}

    def settings(self, **changes):
        tls = {"enabled": True, "cert_pem": str(self.chain), "key_pem": str(self.key), **changes}
        return {"http_server": {"tls": tls}}

    def server(self, **changes):
        name = repr(sorted(changes.items()))
        if name not in self.servers:
            shards = {"shards": changes.pop("shards")} if "shards" in changes else {}
            made = Server("echo.json", {**self.settings(**changes), **shards}, cafile=self.chain)
            self.servers[name] = made.__enter__()
        return self.servers[name]

    def context(self, version=None, **options):
        return context(self.chain, version, **options)

    def stop(self):
        for server in self.servers.values():
            server.stop()


def metric(server, name):
    """The sum of a metric over shards."""
    address = f"http://127.0.0.1:{server.metrics_port}/metrics"
    with urllib.request.urlopen(address, timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def ended(handshakes, result):
    return f'ringway_tls_{handshakes}_total{{{"result" if handshakes == "handshakes" else "reason"}="{result}"'


def counted(server, kind, label, act):
    """Does `act`, and waits until it is counted once under a label."""
    before = metric(server, ended(kind, label))
    act()
    count = lambda: metric(server, ended(kind, label)) - before
    wait_for(f"{kind} {label}", lambda: count() >= 1)
    check(count() == 1, kind, label, count())


def check(holds, *evidence):
    if not holds:
        raise AssertionError(repr(evidence))


def http_and_websocket(rig, changes, version):
    server = rig.server(**changes)
    with connect(server.port, rig.context(version)) as client:
        check(client.selected_alpn_protocol() == "http/1.1", client.selected_alpn_protocol())
        check(client.version() == {V1_2: "TLSv1.2", V1_3: "TLSv1.3"}[version], client.version())
        reader = Reader(client)
        for _ in range(3):
            client.sendall(request())
            head, body = reader.answer()
            check(head.startswith("HTTP/1.1 200"), head)
        client.sendall(upgrade())
        head, _ = reader.answer()
        check(head.startswith("HTTP/1.1 101"), head)
        for length in [0, 1, 125, 126, 5000, 16_384, 60_000]:
            payload = os.urandom(length)
            client.sendall(frame(payload))
            check(reader.frame() == (2, payload), length)


def bytes_one_by_one(rig, changes, version):
    server = rig.server(**changes)
    with Memory(server.port, rig.context(version), step=1) as client:
        client.shake()
        reader = Reader(client)
        client.sendall(upgrade())
        check(reader.answer()[0].startswith("HTTP/1.1 101"))
        client.sendall(frame(b"x" * 300))
        check(reader.frame() == (2, b"x" * 300))


def many_records_at_once(rig, changes, version):
    server = rig.server(**changes)
    with Memory(server.port, rig.context(version)) as client:
        client.shake()
        reader = Reader(client)
        client.sendall(upgrade())
        check(reader.answer()[0].startswith("HTTP/1.1 101"))
        payloads = [bytes([number % 256]) * (number % 97) for number in range(500)]
        for payload in payloads:
            client.tls.write(frame(payload))
        client.flush()
        for payload in payloads:
            check(reader.frame() == (2, payload))


def goodbye_of_the_client(rig, changes, version):
    server = rig.server(**changes)
    client = connect(server.port, rig.context(version))
    client.sendall(request())
    Reader(client).answer()
    # Waits for the server's close_notify; an end without one is an error.
    client.unwrap().close()


def goodbye_of_the_server(rig, changes, version):
    server = rig.server(**changes)
    with connect(server.port, rig.context(version)) as client:
        client.sendall(request("/health", "Connection: close"))
        reader = Reader(client)
        head, _ = reader.answer()
        check("connection: close" in head.lower(), head)
        check(reader.more() == b"", "an end with a close_notify")
    with connect(server.port, rig.context(version)) as client:
        client.sendall(upgrade())
        reader = Reader(client)
        reader.answer()
        client.sendall(frame((1000).to_bytes(2, "big"), opcode=8))
        opcode, _ = reader.frame()
        check(opcode == 8, opcode)
        check(reader.more() == b"", "an end with a close_notify")


def half_closed_with_goodbye(rig, changes, version):
    """A request, a close_notify right behind it: the answer is still owed, and then a goodbye."""
    server = rig.server(**changes)
    with Memory(server.port, rig.context(version)) as client:
        client.shake()
        client.tls.write(request())
        try:
            client.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        client.flush()
        received = b""
        client.plain.settimeout(5)
        while part := client.plain.recv(65536):
            received += part
        records = []
        while received:
            length = 5 + int.from_bytes(received[3:5], "big")
            records.append((received[0], length - 5))
            received = received[length:]
        # The answer of 200, and behind it an alert: in 1.3 its two bytes, its type and a tag.
        check(any(kind == 23 and length > 60 for kind, length in records), records)
        last = (23, 19) if version == V1_3 else (21, 26)
        check(records[-1] == last, records)


def answered(server, ssl_context):
    """A client for whose server, too, the handshake is over."""
    client = Memory(server.port, ssl_context).shake()
    client.sendall(request())
    Reader(client).answer()
    return client


def oversized_record(rig, changes, version):
    server = rig.server(**changes)

    def act():
        with answered(server, rig.context(version)) as client:
            client.plain.sendall(b"\x17\x03\x03\x60\x00")
            reason = reason_of(lambda: client.recv(1))
            check(("DECODE_ERROR" if changes else "RECORD_OVERFLOW") in reason, reason)
    counted(server, "failures", "oversized", act)


def changed_record(rig, changes, version):
    server = rig.server(**changes)

    def act():
        with answered(server, rig.context(version)) as client:
            client.tls.write(b"hello")
            sealed = bytearray(client.outgoing.read())
            sealed[-1] ^= 1
            client.plain.sendall(sealed)
            check("BAD_RECORD_MAC" in reason_of(lambda: client.recv(1)))
    counted(server, "failures", "bad_record", act)


def alert_of_the_client(rig, changes, version):
    """A client that does not trust the certificate says so."""
    server = rig.server(**changes)

    def act():
        distrusting = context(rig.second_chain, version)
        check("CERTIFICATE_VERIFY_FAILED" in reason_of(lambda: connect(server.port, distrusting)))
    counted(server, "handshakes", "peer_alert", act)


def reason_of(act):
    try:
        act()
    except ssl.SSLError as error:
        return f"{error.reason} {error}".upper().replace(" ", "_")
    raise AssertionError("nothing was refused")


def s_client(rig):
    server = rig.server()
    line = ["s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_3", "-alpn", "http/1.1",
            "-CAfile", rig.chain, "-verify_return_error", "-servername", "one.example", "-ign_eof"]
    said = openssl(*line, input=request("/health", "Connection: close")).stdout.decode()
    for word in ["TLSv1.3", "ALPN protocol: http/1.1", "Verify return code: 0", "HTTP/1.1 200"]:
        check(word in said, word, said)


def key_updates(rig, changes):
    """`k` changes the client's keys, `K` asks for the server's as well."""
    server = rig.server(**changes)
    line = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_3",
            "-CAfile", str(rig.chain)]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    said = b""

    def until(word, times=1):
        nonlocal said
        give_up = time.monotonic() + 10
        while said.count(word) < times:
            ready, _, _ = select.select([process.stdout], [], [], 0.2)
            part = os.read(process.stdout.fileno(), 65536) if ready else b""
            said += part
            if time.monotonic() > give_up or (ready and not part):
                raise AssertionError(f"no {word!r} in {said[-400:]!r}")

    def say(words):
        process.stdin.write(words)
        process.stdin.flush()

    try:
        until(b"Verify return code")
        for times in range(1, 4):
            for command in (b"k\n", b"K\n"):
                seen = said.count(b"KEYUPDATE")
                say(command)
                until(b"KEYUPDATE", seen + 1)
            say(request())
            until(b"HTTP/1.1 200", times)
    finally:
        process.kill()
        process.wait()


def versions(rig):
    strict, lenient = rig.server(), rig.server(min_version="1.2")

    def refused():
        reason = reason_of(lambda: connect(strict.port, rig.context(V1_2)))
        check("PROTOCOL_VERSION" in reason, reason)
    counted(strict, "handshakes", "incompatible", refused)
    for version in (V1_2, V1_3):
        connect(lenient.port, rig.context(version)).close()
    line = ["openssl", "s_client", "-connect", f"127.0.0.1:{lenient.port}", "-tls1_1",
            "-cipher", "ALL:@SECLEVEL=0"]
    done = subprocess.run(line, input=b"", capture_output=True, timeout=20)
    check(done.returncode != 0, done.stdout)


def alpn(rig):
    server = rig.server()

    def refused():
        reason = reason_of(lambda: connect(server.port, rig.context(alpn=["h2"])))
        check("NO_APPLICATION_PROTOCOL" in reason, reason)
    counted(server, "handshakes", "alpn", refused)
    with connect(server.port, rig.context(alpn=["h2", "http/1.1"])) as client:
        check(client.selected_alpn_protocol() == "http/1.1")
    with connect(server.port, rig.context(alpn=())) as client:
        client.sendall(request())
        check(Reader(client).answer()[0].startswith("HTTP/1.1 200"))


def plain_http(rig):
    server = rig.server()

    def act():
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(request())
            head, body = Reader(client).answer()
            check(head.startswith("HTTP/1.1 400"), head)
            check(b"https://" in body and b"wss://" in body, body)
            check("strict-transport-security" not in head.lower(), head)
    counted(server, "handshakes", "plain_http", act)


def hsts(rig):
    for age, wanted in [("24h", "max-age=86400"), ("0s", None)]:
        server = rig.server(hsts_max_age=age)
        for asked, status in [(request(), 200), (request("/none"), 404), (upgrade(), 101),
                              (b"BAD\r\n\r\n", 400)]:
            with connect(server.port, rig.context()) as client:
                client.sendall(asked)
                head, _ = Reader(client).answer()
                check(head.startswith(f"HTTP/1.1 {status}"), head)
                lines = [line for line in head.split("\r\n")
                         if line.lower().startswith("strict-transport-security:")]
                check(lines == ([f"Strict-Transport-Security: {wanted}"] if wanted else []), head)


def sni(rig):
    server = rig.server(sni_cert_files=[str(rig.second_chain)],
                        sni_key_files=[str(rig.second_key)])
    trusts_second = context(rig.second_chain)
    for host, trusted in [("one.example", rig.context()), ("two.example", trusts_second),
                          ("a.wild.example", trusts_second)]:
        connect(server.port, trusted, host=host).close()
    # Nobody has this name: the first certificate is shown, and is not for it.
    reason = reason_of(lambda: connect(server.port, rig.context(), host="none.example"))
    check("CERTIFICATE_VERIFY_FAILED" in reason and "MISMATCH" in reason, reason)


def resumption(rig, version):
    secret = "a-ticket-secret-of-tests-0123456789"
    servers = [rig.server(ticket_secret=secret, min_version="1.2", handshake_limit=limit)
               for limit in (100, 101)]
    stranger = rig.server(min_version="1.2")
    shared = rig.context(version)

    def visit(server, session):
        with connect(server.port, shared, session=session) as client:
            client.sendall(request())
            check(Reader(client).answer()[0].startswith("HTTP/1.1 200"))
            return client.session_reused, client.session

    reused, session = visit(servers[0], None)
    check(not reused)
    for server in servers + servers:
        resumed = metric(server, ended("handshakes", "resumed"))
        reused, session = visit(server, session)
        check(reused, "another node with the same secret resumes")
        check(metric(server, ended("handshakes", "resumed")) == resumed + 1)
    check(not visit(stranger, session)[0], "a node with another secret does not")


def half_open(rig):
    server = rig.server()
    with Memory(server.port, rig.context()) as client:
        try:
            client.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        hello = client.outgoing.read()

        def act():
            began = time.monotonic()
            client.plain.sendall(hello[:len(hello) // 2])
            check(client.plain.recv(100) == b"", "closed without a word")
            took = time.monotonic() - began
            check(HANDSHAKE_SECONDS - 1 < took < HANDSHAKE_SECONDS + 2, took)
        counted(server, "handshakes", "unfinished", act)


def too_many_half_open(rig):
    server = rig.server(handshake_limit=2, shards=1)
    opened = [socket.create_connection(("127.0.0.1", server.port), timeout=4) for _ in range(2)]
    try:
        for one in opened:
            one.sendall(b"\x16\x03\x01")
        wait_for("two handshakes", lambda: metric(server, "ringway_tls_handshakes_now") == 2)

        def act():
            refused = reason_or_end(lambda: connect(server.port, rig.context()))
            check(refused, "the third is refused")
        counted(server, "handshakes", "too_many", act)
    finally:
        for one in opened:
            one.close()
    wait_for("room", lambda: metric(server, "ringway_tls_handshakes_now") == 0)
    connect(server.port, rig.context()).close()


def reason_or_end(act):
    try:
        act()
    except OSError as error:
        return repr(error)
    return None


def flood(rig):
    """Hellos from everywhere at once: whoever is there already does not notice. Beside a server that
    nobody attacks, and in three tries: a stall that another program causes hits both, and does not come
    each time."""
    server = rig.server(shards=1)
    late = []
    with Server("echo.json", {**rig.settings(), "shards": 1}, cafile=rig.chain) as unattacked:
        while not late or late[-1] >= FLOOD_ECHO_SECONDS_MAX:
            check(len(late) < FLOOD_TRIES, late)
            late.append(latest_echo_in_flood(rig, server, unattacked))


def echoing(client):
    """What takes the time of one echo."""
    client.sendall(upgrade())
    reader = Reader(client)
    reader.answer()

    def echo():
        began = time.monotonic()
        client.sendall(frame(b"quick"))
        check(reader.frame() == (2, b"quick"))
        return time.monotonic() - began

    return echo


def latest_echo_in_flood(rig, server, unattacked):
    """How much later than that of a server that is not flooded, a moment later."""
    context = rig.context()
    with connect(server.port, context) as client, connect(unattacked.port, context) as other:
        echo, echo_elsewhere = echoing(client), echoing(other)
        with Memory(server.port, rig.context()) as stranger:
            try:
                stranger.tls.do_handshake()
            except ssl.SSLWantReadError:
                hello = stranger.outgoing.read()
        wait_for("no handshake", lambda: metric(server, "ringway_tls_handshakes_now") <= 1)
        opened = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(FLOOD)]
        try:
            for one in opened:
                one.sendall(hello)
            late = []
            while metric(server, "ringway_tls_handshakes_now") < FLOOD or len(late) < 100:
                late.append(echo() - echo_elsewhere())
            for one in opened:
                check(one.recv(1) == b"\x16", "each of them is answered")
            return max(late)
        finally:
            for one in opened:
                one.close()


def garbage(rig):
    server = rig.server()
    for bytes_sent in [b"\x00" * 64, b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", b"\x80\x2e\x01\x03"]:
        def act(bytes_sent=bytes_sent):
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
                client.sendall(bytes_sent)
                alert = client.recv(100)
                check(alert[:1] == b"\x15", alert)
        counted(server, "handshakes", "malformed", act)
    connect(server.port, rig.context()).close()


def reload(rig):
    with tempfile.TemporaryDirectory(dir=rig.folder) as folder:
        folder = pathlib.Path(folder)
        chain, key = folder / "chain.pem", folder / "key.pem"
        chain.write_bytes(rig.chain.read_bytes())
        key.write_bytes(rig.key.read_bytes())
        changes = rig.settings(cert_pem=str(chain), key_pem=str(key))
        with Server("echo.json", changes, cafile=rig.chain) as server:
            old = connect(server.port, rig.context())
            old.sendall(upgrade())
            reader = Reader(old)
            reader.answer()

            def reloaded(words):
                seen = server.log.count(words)
                server.process.send_signal(signal.SIGHUP)
                wait_for(words, lambda: server.log.count(words) > seen)

            # Half of a change is no change: the key is that of another certificate.
            chain.write_bytes(rig.second_chain.read_bytes())
            reloaded("reload refused, nothing has changed")
            check("key_pem: holds the key of another certificate" in server.log, server.log)
            connect(server.port, rig.context()).close()
            key.write_bytes(rig.second_key.read_bytes())
            reloaded("http_server.tls.cert_pem: *** -> ***")
            trusted = context(rig.second_chain)
            wait_for("the new certificate", lambda: not reason_or_end(
                lambda: connect(server.port, trusted, host="two.example").close()))
            old.sendall(frame(b"still here"))
            check(reader.frame() == (2, b"still here"))
            old.close()
            check("PRIVATE" not in server.log and "BEGIN" not in server.log, server.log)


def told(rig, changes, command="check-config"):
    """What the binary says to a configuration that is wrong."""
    import json
    config = {"client": {"insecure": True}, "metrics": {"address": ""},
              "http_server": {"address": "127.0.0.1", "port": free_port(),
                              **rig.settings(**changes)["http_server"]}}
    path = rig.folder / "wrong.json"
    path.write_text(json.dumps(config))
    environment = {n: v for n, v in os.environ.items() if not n.startswith("RINGWAY_")}
    done = subprocess.run([binary(), command, "--config", str(path)], env=environment,
                          capture_output=True, text=True, timeout=20)
    return done.returncode, [line for line in done.stderr.splitlines() if line.startswith("error")]


def refusals(rig):
    expired, expired_key = make(rig.folder, "expired", "one.example", days="-1")
    key = rig.key.read_text()
    body = key.splitlines()[1]
    cases = [
        ({"key_pem": str(rig.second_key)}, "http_server.tls.key_pem", "another certificate"),
        ({"cert_pem": str(expired), "key_pem": str(expired_key)}, "http_server.tls.cert_pem",
         "expired"),
        ({"cert_pem": "none.pem"}, "http_server.tls.cert_pem", "cannot be opened"),
        ({"key_pem": "none.key"}, "http_server.tls.key_pem", "cannot be opened"),
        ({"cert_pem": str(rig.key)}, "http_server.tls.cert_pem", "no certificate"),
        ({"key_pem": str(rig.chain)}, "http_server.tls.key_pem", "no private key"),
        ({"cert_pem": ""}, "http_server.tls.cert_pem", "TLS needs it"),
        ({"key_pem": ""}, "http_server.tls.key_pem", "TLS needs it"),
        ({"key_pem": body}, "http_server.tls.key_pem", "cannot be opened"),
        ({"key_pem": key[:120]}, "http_server.tls.key_pem", "no private key"),
        ({"sni_cert_files": [str(rig.second_chain)]}, "http_server.tls.sni_cert_files",
         "each chain needs its key"),
        ({"min_version": "1.1"}, "http_server.tls.min_version", "expected one of"),
    ]
    for changes, option, words in cases:
        for command in ["check-config", "serve", "doctor"]:
            code, errors = told(rig, changes, command)
            check(code == 2 and len(errors) == 1, changes, command, code, errors)
            check(f" {option}: " in errors[0] and words in errors[0], errors)
            check(body[:30] not in errors[0], "no key is shown", errors)


def inline(rig):
    """PEM in the configuration itself, and in base64."""
    import base64
    chain, key = rig.chain.read_text(), rig.key.read_text()
    packed = [base64.b64encode(text.encode()).decode() for text in (chain, key)]
    for chain, key in [(chain, key), packed]:
        server = rig.server(cert_pem=chain, key_pem=key)
        connect(server.port, rig.context()).close()
        check(key[40:80] not in server.log, "no key is shown")


def dev_tls(rig):
    port = free_port()
    line = [binary(), "serve", "--dev-tls", "--port", str(port), *driver()]
    environment = {n: v for n, v in os.environ.items() if not n.startswith("RINGWAY_")}
    environment["RINGWAY_METRICS_ADDRESS"] = "127.0.0.1:0"
    process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, cwd=rig.folder,
                               stderr=subprocess.DEVNULL, text=True)
    try:
        said = ""
        while "API key" not in said:
            said += process.stdout.readline()
        [announced] = re.findall(r"SHA-256 ([0-9A-F:]{95})", said)
        lenient = ssl.create_default_context()
        lenient.check_hostname, lenient.verify_mode = False, ssl.CERT_NONE
        with connect(port, lenient, host="localhost") as client:
            der = client.getpeercert(binary_form=True)
        digest = hashlib.sha256(der).hexdigest().upper()
        check(announced.replace(":", "") == digest, announced, digest)
        path = rig.folder / "dev.pem"
        path.write_text(ssl.DER_cert_to_PEM_cert(der))
        shown = openssl("x509", "-in", path, "-noout", "-dates", "-ext", "subjectAltName")
        dates = dict(line.split("=") for line in shown.stdout.decode().splitlines() if "=" in line)
        begin, end = (ssl.cert_time_to_seconds(dates[name]) for name in ("notBefore", "notAfter"))
        check(0 < end - begin <= 14 * 86_400, dates)
        for host in ["localhost", "127.0.0.1"]:
            connect(port, context(path), host=host).close()
        check(f"https://127.0.0.1:{port}" in said, said)
    finally:
        process.terminate()
        process.wait(20)


def drain(rig):
    """A server that ends says goodbye in both languages."""
    server = Server("echo.json", {**rig.settings(), "shutdown": {"drain": "100ms"}},
                    cafile=rig.chain)
    with server, connect(server.port, rig.context()) as client:
        client.sendall(upgrade())
        reader = Reader(client)
        reader.answer()
        server.process.terminate()
        opcode, payload = reader.frame()
        check((opcode, payload[:2]) == (8, (3001).to_bytes(2, "big")), opcode, payload)
        check(reader.more() == b"", "an end with a close_notify")


def rows(rig):
    each_way = [http_and_websocket, bytes_one_by_one, many_records_at_once, goodbye_of_the_client,
                goodbye_of_the_server, half_closed_with_goodbye, oversized_record, changed_record,
                alert_of_the_client]
    for row in each_way:
        for name, changes, version in WAYS:
            yield (f"{row.__name__} ({name})",
                   lambda row=row, changes=changes, version=version: row(rig, changes, version))
    for name, changes, _ in WAYS[:2]:
        yield f"key_updates ({name})", lambda changes=changes: key_updates(rig, changes)
    for version in (V1_2, V1_3):
        yield f"resumption ({version.name})", lambda version=version: resumption(rig, version)
    for row in [s_client, versions, alpn, plain_http, hsts, sni, half_open, too_many_half_open,
                flood, garbage, reload, refusals, inline, dev_tls, drain]:
        yield row.__name__, lambda row=row: row(rig)


def main(parts):
    passed = failed = 0
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="ringway-test-") as folder:
        rig = Rig(folder)
        try:
            for name, act in rows(rig):
                if parts and not any(part in name for part in parts):
                    continue
                try:
                    act()
                    alive = all(server.is_alive for server in rig.servers.values())
                    problem = None if alive else "a server has ended"
                except Exception:
                    problem = traceback.format_exc()
                passed, failed = passed + (not problem), failed + bool(problem)
                print(f"FAILED  {name}: {problem}" if problem else f"ok      {name}", flush=True)
        finally:
            rig.stop()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
