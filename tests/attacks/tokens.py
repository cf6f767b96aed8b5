"""B1 to B5: tokens that are not what they seem, key sets that are not, and where tokens end up."""

import base64
import contextlib
import functools
import hmac
import http.server
import json
import os
import threading
import time

from ringway import Server
from wire import CLIENT, CLOSE, TEXT, Socket, exchange, frame, head

SECRET = "canary-hmac-secret-77ab0e1f0c9d"
# Public halves of keys whose private ones were thrown away.
RSA_PEM = """-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA88cVMJhkbEi/FBDQjoAt
rhhiniQKL2yUNbBfr8ePvfjvatLv6z/6iblGkXv06ILPI0rTTFiG79nLPaZChu/a
BYNTVy1HdstG4KP5m5og4p8u2tB2Rfhuf+nSPAqJb6ypV43YB6uENyy1iWE0m4/K
ZA1TX6F/ybDJfYDNv9o3//Ikx1VnEWRgj6Gn6rv1CEKa77wYvfYszqzNFXm7b+tR
RARnWEWX18Z2PDUozk31lU4cIArJLKm1Y8CpgsT5F3K+KFdSz5yKDC014GXQpVci
eK4PB8ONMJFlmJbCSxQpSDt0HjtAocTjeTvRmN/U1HbSb8kpWIPeTXCrGYtmoqKB
5wIDAQAB
-----END PUBLIC KEY-----
"""
EC_PEM = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEkdv470Xet4U2rdgZpU4g1m5ozy2g
LcbC/y4f4qxXR768MThUKapl5cw/Nv3vFekQogIsfSRTGoR5sTYrtzpyTQ==
-----END PUBLIC KEY-----
"""
CONFIG = {"client": {
    "insecure": False,
    "expired_close_delay": "1s",
    "token": {"hmac_secret_key": SECRET, "rsa_public_key": RSA_PEM, "ecdsa_public_key": EC_PEM},
}}
INVALID, EXPIRED, BAD_REQUEST = "close 3500", "error 109", "close 3501"
CANARY = "canary-in-a-token"
FLOOD_SECONDS = 4
FLOOD_THREADS = 2
FLOOD_PAUSE_SECONDS = 0.002
MEBIBYTE = 1024 * 1024


def encoded(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def part(value):
    return encoded(value if isinstance(value, bytes) else json.dumps(value).encode())


def signed(header, claims, secret=SECRET, digest="sha256"):
    message = f"{part(header)}.{part(claims)}"
    mac = hmac.new(secret.encode(), message.encode(), digest).digest()
    return f"{message}.{encoded(mac)}"


def good(**claims):
    return signed({"alg": "HS256"}, {"sub": "u", **claims})


def with_header(**fields):
    return signed({"alg": "HS256", **fields}, {"sub": "u"})


def unsigned(algorithm, signature=""):
    return f"{part({'alg': algorithm})}.{part({'sub': 'u'})}.{signature}"


def changed(token, place, to):
    parts = token.split(".")
    parts[place] = to
    return ".".join(parts)


def outcome(server, token, raw=None):
    """Connects with a token; what the server says: `connected`, `error N` or `close N`."""
    with Socket(server) as connection:
        connection.open(CLIENT)
        command = raw or json.dumps({"id": 1, "connect": {"token": token}})
        connection.send(frame(TEXT, command.encode(), mask=os.urandom(4)))
        found = connection.next_frame(8)
    if found is None:
        return "nothing"
    opcode, payload = found
    if opcode == CLOSE:
        return f"close {int.from_bytes(payload[:2], 'big')}"
    reply = json.loads(payload)
    return f"error {reply['error']['code']}" if "error" in reply else "connected"


def expect(token, wanted, server):
    found = outcome(server, token)
    return None if found == wanted else f"{found}, not {wanted}"


def forged():
    """B1: nobody signed these who may."""
    token = good()
    yield "good", token, "connected"
    yield "good, by HS512", signed({"alg": "HS512"}, {"sub": "u"}, digest="sha512"), "connected"
    for name in ["none", "None", "NONE", "nOnE", "", "HS", "hs256", "HS1", "HS256 ", "RS256"]:
        yield f"alg {name!r} unsigned", unsigned(name), INVALID
        yield f"alg {name!r} signed", signed({"alg": name}, {"sub": "u"}), INVALID
    for algorithm in ["ES256", "ES384", "EdDSA", "RS256", "PS256"]:
        yield f"HMAC as {algorithm}", signed({"alg": algorithm}, {"sub": "u"}), INVALID
    for name, pem in [("RSA", RSA_PEM), ("EC", EC_PEM)]:
        for form, key in [("", pem), (" without the last line end", pem.strip())]:
            yield f"HMAC by the public {name} key{form}", \
                signed({"alg": "HS256"}, {"sub": "u"}, secret=key), INVALID
    for name, signature in [("r = s = 0", bytes(64)), ("short", bytes(63)), ("long", bytes(65)),
                            ("DER", bytes.fromhex("3006020100020100")), ("empty", b"")]:
        yield f"ES256, signature {name}", unsigned("ES256", encoded(signature)), INVALID
    yield "RS256, signature of zeros", unsigned("RS256", encoded(bytes(256))), INVALID
    yield "no signature", changed(token, 2, ""), INVALID
    yield "signature null", changed(token, 2, "null"), INVALID
    yield "signature cut", token[:-1], INVALID
    yield "signature padded", token + "=", INVALID
    yield "another secret", signed({"alg": "HS256"}, {"sub": "u"}, secret="secret"), INVALID
    yield "empty secret", signed({"alg": "HS256"}, {"sub": "u"}, secret=""), INVALID
    yield "other claims", changed(token, 1, part({"sub": "admin"})), INVALID
    yield "two parts", token.rsplit(".", 1)[0], INVALID
    yield "four parts", token + ".e30", INVALID
    yield "dots", "..", INVALID
    yield "a blank before", " " + token, INVALID
    yield "alg twice", signed(b'{"alg":"none","alg":"HS256"}', {"sub": "u"}), INVALID
    yield "sub twice", signed({"alg": "HS256"}, b'{"sub":"u","sub":"admin"}'), INVALID
    yield "header a list", signed([], {"sub": "u"}), INVALID
    yield "claims a list", signed({"alg": "HS256"}, []), INVALID
    yield "claims deep", signed({"alg": "HS256"}, b'{"sub":"u","info":' + b"[" * 400), INVALID
    yield "for a channel", good(channel="a"), INVALID
    yield "60 KB", good(info={"a": "b" * 45_000}), "error 107"


def misleading():
    """B2: headers that name, bring or demand keys."""
    names = ["../../dev/null", "' OR 1=1--", "http://127.0.0.1:1/", "/etc/passwd", "a\0b", "", "|id"]
    for name in names:
        # With one configured key the id says nothing; it is never looked up anywhere.
        yield f"kid {name!r}", with_header(kid=name), "connected"
        yield f"kid {name!r}, another secret", \
            signed({"alg": "HS256", "kid": name}, {"sub": "u"}, secret=name), INVALID
    for value in [[], {}, 7, True]:
        yield f"kid {value!r}", with_header(kid=value), INVALID
    yield "kid of 10 KB", with_header(kid="k" * 10_000), INVALID
    key = {"kty": "oct", "k": encoded(b"mine")}
    for name, value in [("jwk", key), ("jku", "http://127.0.0.1:1/"), ("x5u", "http://127.0.0.1:1/"),
                        ("x5c", ["AAAA"])]:
        yield f"{name} and its key", \
            signed({"alg": "HS256", name: value}, {"sub": "u"}, secret="mine"), INVALID
    for value in [["exp"], [], "b64"]:
        yield f"crit {value!r}", with_header(crit=value), INVALID


def untimely():
    """B4: tokens of another time."""
    now = int(time.time())
    yield "without exp", good(), "connected"
    yield "expired", good(exp=now - 10), EXPIRED
    yield "expired long ago", good(exp=1), EXPIRED
    yield "not yet", good(nbf=now + 3600), EXPIRED
    yield "issued in the future", good(iat=now + 3600), "connected"
    for name, value in [("text", b'"9999999999"'), ("1e400", b"1e400"), ("a fraction", b"1.5"),
                        ("negative", b"-1"), ("null", b"null"), ("a list", b"[]"),
                        ("of 30 digits", b"9" * 30)]:
        claims = b'{"sub":"u","exp":' + value + b"}"
        yield f"exp {name}", signed({"alg": "HS256"}, claims), INVALID


def missing(server):
    found = outcome(server, "")
    return None if found == BAD_REQUEST else found


def one_mebibyte(server):
    """Beyond the limit of a message, it is not even looked at."""
    found = outcome(server, "a" * MEBIBYTE)
    return None if found in ("close 1009", "nothing") else found


def ends_while_connected(server):
    """A connection whose token ends is closed; the server does not wait for the next command."""
    with Socket(server) as connection:
        connection.open(CLIENT)
        token = good(exp=int(time.time()) + 2)
        connection.command({"id": 1, "connect": {"token": token}})
        started = time.monotonic()
        code = connection.close_code(8)
    took = time.monotonic() - started
    return None if code == 3005 and took < 6 else f"closed with {code} after {took:.1f} s"


def refresh_for_another(server):
    """A refresh may not change who a connection is."""
    with Socket(server) as connection:
        connection.open(CLIENT)
        connection.replies = []
        connection.command({"id": 1, "connect": {"token": good(exp=int(time.time()) + 60)}})
        connection.answer_to(1)
        token = good(sub="admin", exp=int(time.time()) + 60)
        connection.command({"id": 2, "refresh": {"token": token}})
        code = connection.close_code(5)
    return None if code == 3500 else f"closed with {code}"


def used_twice(server):
    """A token is no ticket: it opens a second connection, as documented."""
    token = good(jti="once")
    first, second = outcome(server, token), outcome(server, token)
    return None if (first, second) == ("connected", "connected") else f"{first}, {second}"


def not_logged(server):
    """B5: neither a token in a URL nor a refused one, nor a part of it, is ever written down."""
    token = changed(good(info=CANARY), 2, encoded(CANARY.encode()))
    exchange(server, head([f"GET /?token={CANARY} HTTP/1.1", "Connection: close"]))
    exchange(server, head([f"GET /connection/websocket?token={CANARY} HTTP/1.1"]))
    outcome(server, token)
    outcome(server, CANARY)
    found = [one for one in [CANARY, *token.split(".")[1:], SECRET] if one in server.log]
    if found:
        return f"the log has {found}"
    return None if "token refused" in server.log else "the refusal is not told"


def flood(server):
    """Bad tokens as fast as WebSockets can bring them; a group of its own: token_flood.py."""
    bad = [changed(good(), 2, encoded(os.urandom(32))), unsigned("none"), good(exp=1), "x.y.z"]
    counts, problems = [0] * FLOOD_THREADS, []
    until = time.monotonic() + FLOOD_SECONDS

    def run(place):
        while time.monotonic() < until:
            token = bad[counts[place] % len(bad)]
            found = outcome(server, token)
            if found not in (INVALID, EXPIRED):
                problems.append(found)
            counts[place] += 1
            time.sleep(FLOOD_PAUSE_SECONDS)

    threads = [threading.Thread(target=run, args=(place,)) for place in range(FLOOD_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        return f"{len(problems)} of {sum(counts)}: {problems[:3]}"
    return None if sum(counts) >= 100 else f"only {sum(counts)} tokens"


class Issuer(http.server.BaseHTTPRequestHandler):
    """A server of key sets that is none."""

    def do_GET(self):
        self.server.fetches += 1
        status, headers, octets = self.server.answer
        if status is None:
            time.sleep(30)
            return
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(octets)

    def log_message(self, *_):
        pass


ISSUERS = {
    "garbage": (200, [], b"<html>" * 100),
    "an empty set": (200, [], b'{"keys":[]}'),
    "symmetric keys": (200, [], json.dumps({"keys": [
        {"kid": "k", "kty": "oct", "k": encoded(SECRET.encode())}]}).encode()),
    "10 MB": (200, [], b" " * 10_000_000),
    "moved": (301, [("Location", "http://127.0.0.1:1/"), ("Content-Length", "0")], b""),
    "an error": (500, [("Content-Length", "0")], b""),
    "silence": (None, [], b""),
}


def bad_issuer(answer, _):
    """B3: no key comes; tokens are refused in time, the issuer is not asked for each, all is told."""
    issuer = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Issuer)
    issuer.daemon_threads, issuer.answer, issuer.fetches = True, answer, 0
    threading.Thread(target=issuer.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{issuer.server_port}/keys?secret={CANARY}"
    token = f"{part({'alg': 'EdDSA', 'kid': 'k'})}.{part({'sub': 'u'})}.{encoded(bytes(64))}"
    by_secret = signed({"alg": "HS256", "kid": "k"}, {"sub": "u"})
    changes = {"client": {"insecure": False, "token": {"jwks_public_endpoint": url,
                                                       "hmac_secret_key": ""}}}
    try:
        with Server("attacks.json", changes) as server:
            before = server.resident_kib
            found = {outcome(server, one) for one in [token, by_secret] * 20}
            if found != {INVALID}:
                return f"tokens led to {sorted(found)}"
            if issuer.fetches > 2:
                return f"{issuer.fetches} fetches"
            if server.resident_kib - before > 4096:
                return f"memory grew by {server.resident_kib - before} KiB"
            if f"127.0.0.1:{issuer.server_port}" not in server.log or CANARY in server.log:
                return f"the log: {server.log[-300:]}"
    finally:
        issuer.shutdown()
        issuer.server_close()
    return None


def rows():
    for title, table in [("B1", forged), ("B2", misleading), ("B4", untimely)]:
        for name, token, wanted in table():
            yield f"{title} {name}", functools.partial(expect, token, wanted)
    yield "B1 no token", missing
    yield "B1 1 MiB", one_mebibyte
    yield "B4 it ends while connected", ends_while_connected
    yield "B4 a refresh for another user", refresh_for_another
    yield "B5 used twice", used_twice
    yield "B5 never logged", not_logged
    for name, answer in ISSUERS.items():
        yield f"B3 key set: {name}", functools.partial(bad_issuer, answer)
