"""A19, A21: files that are not the page's, and what belongs to operators, asked on the public
port."""

import functools
import itertools
import socket

from wire import Socket, exchange, head

# A file beside the server's working directory, one of its own, and one of every host.
TARGETS = ["etc/passwd", "config.json", "proc/self/environ"]
CANARIES = [b"root:", b"canary-", b"PATH="]
UPS = ["../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "%2e%2e%5c", "..\\", "%252e%252e%252f",
       "..%c0%af", "%c0%ae%c0%ae/", "..%e0%80%af", ".%2e/", "....//", "..;/", "..%00/", "..%0d/",
       "%uff0e%uff0e/", ".../", "./../", "//../"]
ODD = ["/%00", "/index.html%00.js", "/app.js/", "/app.js/..", "/app.js%2f..%2fconfig.json",
       "/app.js.", "/app.js%20", "/app.js::$DATA", "/APP.JS", "/style.css~", "/.git/config",
       "/.env", "/Cargo.toml", "/src/main.rs", "/data/", "//etc/passwd", "/file:///etc/passwd",
       "/%2fetc%2fpasswd", "/\\etc\\passwd", "/C:/Windows/win.ini", "/~root/", "/con",
       "/vendor/centrifuge.js", "/web/app.js", "/config.json", "/log", "/proc/self/maps",
       "/dev/zero"]
OPERATORS = ["/metrics", "/metrics/", "/admin", "/admin/", "/admin/api", "/admin/auth", "/debug",
             "/debug/", "/debug/pprof", "/debug/pprof/", "/debug/pprof/heap", "/debug/vars",
             "/status", "/stats", "/server-status", "/actuator", "/actuator/env",
             "/actuator/health", "/info", "/config", "/env", "/swagger", "/swagger/", "/console",
             "/manage", "/internal", "/private", "/healthz", "/readyz", "/livez", "/trace",
             "/logs", "/shutdown", "/reload", "/-/reload", "/operators.js", "/operators.html"]
TRICKS = [["X-Forwarded-For: 127.0.0.1"], ["X-Real-IP: 127.0.0.1"], ["Forwarded: for=127.0.0.1"],
          ["X-Forwarded-Host: localhost:9000"], ["X-Original-URL: /metrics"],
          ["X-Rewrite-URL: /metrics"]]


def not_served(octets, server):
    found, answer, _ = exchange(server, octets, 1)
    for canary in CANARIES:
        if canary in answer:
            return f"the answer has {canary!r}"
    if len(found) != 1 or found[0] not in {400, 403, 404, 405, 414}:
        return f"statuses {found}; {answer[:60]!r}"
    return None


def get(path, extra=(), host="127.0.0.1"):
    # The connection ends with the answer, so that nobody waits.
    return head([f"GET {path} HTTP/1.1", "Connection: close", *extra], host)


def api_needs_the_key(extra, server):
    lines = ["POST /api/info HTTP/1.1", "Content-Length: 2", "Connection: close", *extra]
    found, answer, _ = exchange(server, head(lines) + b"{}", 1)
    return None if found == [401] else f"statuses {found}; {answer[-80:]!r}"


def metrics_port_serves_no_clients(path, server):
    with socket.create_connection(("127.0.0.1", server.metrics_port), 3) as connection:
        connection.sendall(get(path))
        answer = connection.recv(4096)
    return None if answer.startswith(b"HTTP/1.1 404") else f"answer {answer[:40]!r}"


def page_is_served(server):
    for path in ["/", "/app.js", "/style.css", "/centrifuge.js"]:
        found, answer, _ = exchange(server, get(path), 2)
        if found != [200] or b"content-security-policy" not in answer.lower():
            return f"{path}: {found}"
    return None


def rows():
    for up, target in itertools.product(UPS, TARGETS):
        for start in ["/", "/app.js/"]:
            octets = get(start + up * 8 + target)
            yield f"A19 {start}{up}…{target}", functools.partial(not_served, octets)
    for path in ODD:
        yield f"A19 {path}", functools.partial(not_served, get(path))
    for path in OPERATORS:
        yield f"A21 {path}", functools.partial(not_served, get(path))
    for extra in TRICKS:
        yield f"A21 /metrics with {extra[0]}", functools.partial(not_served, get("/metrics", extra))
        yield f"A21 /api with {extra[0]}", functools.partial(api_needs_the_key, extra)
    for host in ["localhost", "localhost:9000", "127.0.0.1:9000", "metrics"]:
        octets = get("/metrics", host=host)
        yield f"A21 /metrics of Host {host}", functools.partial(not_served, octets)
    for extra in [["X-API-Key:"], ["X-API-Key: wrong"], ["Authorization: apikey wrong"],
                  ["Authorization: Basic Og=="], ["X-API-Key: canary-api-key-5d1f0"],
                  ["X-API-Key: CANARY-API-KEY-5D1F0C"]]:
        yield f"A21 /api with {extra[0]}", functools.partial(api_needs_the_key, extra)
    for path in ["/api/info", "/connection/websocket", "/app.js", "/debug/echo"]:
        check = functools.partial(metrics_port_serves_no_clients, path)
        yield f"A21 {path} on the metrics port", check
    yield "the page itself is served", page_is_served
