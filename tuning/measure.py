#!/usr/bin/env python3
"""What a few settings do on this machine, in a network namespace of its own: `sudo tuning/measure.py`.

Prints one line for each value of each setting; docs/TUNING.md and the effects that `ringway tune check`
names quote them. Nothing outside of the namespace is changed.
"""

import ctypes
import os
import resource
import select
import socket
import struct
import sys
import time

CLONE_NEWNET = 0x40000000
IP_BIND_ADDRESS_NO_PORT = 24
LATE_SECONDS = 0.5
CLIENTS = 6000
IDLE = 5000
TCP_INFO_CWND = 80


def own_namespace():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        sys.exit("a network namespace cannot be made: run this as root")
    # SIOCGIFFLAGS and SIOCSIFFLAGS: loopback goes up.
    import fcntl

    with socket.socket() as made:
        flags = struct.unpack("16sh", fcntl.ioctl(made, 0x8913, struct.pack("16sh", b"lo", 0)))[1]
        fcntl.ioctl(made, 0x8914, struct.pack("16sh", b"lo", flags | 1))


def sysctl(name, value):
    with open("/proc/sys/" + name.replace(".", "/"), "w") as file:
        file.write(str(value))


def counter(name):
    lines = [line.split() for line in open("/proc/net/netstat") if line.startswith("TcpExt:")]
    return int(lines[1][lines[0].index(name)])


def listener(backlog):
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.listen(backlog)
    return made


def crowd(address, count):
    clients = []
    for number in range(count):
        made = socket.socket()
        made.setblocking(False)
        # Source addresses of their own, so that ports last; the port is found by connect.
        made.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        made.bind((f"127.0.1.{number // 2000 + 1}", 0))
        made.connect_ex(address)
        clients.append(made)
    return clients


def backlog(limit):
    """A server that is busy for a while, as with a storm, and clients that all come meanwhile."""
    sysctl("net.core.somaxconn", limit)
    before = counter("ListenOverflows")
    server = listener(16384)
    clients = crowd(server.getsockname(), CLIENTS)
    begun = time.monotonic()
    time.sleep(LATE_SECONDS)
    server.setblocking(False)
    accepted, last, late = [], begun, 0
    while len(accepted) < CLIENTS and time.monotonic() - begun < 30:
        select.select([server], [], [], 0.5)
        while True:
            try:
                accepted.append(server.accept()[0])
            except BlockingIOError:
                break
            last = time.monotonic()
            late += last - begun > LATE_SECONDS + 0.3
    overflows = counter("ListenOverflows") - before
    print(
        f"somaxconn {limit}: {CLIENTS} clients while the server is busy for {LATE_SECONDS} s: "
        f"{overflows} overflows, {late} in more than 0.3 s after it, the last after "
        f"{last - begun - LATE_SECONDS:.2f} s, {len(accepted)} in all"
    )
    for made in [*clients, *accepted, server]:
        made.close()


def idle_buffers(default):
    sysctl("net.ipv4.tcp_rmem", f"4096 {default} 33554432")
    server = listener(16384)
    before = pages()
    clients = crowd(server.getsockname(), IDLE)
    accepted = [server.accept()[0] for _ in range(IDLE)]
    for made in accepted:
        made.sendall(b"x" * 100)
    for made in clients:
        made.setblocking(True)
        made.recv(200)
    time.sleep(1)
    print(
        f"tcp_rmem default {default}: {2 * IDLE} idle sockets that have spoken hold "
        f"{pages() - before} pages of buffers"
    )
    for made in [*clients, *accepted, server]:
        made.close()


def pages():
    line = next(line for line in open("/proc/net/sockstat") if line.startswith("TCP:")).split()
    return int(line[line.index("mem") + 1])


def slow_start(control, value):
    sysctl("net.ipv4.tcp_slow_start_after_idle", value)
    server = listener(1)
    client = socket.create_connection(server.getsockname())
    made = server.accept()[0]
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, control.encode())
    made.setblocking(False)
    for _ in range(50):
        sent = 0
        while True:
            try:
                sent += made.send(b"x" * 65536)
            except BlockingIOError:
                break
        while sent:
            sent -= len(client.recv(sent))
    made.setblocking(True)
    busy = window(made)
    time.sleep(5)
    made.sendall(b"x")
    after = window(made)
    print(
        f"tcp_slow_start_after_idle {value}, {control}: a window of {busy} segments is {after} "
        "after 5 s of silence"
    )
    for one in (client, made, server):
        one.close()


def window(made):
    info = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return struct.unpack_from("I", info, TCP_INFO_CWND)[0]


def main():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < 2 * CLIENTS + 100:
        sys.exit(f"{2 * CLIENTS + 100} files are needed, and the hard limit is {hard}")
    own_namespace()
    print(f"Linux {os.uname().release}")
    for limit in (1024, 4096, 16384):
        backlog(limit)
    for default in (4096, 131072):
        idle_buffers(default)
    for control in ("reno", "bbr"):
        for value in (1, 0):
            slow_start(control, value)


if __name__ == "__main__":
    main()
