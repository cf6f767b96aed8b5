"""A17, A18: pages of other sites, and offers of subprotocols."""

import functools

from wire import CLIENT, exchange, upgrade

# client.allowed_origins of the configuration is exactly https://app.example.
GOOD = "https://app.example"
FOREIGN = [
    "null", "https://evil.example", "http://app.example", "https://app.example:444",
    "https://app.example.evil.example", "https://evilapp.example", "https://evil-app.example",
    "https://sub.app.example", "https://app.example/", "https://app.example/path",
    "https://app.example@evil.example", "https://evil.example#https://app.example",
    "https://evil.example?https://app.example", "https://app.example,https://evil.example",
    "https://app.example https://evil.example", "https://app.examp1e", "https://app.example.",
    "https://app%2eexample", "https://xn--pp-yia.example", "wss://app.example", "app.example",
    "//app.example", "file://", "data:text/html", "https://", "https://app", "*",
    "https://127.0.0.1", "chrome-extension://app.example", "https://app.example\\.evil.example",
]


def status(extra, statuses, server):
    found, answer, _ = exchange(server, upgrade(CLIENT, extra), 0.4)
    if found[:1] and found[0] in statuses:
        return None
    return f"statuses {found}, expected {sorted(statuses)}; {answer[:50]!r}"


def subprotocol(extra, chosen, server):
    found, answer, _ = exchange(server, upgrade(CLIENT, extra), 0.4)
    lines = answer.decode("latin-1").lower().split("\r\n")
    named = [line.split(":", 1)[1].strip() for line in lines
             if line.startswith("sec-websocket-protocol:")]
    if chosen == "refused":
        return None if found and found[0] == 400 else f"statuses {found}"
    if found[:1] != [101]:
        return f"statuses {found}"
    expected = [chosen] if chosen else []
    return None if named == expected else f"chose {named}, expected {expected}"


def offer(text):
    return [f"Sec-WebSocket-Protocol: {text}"]


JSON, PROTOBUF = "centrifuge-json", "centrifuge-protobuf"
OFFERS = {
    "none": ([], None),
    "json": (offer(JSON), JSON),
    "protobuf": (offer(PROTOBUF), PROTOBUF),
    "both, protobuf first": (offer(f"{PROTOBUF}, {JSON}"), PROTOBUF),
    "both in two headers": (offer(JSON) + offer(PROTOBUF), JSON),
    "unknown only": (offer("evil"), None),
    "unknown first": (offer(f"evil, {JSON}"), JSON),
    "other case": (offer("Centrifuge-JSON"), None),
    "a prefix": (offer("centrifuge"), None),
    "with a suffix": (offer(f"{JSON}x"), None),
    "duplicated": (offer(f"{JSON}, {JSON}"), JSON),
    "empty": (offer(""), None),
    "commas": (offer(",,,"), None),
    "commas and json": (offer(f",,{JSON},,"), JSON),
    "no token": (offer("a b\"c"), None),
    "script": (offer("<script>alert(1)</script>"), None),
    "1000 unknown": (offer(",".join(f"a{n}" for n in range(1000))), None),
    "long": (offer("a" * 7000), None),
    "quoted": (offer(f'"{JSON}"'), None),
    "semicolon": (offer(f"{JSON};q=1"), None),
}


def rows():
    yield "A17 allowed", functools.partial(status, [f"Origin: {GOOD}"], {101})
    upper = [f"Origin: {GOOD.upper()}"]
    yield "A17 allowed, upper case", functools.partial(status, upper, {101})
    yield "A17 no page, no Origin", functools.partial(status, [], {101})
    for origin in FOREIGN:
        yield f"A17 {origin}", functools.partial(status, [f"Origin: {origin}"], {400, 403})
    two = [f"Origin: {GOOD}", "Origin: https://evil.example"]
    yield "A17 two, good first", functools.partial(status, two, {400, 403})
    yield "A17 two, good last", functools.partial(status, two[::-1], {400, 403})
    yield "A17 empty", functools.partial(status, ["Origin:"], {400, 403})
    yield "A17 not UTF-8", functools.partial(status, ["Origin: https://\xff.example"], {400, 403})
    for name, (extra, chosen) in OFFERS.items():
        yield f"A18 {name}", functools.partial(subprotocol, extra, chosen)
