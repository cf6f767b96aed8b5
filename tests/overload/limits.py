"""Limits of new clients: of the process, and of single addresses over all shards."""

import multiprocessing
import socket
import statistics
import time
import urllib.request

from rig import check, come, dial, header, metric, reload
from ringway import wait_for
from wire import Reader, frame, request, upgrade

PROXIED, TRUSTED = "127.0.0.2", "127.0.0.3"
PROXIES = {"proxy_protocol": [PROXIED], "forwarded_for": [TRUSTED]}
FLOOD_SECONDS = 4
FLOOD_PROCESSES = 2
# A new client next to a flood, connection, upgrade and session, in the median and at worst. The
# flood and its victim share two cores with the server.
VISIT_MEDIAN_SECONDS_MAX = 0.05
VISIT_SECONDS_MAX = 2


def server_of(rig, name, client, **others):
    """A server of its own for each row, because rows use limits up."""
    return rig.server({"node": {"name": name}, "client": client, "http_server": PROXIES, **others})


def crowd(server, count, source, **options):
    """Clients that stay: how many were let in, seconds of those who were not, connections."""
    came, told, connections = 0, [], []
    for _ in range(count):
        status, seconds, connection = come(server, source, **options)
        connections.append(connection)
        check(status in (101, 503), status)
        if status == 101:
            came += 1
        else:
            check(seconds is not None and 1 <= seconds <= 10, seconds)
            told.append(seconds)
    return came, told, connections


def go(connections):
    for connection in connections:
        connection.close()


def at_once(rig):
    """40 clients of one address on two shards: 5 are in, and not 5 on each."""
    server = server_of(rig, "at-once", {"address_connection_limit": 5})
    before = metric(server, "upgrades_refused", "address_connection_limit")
    came, told, first = crowd(server, 40, "127.0.0.10")
    check(came == 5, came)
    check(min(told) >= 5 and len(set(told)) > 1, told)
    refused = metric(server, "upgrades_refused", "address_connection_limit") - before
    check(refused == 35, refused)
    others, _, second = crowd(server, 5, "127.0.0.11")
    check(others == 5, others)
    # Requests that want no upgrade are served.
    with dial(server, "127.0.0.10") as connection:
        connection.sendall(request())
        check(Reader(connection).answer()[0].startswith("HTTP/1.1 200"))
    go(first)
    third = []
    wait_for("free places", lambda: is_let_in(server, "127.0.0.10", third))
    go([*second, *third])
    wait_for("no connection", lambda: connections_now(server) == 0)
    came, _, fourth = crowd(server, 10, "127.0.0.10")
    check(came == 5, "every place was given back, none twice", came)
    go(fourth)
    check(metric(server, "addresses_uncounted") == 0)


def is_let_in(server, source, kept):
    status, _, connection = come(server, source)
    kept.append(connection)
    return status == 101


def connections_now(server):
    """What the server counts, without the connection that asks."""
    address = f"http://127.0.0.1:{server.metrics_port}/metrics"
    with urllib.request.urlopen(address, timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines
               if line.startswith("ringway_connections{"))


def paced(rig, name, client, label, sources):
    """A second's worth at once, then the rate; who is refused is told when to come back."""
    server = server_of(rig, name, client)
    rate = 10
    started = time.monotonic()
    came, told, connections = 0, [], []
    for number in range(60):
        one, seconds, kept = crowd(server, 1, sources[number % len(sources)])
        came += one
        told += seconds
        connections += kept
    most = rate * (1 + time.monotonic() - started) + 1
    check(rate <= came <= most, came, most)
    check(metric(server, "upgrades_refused", label) == 60 - came, label)
    check(len(set(told)) > 1, "jitter", told)
    time.sleep(1.1)
    again, _, kept = crowd(server, 5, sources[0])
    check(again == 5, again)
    go([*connections, *kept])


def pace_of_an_address(rig):
    paced(rig, "address-pace", {"address_connection_rate": 10}, "address_connection_rate",
          ["127.0.0.10"])
    server = server_of(rig, "address-pace", {"address_connection_rate": 10})
    came, _, kept = crowd(server, 10, "127.0.0.11")
    check(came == 10, "another address has a rate of its own", came)
    go(kept)


def pace_of_the_process(rig):
    paced(rig, "process-pace", {"connection_rate_limit": 10}, "connection_rate_limit",
          [f"127.0.0.{host}" for host in range(10, 50)])


