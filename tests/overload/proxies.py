"""Headers of the PROXY protocol and X-Forwarded-For, from who may send them and who may not."""

import socket
import ssl
import time

from rig import (IPV4, IPV6, LOCAL, PROXY, SIGNATURE, UNSPECIFIED, check, come, counted, dial,
                 ends_silently, forwarded, header, logged, metric, raw_header)
from wire import Memory, Reader, context, frame, request, upgrade

PROXIED, TRUSTED, STRANGER = "127.0.0.2", "127.0.0.3", "127.0.0.4"
SETTINGS = {"http_server": {"proxy_protocol": ["127.0.0.2", "127.0.0.16/28"],
                            "forwarded_for": ["127.0.0.3", "10.0.0.0/8"]}}
HEADER_SECONDS = 5


def server_of(rig):
    return rig.server(SETTINGS)


def secure_server_of(rig):
    lists = SETTINGS["http_server"]
    return rig.server({"http_server": {**lists, "tls": rig.tls()}})


def echoes(connection, payload=b"hello"):
    reader = Reader(connection)
    head, _ = reader.answer()
    check(head.startswith("HTTP/1.1 101"), head)
    connection.sendall(frame(payload))
    check(reader.frame() == (2, payload))


def named(rig, client="192.0.2.7", shown="192.0.2.7:4711", **options):
    server = server_of(rig)
    connection = dial(server, PROXIED)
    connection.sendall(header(client, **options))
    connection.sendall(upgrade())
    echoes(connection)
    logged(server, shown, connection)


def byte_by_byte(rig):
    server = server_of(rig)
    connection = dial(server, "127.0.0.17")
    for octet in header("192.0.2.8", tlvs=b"\x04\x00\x02ab") + upgrade():
        connection.sendall(bytes([octet]))
        time.sleep(0.001)
    echoes(connection)
    logged(server, "192.0.2.8:4711", connection)


def all_at_once(rig):
    """What comes behind the header in the same segment is not lost."""
    server = server_of(rig)
    connection = dial(server, PROXIED)
    connection.sendall(header("192.0.2.9") + upgrade() + frame(b"one") + frame(b"two"))
    reader = Reader(connection)
    check(reader.answer()[0].startswith("HTTP/1.1 101"))
    check([reader.frame(), reader.frame()] == [(2, b"one"), (2, b"two")])
    logged(server, "192.0.2.9:4711", connection)


def requests_behind_it(rig):
    """HTTP on the same connection, also several requests: the header comes once."""
    connection = dial(server_of(rig), PROXIED)
    connection.sendall(header())
    reader = Reader(connection)
    for _ in range(3):
        connection.sendall(request())
        check(reader.answer()[0].startswith("HTTP/1.1 200"))


def local(rig):
    """A health check of the proxy: the address of the socket holds."""
    server = server_of(rig)
    for body in (raw_header(LOCAL, UNSPECIFIED, b""), header("192.0.2.66", command=LOCAL),
                 raw_header(PROXY, UNSPECIFIED, b"abc")):
        connection = dial(server, PROXIED)
        port = connection.getsockname()[1]
        connection.sendall(body + upgrade())
        echoes(connection)
        logged(server, f"{PROXIED}:{port}", connection)
    check("192.0.2.66" not in server.log)


def not_listed(rig):
    """Whoever is not listed cannot say who it is: its header is a bad request."""
    server = server_of(rig)
    for source in (STRANGER, TRUSTED, "127.0.0.15", "127.0.0.32"):
        connection = dial(server, source)
        connection.sendall(header("192.0.2.67") + upgrade())
        head, _ = Reader(connection).answer()
        check(head.startswith("HTTP/1.1 400"), source, head)
        with dial(server, source) as connection:
            connection.sendall(upgrade())
            echoes(connection)
    check("192.0.2.67" not in server.log)


