"""B9 to B12: names and texts that want to be something else, and secrets that must not come out."""

import functools
import json
import urllib.request

from wire import Socket, exchange, head

SQL = ["'", "''", "';--", "1;DROP/**/TABLE/**/messages;--", "'/**/OR/**/1=1--", '"', "\\'", "`id`",
       "$$", "%27", "x'/**/UNION/**/SELECT/**/1--", "{{7*7}}", "${jndi}", "$(id)", "|id", ";id"]
REDIS = ["*3", "*", "?", "[a-z]", "{tag}", "}{", "rw.0.log", "__keyspace@0__", "a{b}c{d}", "\\x00"]
NAMESPACES = ["${jndi:ldap://x}", "rw:0:log", "__keyspace@0__:*", "rw:{0}:meta", ":", "::"]
REFUSED = ["", "a b", "a\r\nDEL b", "*3\r\n$3\r\nDEL\r\n", "a\0b", "a\x1bb", "a\tb", "a\x7fb",
"zoë",
           "\u202egnp", "\ufeffa", "a\u2028b", "n" * 256, "n" * 10_000]
MARK = "CANARYLINE"
HOSTILE = [f"x\n{MARK} forged", f"x\r\n{MARK} forged", f"\x1b[31m{MARK}", f"\u202e{MARK}",
           f"{MARK}\u2028x", MARK * 5000]


def literal(name, server):
    """A name that is only unusual is stored and found as it is, in its own channel."""
    other = server.api("history", {"channel": f"{name}-other", "limit": 10})
    server.api("publish", {"channel": name, "data": {"name": name}})
    answer = server.api("history", {"channel": name, "limit": 10})
    kept = [one["data"] for one in answer["result"]["publications"]]
    if kept != [{"name": name}]:
        return f"history has {kept}"
    again = server.api("history", {"channel": f"{name}-other", "limit": 10})
    return None if again == other else "another channel changed"


def refused_by_api(name, server):
    answer = server.api("publish", {"channel": name, "data": {}})
    code = answer.get("error", {}).get("code")
    return None if code == 107 else f"answer {json.dumps(answer)[:80]}"


def no_such_namespace(name, server):
    """Before a colon is a namespace, never a prefix of a key or a scheme."""
    code = server.api("publish", {"channel": name, "data": {}}).get("error", {}).get("code")
    return None if code == 102 else f"answer {code}"


def refused_to_client(name, server):
    with Socket(server) as connection:
        connection.client()
        connection.answer_to(1)
        connection.command({"id": 2, "subscribe": {"channel": name}})
        code = ((connection.answer_to(2) or {}).get("error") or {}).get("code")
        if code is None:
            code = connection.close_code(2)
    return None if code in {107, 3501} else f"answer {code}"


def log_stays_in_lines(server):
    """Whatever a stranger sends, no line of the log is his."""
    for text in HOSTILE:
        for lines in [[f"GET /{text} HTTP/1.1"], ["GET / HTTP/1.1", f"User-Agent: {text}"],
                      [f"{text} / HTTP/1.1"], ["GET /debug/echo HTTP/1.1", f"Origin: {text}"]]:
            exchange(server, head([line.encode("utf-8").decode("latin-1") for line in lines]), 0.3)
        with Socket(server) as connection:
            connection.client()
            connection.command({"id": 2, "subscribe": {"channel": text}},
                               {"id": 3, "rpc": {"method": text[:200], "data": {}}},
                               {"id": 4, "connect": {"name": text[:200], "token": text[:200]}})
            connection.read_to_end(0.3)
        server.api("publish", {"channel": text, "data": {}})
        server.api("disconnect", {"user": text, "disconnect": {"code": 4000, "reason": text}})
    log = server.log
    for line in log.split("\n"):
        if line.lstrip().startswith(MARK):
            return f"forged line: {line[:60]!r}"
        if len(line) > 4096:
            return f"a line of {len(line)} characters"
    for control in ["\x1b", "\u202e", "\r"]:
        if control in log:
            return f"the log has {control!r}"
    return None


def secrets_stay_inside(server):
    """Neither secret appears in the log, in metrics, in answers, or in the page."""
    key = server.config["http_api"]["key"]
    secret = server.config["client"]["token"]["hmac_secret_key"]
    server.api("publish", {"channel": "x", "data": {}})
    seen = [server.log]
    pages = [(server.port, path) for path in ["/health", "/", "/app.js"]]
    for port, path in [(server.metrics_port, "/metrics"), *pages]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            seen.append(answer.read().decode())
    for body in ["{", "[]", '{"channel": 1}', '{"key": "x"}']:
        lines = ["POST /api/publish HTTP/1.1", f"X-API-Key: {key}", f"Content-Length: {len(body)}"]
        seen.append(exchange(server, head(lines) + body.encode(), 0.3)[1].decode("latin-1"))
    with Socket(server) as connection:
        connection.client()
        connection.command({"id": 2, "refresh": {"token": "a.b.c"}}, {"id": 3, "info": {}})
        seen.append(connection.read_to_end(0.5)[0].decode("latin-1"))
    for text in seen:
        for canary in [key, secret]:
            if canary in text:
                return f"{canary} in {text[:80]!r}"
    return None


def rows():
    for name in SQL:
        yield f"B9 {name}", functools.partial(literal, name)
    for name in REDIS:
        yield f"B10 {name}", functools.partial(literal, name)
    for name in NAMESPACES:
        yield f"B10 namespace {name}", functools.partial(no_such_namespace, name)
    for name in REFUSED:
        shown = repr(name[:16])
        yield f"B10 refused by the API: {shown}", functools.partial(refused_by_api, name)
        yield f"B10 refused to clients: {shown}", functools.partial(refused_to_client, name)
    yield "B11 log lines", log_stays_in_lines
    yield "B12 secrets", secrets_stay_inside