def behind_proxies(rig):
    """Clients of a proxy are counted, and not the proxy."""
    server = server_of(rig, "proxies", {"address_connection_limit": 2})
    kept = []
    for host in range(10):
        for way in ({"before": header(f"192.0.2.{host}")}, {"values": [f"198.51.100.{host}"]}):
            source = PROXIED if "before" in way else TRUSTED
            came, _, connections = crowd(server, 4, source, **way)
            check(came == 2, way, came)
            kept += connections
    # One client by both ways is one.
    came, _, connections = crowd(server, 1, PROXIED, before=header("203.0.113.1"))
    kept += connections
    check(came == 1)
    came, _, connections = crowd(server, 4, TRUSTED, values=["203.0.113.1"])
    check(came == 1, came)
    # Who is not believed counts for itself, whatever it says.
    came = 0
    for host in range(5):
        one, _, more = crowd(server, 1, "127.0.0.20", values=[f"10.9.9.{host}"])
        came, kept = came + one, kept + more
    check(came == 2, came)
    go([*kept, *connections])


def prefixes(rig):
    """A /64 of IPv6 is one address; so is a /24 of IPv4 where an operator says so."""
    server = server_of(rig, "prefixes", {"address_connection_limit": 2})
    kept = []
    for client, expected in (("2001:db8::1", 1), ("2001:db8::ffff:2", 1), ("2001:db8::3", 0),
                             ("2001:db8:0:1::1", 1), ("::ffff:192.0.2.1", 1), ("192.0.2.1", 1),
                             ("192.0.2.1", 0), ("192.0.2.2", 1)):
        came, _, connections = crowd(server, 1, PROXIED, before=header(client))
        check(came == expected, client, came)
        kept += connections
    go(kept)
    wide = {"address_connection_limit": 2, "address_ipv4_prefix_length": 24,
            "address_ipv6_prefix_length": 48}
    server = server_of(rig, "wide-prefixes", wide)
    kept = []
    for client, expected in (("192.0.2.1", 1), ("192.0.2.200", 1), ("192.0.2.3", 0),
                             ("192.0.3.1", 1), ("2001:db8::1", 1), ("2001:db8:0:ffff::1", 1),
                             ("2001:db8:0:2::1", 0), ("2001:db8:1::1", 1)):
        came, _, connections = crowd(server, 1, PROXIED, before=header(client))
        check(came == expected, client, came)
        kept += connections
    go(kept)


def reloaded(rig):
    """From no limit to one, to another, and back; nobody who is in is sent away."""
    server = server_of(rig, "reloaded", {})
    came, _, early = crowd(server, 10, "127.0.0.10")
    check(came == 10, came)
    reload(server, {"client": {"address_connection_limit": 3}})
    came, _, counted = crowd(server, 10, "127.0.0.10")
    check(came == 3, came)
    reload(server, {"client": {"address_connection_limit": 5}})
    came, _, more = crowd(server, 10, "127.0.0.10")
    check(came == 2, came)
    for connection in early:
        connection.sendall(frame(b'{"id":1,"connect":{}}', opcode=1))
        check(b'"connect"' in Reader(connection).frame()[1])
    reload(server, {"client": {"address_connection_limit": 0, "connection_rate_limit": 1}})
    came, _, last = crowd(server, 10, "127.0.0.10")
    check(1 <= came <= 4, came)
    reload(server, {"client": {"connection_rate_limit": 0}})
    came, _, open_again = crowd(server, 20, "127.0.0.10")
    check(came == 20, came)
    go([*early, *counted, *more, *last, *open_again])


def full(rig):
    """A process with no room says so, and takes clients again as soon as there is some."""
    server = server_of(rig, "full", {"connection_limit": 20}, shards=1)
    came, told, kept = crowd(server, 30, "127.0.0.10")
    check(came == 20, came)
    check(min(told) >= 5 and max(told) <= 10, told)
    check(metric(server, "upgrades_refused", "connection_limit") == 10)
    go(kept)
    again = []
    wait_for("room", lambda: is_let_in(server, "127.0.0.10", again))
    go(again)


def no_descriptors(rig):
    """Who finds no descriptor is told so, or waits until somebody can be told: nobody is dropped."""
    server = rig.poor_server(256)
    came, told, kept = crowd(server, 160, "127.0.0.10")
    check(came >= 100 and len(told) >= 30, came, told)
    check(min(told) >= 5, told)
    check(metric(server, "upgrades_refused", "connection_limit") == len(told))
    go(kept)
    again = []
    wait_for("room", lambda: is_let_in(server, "127.0.0.10", again))
    go(again)
    return f"{came} let in, {len(told)} told to come back, 0 dropped"


