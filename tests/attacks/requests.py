"""A4, A5, A6: request heads that are too large, no upgrade, or to be read in two ways."""

import functools

from wire import KEY, Socket, exchange, head, upgrade

GET = "GET / HTTP/1.1"
API = "POST /api/info HTTP/1.1"
SECOND = b"GET /health HTTP/1.1\r\nHost: second\r\n\r\n"


def raw(text):
    return text.encode("latin-1")


def request(*lines):
    return head(lines)


# Bytes, and the statuses that are right. What follows such a request is never answered.
LARGE = {
    "line over 8 KiB": (request(f"GET /{'a' * 9000} HTTP/1.1"), {414}),
    "line without end": (b"GET /" + b"a" * 70_000, {414}),
    "one header of 20 KB": (request(GET, f"X-A: {'a' * 20_000}"), {431}),
    "one header of 1 MiB": (request(GET, f"X-A: {'a' * 1_048_576}"), {431}),
    "101 headers": (request(GET, *[f"X-{n}: a" for n in range(101)]), {431}),
    "5000 headers": (request(GET, *[f"X-{n}: a" for n in range(5000)]), {431}),
    "long name": (request(GET, f"{'X' * 17_000}: a"), {431}),
    "long cookie": (request(GET, f"Cookie: {'a=b; ' * 4000}"), {431}),
}

LINE = upgrade()


def changed(old, new):
    octets = LINE.replace(raw(old), raw(new), 1)
    assert octets != LINE, old
    return octets


UPGRADES = {
    "no key": (upgrade(without={"Sec-WebSocket-Key"}), {400}),
    "short key": (changed(KEY, "c2hvcnQ="), {400}),
    "long key": (changed(KEY, KEY + KEY), {400}),
    "key not base64": (changed(KEY, "!!!!!!!!!!!!!!!!!!!!!!=="), {400}),
    "two keys": (upgrade(extra=[f"Sec-WebSocket-Key: {KEY}"]), {400}),
    "version 8": (changed("Version: 13", "Version: 8"), {426}),
    "version 99": (changed("Version: 13", "Version: 99"), {426}),
    "version 013": (changed("Version: 13", "Version: 013"), {426}),
    "no version": (upgrade(without={"Sec-WebSocket-Version"}), {426}),
    "two versions": (upgrade(extra=["Sec-WebSocket-Version: 13"]), {426}),
    "POST": (upgrade(method="POST"), {400, 405}),
    "PUT": (upgrade(method="PUT"), {400, 405}),
    "HEAD": (upgrade(method="HEAD"), {400, 405}),
    "CONNECT": (upgrade(method="CONNECT"), {400, 405, 501}),
    "lower-case method": (upgrade(method="get"), {400, 405, 501}),
    "HTTP/1.0": (upgrade(version="HTTP/1.0"), {400, 426, 505}),
    "HTTP/0.9": (b"GET /debug/echo\r\n\r\n", {400, 505}),
    "HTTP/2.0": (upgrade(version="HTTP/2.0"), {400, 505}),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 405, 501, 505}),
    "two Upgrade": (upgrade(extra=["Upgrade: websocket"]), {400}),
    "Upgrade of two": (changed("Upgrade: websocket", "Upgrade: websocket, h2c"), {400}),
    "h2c": (changed("Upgrade: websocket", "Upgrade: h2c"), {400, 426}),
    "no Upgrade": (upgrade(without={"Upgrade"}), {400, 426}),
    "no Connection": (upgrade(without={"Connection"}), {400, 426}),
    "Connection close": (changed("Connection: Upgrade", "Connection: close"), {400, 426}),
    "a body": (upgrade(extra=["Content-Length: 5"]), {400}),
    "chunks": (upgrade(extra=["Transfer-Encoding: chunked"]), {400}),
}

