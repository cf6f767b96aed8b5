"""A small ext4 on a loop device, a server on it, and writers with a ledger."""

import fcntl
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

from ringway import binary  # noqa: E402

EXT4_IOC_SHUTDOWN = 0x8004587D
SHUTDOWN_WITHOUT_FLUSH = 2
START_SECONDS_MAX = 20


def sh(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.stdout.strip()


class MayNotMount(Exception):
    """This environment lets nobody mount a loop device."""


class Disk:
    """An ext4 in a file, mounted."""

    def __init__(self, image, folder):
        self.image, self.folder, self.device = pathlib.Path(image), pathlib.Path(folder), None

    @classmethod
    def made(cls, image, folder, megabytes):
        with open(image, "wb") as file:
            file.truncate(megabytes << 20)
        sh("mkfs.ext4", "-q", "-F", image)
        disk = cls(image, folder)
        try:
            disk.mount()
        except RuntimeError as error:
            # Only a lack of permission excuses; anything else is a failure.
            if os.geteuid() != 0 or "permi" in str(error).lower():
                raise MayNotMount(str(error)) from error
            raise
        return disk

    def mount(self):
        self.folder.mkdir(exist_ok=True)
        self.device = sh("losetup", "--find", "--show", self.image)
        try:
            sh("mount", self.device, self.folder)
        except RuntimeError:
            sh("losetup", "--detach", self.device)
            raise

    def unmount(self):
        if self.device is None:
            return
        sh("umount", self.folder)
        sh("losetup", "--detach", self.device)
        self.device = None

    def activity(self):
        name = pathlib.Path(self.device).name
        return pathlib.Path(f"/sys/block/{name}/stat").read_text().split()[4:9]

    def copy(self, image):
        """What a power cut would leave: all that the device was given, and nothing of what the
        kernel still has in memory. Taken while the device is at rest, or again."""
        while True:
            before = self.activity()
            sh("cp", "--sparse=always", self.image, image)
            if before == self.activity() and before[4] == "0":
                return

    def freeze(self):
        sh("fsfreeze", "--freeze", self.folder)

    def thaw(self):
        sh("fsfreeze", "--unfreeze", self.folder)

    def break_down(self):
        """From now on every operation fails, as after an error of the device."""
        folder = os.open(self.folder, os.O_RDONLY)
        fcntl.ioctl(folder, EXT4_IOC_SHUTDOWN, struct.pack("I", SHUTDOWN_WITHOUT_FLUSH))
        os.close(folder)

    def fill(self):
        """Leaves no space. Returns what to remove."""
        filler = self.folder / "filler"
        with open(filler, "wb") as file:
            size = 64 << 20
            end = 0
            while size >= 4096:
                try:
                    os.posix_fallocate(file.fileno(), end, size)
                    end += size
                except OSError:
                    size //= 2
        return filler


class Server:
    """The real binary on a data directory."""

    def __init__(self, data, port, segment_bytes=4 << 20):
        self.port = port
        spaces = [
            {"name": name, "durability": name, "history_size": 1000000, "history_ttl": "1h"}
            for name in ("log", "store")
        ]
        spaces.append({"name": "plain", "history_size": 10, "history_ttl": "60s"})
        config = {
            "client": {"insecure": True},
            "http_api": {"key": "key"},
            "http_server": {"address": "127.0.0.1", "port": port},
            "metrics": {"address": f"127.0.0.1:{port + 1}"},
            "persistence": {"data_dir": str(data), "segment_size": segment_bytes},
            "channel": {"namespaces": spaces},
            "log": {"level": "error"},
        }
        path = pathlib.Path(data).parent.parent / f"config-{port}.json"
        path.write_text(json.dumps(config))
        self.log = open(path.with_suffix(".log"), "ab")
        clean = {n: v for n, v in os.environ.items() if not n.startswith("RINGWAY_")}
        words = [binary(), "serve", "--config", str(path)]
        self.process = subprocess.Popen(words, env=clean, stdout=self.log, stderr=self.log)
        end = time.monotonic() + START_SECONDS_MAX
        while True:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended: {path.with_suffix('.log').read_text()}")
            try:
                if "result" in Api(port).call("info", {}):
                    return
            except (OSError, http.client.HTTPException, ValueError):
                pass
            assert time.monotonic() < end, "the server starts in time"
            time.sleep(0.02)

    def stop(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def metric(self, name):
        with socket.create_connection(("127.0.0.1", self.port + 1), 10) as connection:
            connection.sendall(b"GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n")
            text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        found = [line.split() for line in text.splitlines() if line.startswith(name)]
        return sum(float(line[-1]) for line in found)


class Api:
    """A connection of the API that stays open."""

    def __init__(self, port, timeout=15):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def call(self, method, body):
        words = {"X-API-Key": "key", "Content-Type": "application/json"}
        self.connection.request("POST", f"/api/{method}", json.dumps(body), words)
        return json.loads(self.connection.getresponse().read())

    def publish(self, channel, data, key=None):
        body = {"channel": channel, "data": data}
        if key:
            body["idempotency_key"] = key
        return self.call("publish", body)

    def history(self, channel):
        everything = []
        while True:
            since = {"offset": everything[-1][0] if everything else 0, "epoch": ""}
            answer = self.call("history", {"channel": channel, "limit": -1, "since": since})
            page = answer["result"].get("publications", [])
            if not page:
                return everything, answer["result"]["epoch"]
            everything += [(one["offset"], one["data"]) for one in page]


class Writers:
    """Threads that publish, each under keys or without, and what was acknowledged."""

    def __init__(self, port, channels, name="x", per_channel=3):
        self.name = name
        self.port, self.acknowledged, self.over = port, {one: {} for one in channels}, False
        self.threads = [
            threading.Thread(target=self.write, args=(channel, number), daemon=True)
            for channel in channels for number in range(per_channel)
        ]
        for thread in self.threads:
            thread.start()

    def write(self, channel, writer):
        number, api, is_keyed = 0, None, writer % 2 == 0
        while not self.over:
            data = f"{writer}-{self.name}-{number}"
            try:
                api = api or Api(self.port, timeout=3)
                answer = api.publish(channel, data, data if is_keyed else None)
            except (OSError, http.client.HTTPException, ValueError):
                api = None
                time.sleep(0.01)
                # What became of it is unknown: under a key it is said again.
                number += 0 if is_keyed else 1
                continue
            if "result" in answer:
                self.acknowledged[channel][data] = answer["result"]["offset"]
            if "result" in answer or not is_keyed:
                number += 1

    def end(self):
        self.over = True
        for thread in self.threads:
            thread.join()

    def count(self):
        return sum(map(len, self.acknowledged.values()))


def compare(port, acknowledged, epochs):
    """How many acknowledged publications are not where they were acknowledged."""
    lost = 0
    for channel, places in acknowledged.items():
        history, epoch = Api(port).history(channel)
        assert epochs.setdefault(channel, epoch) == epoch, f"{channel}: the epoch stays"
        offsets = [offset for offset, _ in history]
        assert offsets == list(range(1, len(offsets) + 1)), f"{channel}: history has no hole"
        found = {data: offset for offset, data in history}
        keyed = [data for _, data in history if int(data.split("-")[0]) % 2 == 0]
        assert len(keyed) == len(set(keyed)), f"{channel}: a key counts once"
        lost += sum(found.get(data) != offset for data, offset in list(places.items()))
    return lost


def remove(folder):
    shutil.rmtree(folder, ignore_errors=True)
