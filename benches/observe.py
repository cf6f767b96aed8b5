"""What a server says of itself, and what /proc says of it."""

import os
import pathlib
import urllib.request


def metrics(port):
    """Every metric with its labels, and its value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
    return {name.removeprefix("ringway_"): float(value) for name, value in pairs}


def metric(port, name):
    """The sum of all whose names begin so."""
    return sum(value for found, value in metrics(port).items() if found.startswith(name))


def cpu_seconds(pid):
    ticks = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