def refused_go_soon(rig):
    """Who was refused and does not go keeps its place for a moment only."""
    server = server_of(rig, "refused-go", {"address_connection_limit": 1})
    kept = [come(server, "127.0.0.10") for _ in range(200)]
    check(sum(status == 101 for status, _, _ in kept) == 1)
    started = time.monotonic()
    wait_for("their places", lambda: connections_now(server) == 1, 5)
    took = time.monotonic() - started
    check(took < 2, took)
    go([connection for _, _, connection in kept])
    return f"199 refused connections were gone after {took:.2f} s"


def flood(port, source, stop):
    """Comes again and again, as fast as it can, until told to stop."""
    octets = upgrade("/connection/websocket")
    count = 0
    while not stop.is_set():
        with socket.socket() as connection:
            connection.settimeout(5)
            # No TIME_WAIT: the flood must not run out of ports.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            try:
                connection.bind((source, 0))
                connection.connect(("127.0.0.1", port))
                connection.sendall(octets)
                connection.recv(4096)
            except OSError:
                continue
            count += 1
    return count


def flooding(port, source, stop, counts):
    counts.put(flood(port, source, stop))


def flooded(rig):
    """A flood from one address: new clients of another one are let in, all of them, and soon."""
    limits = {"address_connection_limit": 20, "address_connection_rate": 50,
              "connection_rate_limit": 200}
    server = server_of(rig, "flooded", limits)
    quiet = visits(server, 1)
    stop, counts = multiprocessing.Event(), multiprocessing.Queue()
    floods = [multiprocessing.Process(target=flooding, args=(server.port, "127.0.0.66", stop, counts))
              for _ in range(FLOOD_PROCESSES)]
    before = server.resident_kib
    for process in floods:
        process.start()
    time.sleep(0.5)
    try:
        busy = visits(server, FLOOD_SECONDS)
    finally:
        stop.set()
        count = sum(counts.get(timeout=10) for _ in floods)
        for process in floods:
            process.join()
    refused = sum(metric(server, "upgrades_refused", label) for label in
                  ("address_connection_rate", "address_connection_limit"))
    check(metric(server, "upgrades_refused", "connection_rate_limit") == 0)
    check(refused > 1000, "this was no flood", refused, count)
    check(statistics.median(busy) < VISIT_MEDIAN_SECONDS_MAX, statistics.median(busy))
    check(max(busy) < VISIT_SECONDS_MAX, max(busy))
    grown = server.resident_kib - before
    check(grown < 16 * 1024, "memory grew", grown)
    return (f"{count / (FLOOD_SECONDS + 0.5):.0f} attempts/s, {len(busy)} visitors, median "
            f"{1000 * statistics.median(quiet):.1f} → {1000 * statistics.median(busy):.1f} ms, "
            f"at most {1000 * max(busy):.0f} ms")


def lingerers(rig):
    """One address keeps its refused connections open, and others that say nothing: the limit of the
    process counts neither, so that everybody else finds room."""
    server = server_of(rig, "lingerers", {"connection_limit": 20, "address_connection_limit": 1},
                       shards=1)
    kept = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
    try:
        crowd_of_one, stop = [], time.monotonic() + 2
        refused = visitors = 0
        while time.monotonic() < stop:
            status, _, connection = come(server, "127.0.0.66")
            crowd_of_one.append(connection)
            refused += status == 503
            status, _, connection = come(server, f"127.0.0.{100 + visitors % 100}")
            check(status == 101, "a visitor from elsewhere", visitors, status)
            connection.close()
            visitors += 1
            time.sleep(0.005)
        check(refused > 50, refused)
        check(metric(server, "upgrades_refused", "connection_limit") == 0)
    finally:
        for connection in [*kept, *crowd_of_one]:
            connection.close()
    return f"{refused} refused connections kept open, {visitors} visitors let in"


def visits(server, seconds):
    """How long each of a sequence of new clients waits for its session."""
    took = []
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        started = time.monotonic()
        status, _, connection = come(server, "127.0.0.67")
        check(status == 101, status)
        connection.sendall(frame(b'{"id":1,"connect":{}}', opcode=1))
        check(b'"connect"' in Reader(connection).frame()[1])
        took.append(time.monotonic() - started)
        connection.close()
        # Slower than the rate of an address.
        time.sleep(0.03)
    return took


def rows():
    yield "connections of an address, over shards", at_once
    yield "new connections of an address", pace_of_an_address
    yield "new connections of the process", pace_of_the_process
    yield "behind proxies their clients count", behind_proxies
    yield "prefixes", prefixes
    yield "a reload changes limits", reloaded
    yield "a full process", full
    yield "no descriptors left", no_descriptors
    yield "who is refused goes soon", refused_go_soon
    yield "a flood from one address", flooded
    yield "refused ones that stay take no room", lingerers