SMUGGLED = {
    "length and chunks": ([API, "Content-Length: 5", "Transfer-Encoding: chunked"], {400}),
    "chunks and length": ([API, "Transfer-Encoding: chunked", "Content-Length: 5"], {400}),
    "two lengths": ([API, "Content-Length: 5", "Content-Length: 6"], {400}),
    "two equal lengths": ([API, "Content-Length: 5", "Content-Length: 5"], {400}),
    "list of lengths": ([API, "Content-Length: 5, 5"], {400}),
    "length +5": ([API, "Content-Length: +5"], {400}),
    "length -5": ([API, "Content-Length: -5"], {400}),
    "length 0x5": ([API, "Content-Length: 0x5"], {400}),
    "length 5_0": ([API, "Content-Length: 5_0"], {400}),
    "length empty": ([API, "Content-Length:"], {400}),
    "length of 30 digits": ([API, f"Content-Length: {'9' * 30}"], {400, 413}),
    "coding xchunked": ([API, "Transfer-Encoding: xchunked"], {400, 501}),
    "coding identity": ([API, "Transfer-Encoding: identity"], {400, 501}),
    "coding gzip, chunked": ([API, "Transfer-Encoding: gzip, chunked"], {400, 501}),
    "coding chunked, identity": ([API, "Transfer-Encoding: chunked, identity"], {400, 501}),
    "coding twice": ([API] + ["Transfer-Encoding: chunked"] * 2, {400, 501}),
    "coding after vertical tab": ([API, "Transfer-Encoding: \x0bchunked"], {400, 501}),
    "coding quoted": ([API, 'Transfer-Encoding: "chunked"'], {400, 501}),
    "coding with space before colon": ([API, "Transfer-Encoding : chunked"], {400}),
    "length with space before colon": ([API, "Content-Length : 5"], {400}),
    "folded line": ([API, "X-A: a\r\n b"], {400}),
    "folded coding": ([API, "Transfer-Encoding:\r\n chunked"], {400}),
    "leading space": ([API, " Content-Length: 5"], {400}),
    "bare LF": ([API + "\nX: y"], {400}),
    "LF between headers": ([API, "X-A: a\nContent-Length: 5"], {400}),
    "bare CR": ([API, "X-A: a\rb"], {400}),
    "NUL in value": ([API, "X-A: a\0b"], {400}),
    "NUL in name": ([API, "X\0A: a"], {400}),
    "NUL in target": (["GET /\0 HTTP/1.1"], {400}),
    "control in value": ([API, "X-A: a\x01b"], {400}),
    "no colon": ([API, "Content-Length"], {400}),
    "empty name": ([API, ": 5"], {400}),
    "name with at sign": ([API, "Content@Length: 5"], {400}),
    "name not ASCII": ([API, "X-\xe9: 5"], {400}),
    "underscore twin": ([API, "Content_Length: 5", "Content-Length: 0"], {400}),
    "two Hosts": ([GET, "Host: b"], {400}),
    "tab in line": (["GET\t/\tHTTP/1.1"], {400}),
    "two spaces in line": (["GET  / HTTP/1.1"], {400}),
    "space in target": (["GET / x HTTP/1.1"], {400}),
    "version HTTP/1.1.1": (["GET / HTTP/1.1.1"], {400, 505}),
    "version http/1.1": (["GET / http/1.1"], {400, 505}),
    "target without slash": (["GET health HTTP/1.1"], {400}),
    "fragment in target": (["GET /#x HTTP/1.1"], {400, 404}),
}

SMUGGLED_RAW = {
    "no Host": (raw("GET / HTTP/1.1\r\n\r\n"), {400}),
    "empty Host": (raw("GET / HTTP/1.1\r\nHost:\r\n\r\n"), {400}),
    "Host with path": (raw("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), {400}),
    "Host with user": (raw("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"), {400}),
    "space before first header": (raw("GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n"), {400}),
    "LF only": (raw("GET / HTTP/1.1\nHost: a\n\n"), {400}),
    "chunk size of 17 digits": (raw(f"{API}\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                                    "10000000000000000\r\n"), {400, 401, 413}),
    "chunk size -1": (raw(f"{API}\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"),
                      {400, 401}),
    "chunk size 0x1": (raw(f"{API}\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n"),
                       {400, 401}),
    "chunk without CRLF": (raw(f"{API}\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naXX"),
                           {400, 401}),
    "TLS on the plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64, {400}),
    "binary noise": (bytes(range(256)) * 8, {400, 414}),
}


def refused(octets, statuses, server):
    # The second request must not be answered, whatever the first one was taken for.
    found, answer, is_ended = exchange(server, octets + SECOND, 2)
    if not is_ended:
        return f"the connection stays open after {found}"
    if len(found) != 1 or found[0] not in statuses:
        # A reset may overtake the answer to a request that is still being sent.
        if not found and len(octets) > 16_384:
            return None
        return f"statuses {found}, expected one of {sorted(statuses)}; {answer[:60]!r}"
    return None


def byte_by_byte(server):
    """A large header in single bytes must cost time in proportion, not its square."""
    with Socket(server) as connection:
        octets = head([GET, f"X-A: {'a' * 60_000}"])
        for index in range(len(octets)):
            if not connection.send(octets[index:index + 1]):
                return None
        answer, is_ended = connection.read_to_end(3)
        if is_ended and (not answer or answer.startswith(b"HTTP/1.1 431")):
            return None
        return f"answer {answer[:40]!r}, ended: {is_ended}"


def rows():
    for title, table in [("A4 large", LARGE), ("A5 upgrade", UPGRADES), ("A6", SMUGGLED_RAW)]:
        for name, (octets, statuses) in table.items():
            yield f"{title}: {name}", functools.partial(refused, octets, statuses)
    for name, (lines, statuses) in SMUGGLED.items():
        yield f"A6: {name}", functools.partial(refused, request(*lines), statuses)
    yield "A4 large: 60 KB in single bytes", byte_by_byte