def refused(octets, label):
    def act(rig):
        server = server_of(rig)

        def send():
            with dial(server, PROXIED) as connection:
                connection.sendall(octets)
                check(ends_silently(connection))
        counted(server, "proxy_headers_refused", label, send)
    return act


def late(rig):
    """A header that does not end; also one that never begins."""
    server = server_of(rig)
    before = metric(server, "proxy_headers_refused", "incomplete")
    connections = [dial(server, PROXIED, seconds=10) for _ in range(2)]
    connections[0].sendall(header()[:-1])
    started = time.monotonic()
    check(all(ends_silently(connection) for connection in connections))
    took = time.monotonic() - started
    check(HEADER_SECONDS - 0.5 < took < HEADER_SECONDS + 2, took)
    after = metric(server, "proxy_headers_refused", "incomplete")
    check(after - before == 2, before, after)


def closes_are_named(rig):
    server = server_of(rig)
    before = metric(server, "closes", "proxy_header")
    with dial(server, PROXIED) as connection:
        connection.sendall(upgrade())
        check(ends_silently(connection))
    check(metric(server, "closes", "proxy_header") == before + 1)
    check('proxy header refused reason="signature" peer=127.0.0.2' in server.log)


def behind_tls(rig):
    """The header comes before the ClientHello, in one piece with it or not."""
    server = secure_server_of(rig)
    for number, step in enumerate((None, 1, 7)):
        client = f"192.0.2.{20 + number}"
        plain = dial(server, PROXIED)
        for piece in pieces(header(client), step):
            plain.sendall(piece)
        secured = context(rig.chain).wrap_socket(plain, server_hostname="one.example")
        secured.sendall(upgrade())
        echoes(secured, b"x" * 20_000)
        logged(server, f"{client}:4711", secured)


def pieces(octets, step):
    return [octets[at:at + step] for at in range(0, len(octets), step)] if step else [octets]


def in_one_piece_with_tls(rig):
    server = secure_server_of(rig)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(rig.chain).wrap_bio(incoming, outgoing, server_hostname="one.example")
    plain = dial(server, PROXIED)

    def until_done(act):
        while True:
            try:
                done = act()
            except ssl.SSLWantReadError:
                done = None
            if octets := before[0] + outgoing.read():
                plain.sendall(octets)
                before[0] = b""
            if done is not None:
                return done
            incoming.write(plain.recv(65536))

    before = [header("192.0.2.30")]
    until_done(lambda: tls.do_handshake() or True)
    until_done(lambda: tls.write(request()))
    check(until_done(lambda: tls.read(4096)).startswith(b"HTTP/1.1 200"))
    plain.close()


def tls_without_a_header(rig):
    server = secure_server_of(rig)

    def hello():
        try:
            context(rig.chain).wrap_socket(dial(server, PROXIED), server_hostname="one.example")
        except (ssl.SSLError, OSError):
            return
        raise AssertionError("a handshake without the header")
    counted(server, "proxy_headers_refused", "signature", hello)
    with Memory(server.port, context(rig.chain)) as client:
        client.shake()


def believed(values, shown):
    def act(rig):
        server = server_of(rig)
        status, _, connection = come(server, TRUSTED, values=values)
        check(status == 101, status)
        logged(server, shown or f"{TRUSTED}:{connection.getsockname()[1]}", connection)
    return act


def not_believed(rig):
    server = server_of(rig)
    for source in (STRANGER, "127.0.0.1"):
        status, _, connection = come(server, source, values=["192.0.2.77"])
        check(status == 101, status)
        logged(server, f"{source}:{connection.getsockname()[1]}", connection)
    check("192.0.2.77" not in server.log)


def both(rig):
    """A balancer with the PROXY protocol before a proxy that is believed."""
    server = server_of(rig)
    status, _, connection = come(server, PROXIED, before=header("10.0.0.9"), values=["192.0.2.44"])
    check(status == 101, status)
    logged(server, "192.0.2.44:0", connection)
    # The balancer itself is no proxy of HTTP.
    status, _, connection = come(server, PROXIED, before=header("192.0.2.45"), values=["10.1.1.1"])
    check(status == 101, status)
    logged(server, "192.0.2.45:4711", connection)


