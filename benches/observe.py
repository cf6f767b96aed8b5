"""What a server says of itself, and what /proc says of it."""

import os
import pathlib
import urllib.request


def metrics(port, name):
    """Lines of a metric, or of all that begin so."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return [line for line in lines if line.startswith(f"ringway_{name}")]


def metric(port, name):
    """The sum of those lines."""
    return sum(float(line.rsplit(" ", 1)[1]) for line in metrics(port, name))


def cpu_seconds(pid):
    ticks = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