def twins(rig):
    """A header that some programs take for the same is refused, as ever."""
    connection = dial(server_of(rig), TRUSTED)
    octets = forwarded(upgrade(), "192.0.2.7").replace(b"X-Forwarded-For", b"X_Forwarded_For")
    connection.sendall(octets)
    head, _ = Reader(connection).answer()
    check(head.startswith("HTTP/1.1 400"), head)


def half_closed(rig):
    """Who goes away in the middle of a header costs nothing."""
    server = server_of(rig)
    for length in range(len(header())):
        connection = dial(server, PROXIED)
        connection.sendall(header()[:length])
        connection.shutdown(socket.SHUT_WR)
        check(ends_silently(connection), length)
        connection.close()


def rows():
    yield "a header names the client", named
    yield "of IPv6", lambda rig: named(rig, "2001:db8::7", "[2001:db8::7]:4711")
    yield "IPv4 within IPv6", lambda rig: named(rig, "::ffff:192.0.2.10", "192.0.2.10:4711")
    yield "additions are skipped up to 536 bytes", lambda rig: named(
        rig, "192.0.2.11", "192.0.2.11:4711", tlvs=b"\xee" * 508)
    yield "byte by byte", byte_by_byte
    yield "with all that follows in one piece", all_at_once
    yield "several requests", requests_behind_it
    yield "LOCAL and UNSPEC", local
    yield "from who is not listed", not_listed
    good = header()
    yield "no header, but HTTP", refused(upgrade(), "signature")
    yield "version 1", refused(b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n", "signature")
    yield "one bit of the signature", refused(b"\r\n\r\n\1" + good[5:], "signature")
    yield "a second header's version", refused(SIGNATURE + b"\x11" + good[13:], "version")
    yield "version 3", refused(SIGNATURE + b"\x31" + good[13:], "version")
    yield "an unknown command", refused(SIGNATURE + b"\x22" + good[13:], "command")
    yield "datagrams", refused(raw_header(PROXY, IPV4 + 1, good[16:]), "family")
    yield "a UNIX socket", refused(raw_header(PROXY, 0x31, b"/" * 216), "family")
    yield "an unknown family", refused(raw_header(PROXY, 0xf1, good[16:]), "family")
    yield "too short for IPv4", refused(raw_header(PROXY, IPV4, good[16:-1]), "length")
    yield "too short for IPv6", refused(raw_header(PROXY, IPV6, good[16:]), "length")
    yield "537 bytes", refused(header(tlvs=b"\xee" * 509), "length")
    yield "64 KiB announced", refused(raw_header(PROXY, IPV4, b"", 65_535), "length")
    yield "closes are named and logged", closes_are_named
    yield "not complete in time", late
    yield "gone in the middle", half_closed
    yield "beneath TLS", behind_tls
    yield "in one piece with a ClientHello", in_one_piece_with_tls
    yield "TLS without the header", tls_without_a_header
    yield "X-Forwarded-For", believed(["192.0.2.40"], "192.0.2.40:0")
    yield "a chain, forged on the left", believed(
        ["1.2.3.4, 192.0.2.41, 10.0.0.1", "10.0.0.2"], "192.0.2.41:0")
    yield "with a port", believed(["192.0.2.42:99"], "192.0.2.42:99")
    yield "of IPv6 in brackets", believed(["[2001:db8::42]:7"], "[2001:db8::42]:7")
    yield "junk on the right", believed(["192.0.2.78, unknown"], None)
    yield "proxies alone", believed(["10.0.0.1, 10.0.0.2"], None)
    yield "X-Forwarded-For of a stranger", not_believed
    yield "both kinds of proxies", both
    yield "a header with underscores", twins
