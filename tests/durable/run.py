#!/usr/bin/env python3
"""Goal: no power cut and no failing disk takes what was acknowledged, and whatever is not durable does
not notice.

Method: the real binary on an ext4 in a loop device. A power cut is a copy of the device while the server
is stopped, mounted in its place: what the kernel had only in memory is not in it. Then a full disk, a
device that fails (every operation EIO) and a disk that is silent for eight seconds.

Mounting needs root. Who may not mount is told so and gets exit code 0, because no change of the program
could help; RINGWAY_MUST_MOUNT=1 makes it a failure, for machines that are known to be allowed to.
Run: python3 tests/durable/run.py [power-cuts|full|broken|silent]
"""

import os
import pathlib
import statistics
import sys
import tempfile
import time

from disk import Api, Disk, MayNotMount, Server, Writers, compare, remove

CUTS = 20
LOG_ERROR = 100
CHANNELS = ["log:a", "log:b", "store:c"]
SILENT_SECONDS = 8
PORT = 21_340


def p99_ms(times):
    return sorted(times)[int(len(times) * 0.99)] * 1000


def usual_p99_ms(times):
    """Of each hundred, in the median: what the machine itself does to some of them is not asked."""
    return statistics.median(p99_ms(times[at:at + 100]) for at in range(0, len(times), 100))


def timed(api, channel, data):
    began = time.monotonic()
    answer = api.publish(channel, data)
    return time.monotonic() - began, answer


def plain_times(port, count=300):
    api = Api(port)
    took = [timed(api, "plain:x", "x") for _ in range(count)]
    assert all("result" in answer for _, answer in took), "a channel that is not durable goes on"
    return [seconds for seconds, _ in took]


def power_cuts(folder):
    """20 power cuts lose nothing acknowledged."""
    disk = Disk.made(folder / "disk-0", folder / "mounted", 256)
    acknowledged, epochs, lost, forgotten = {}, {}, 0, 0
    try:
        for cut in range(1, CUTS + 1):
            server = Server(disk.folder / "data", PORT)
            writers = Writers(PORT, CHANNELS, name=f"cut{cut}")
            time.sleep(0.4 + cut * 37 % 200 / 1000)
            probe = disk.folder / f"not-synced-{cut}"
            probe.write_text("x")
            server.stop()
            kept = {channel: dict(all_) for channel, all_ in writers.acknowledged.items()}
            image = folder / f"disk-{cut}"
            disk.copy(image)
            server.kill()
            writers.end()
            disk.unmount()
            os.unlink(disk.image)
            disk = Disk(image, folder / "mounted")
            disk.mount()
            forgotten += not probe.exists() or probe.read_text() != "x"
            server = Server(disk.folder / "data", PORT)
            lost += compare(PORT, kept, epochs)
            for channel, places in acknowledged.items():
                history = dict(Api(PORT).history(channel)[0])
                lost += sum(history.get(offset) != data for offset, data in places.items())
            for channel, places in kept.items():
                places_before = acknowledged.setdefault(channel, {})
                places_before.update({offset: data for data, offset in places.items()})
            server.kill()
    finally:
        disk.unmount()
    count = sum(map(len, acknowledged.values()))
    assert lost == 0, f"{lost} of {count} acknowledged publications were lost"
    assert count > 10 * CUTS, "the writers wrote"
    assert forgotten > CUTS / 2, "a cut takes what was not synced"
    return f"{CUTS} power cuts, {count} acknowledged, 0 lost"


def full(folder):
    """A full disk refuses durable publications for a while, and nothing else."""
    disk = Disk.made(folder / "disk", folder / "mounted", 96)
    try:
        server = Server(disk.folder / "data", PORT, segment_bytes=1 << 20)
        api = Api(PORT)
        assert "result" in api.publish("log:a", "0-0"), "there is space"
        filler = disk.fill()
        accepted, refused = {"0-0": 1}, None
        for number in range(1, 5000):
            answer = api.publish("log:a", f"0-{number}")
            if number > 1:
                answer = api.publish("log:b", "x" * 30_000)
            if "error" in answer:
                refused = answer["error"]["code"]
                break
        assert refused == LOG_ERROR, f"refused with {refused}"
        again = api.publish("log:a", "1-0")
        plain = p99_ms(plain_times(PORT))
        os.unlink(filler)
        began = time.monotonic()
        while "error" in api.publish("log:b", "y"):
            assert time.monotonic() - began < 30, "it recovers by itself"
            time.sleep(0.05)
        recovered = time.monotonic() - began
        history, _ = api.history("log:a")
        assert [offset for offset, _ in history] == list(range(1, len(history) + 1))
        assert dict((d, o) for o, d in history)["0-0"] == accepted["0-0"]
        server.kill()
        server = Server(disk.folder / "data", PORT, segment_bytes=1 << 20)
        assert Api(PORT).history("log:a")[0] == history, "the same after a restart"
        server.kill()
        said = "refused" if "error" in again else "taken"
        return (f"full disk: refused with {refused} (next: {said}), others go on with p99 "
                f"{plain:.1f} ms, back {recovered:.1f} s after space came")
    finally:
        disk.unmount()


def broken(folder):
    """A device that fails acknowledges nothing more, and what was acknowledged is still there."""
    disk = Disk.made(folder / "disk", folder / "mounted", 256)
    try:
        server = Server(disk.folder / "data", PORT)
        writers = Writers(PORT, CHANNELS)
        time.sleep(1)
        disk.break_down()
        time.sleep(0.3)
        before = writers.count()
        time.sleep(1)
        after = writers.count()
        answer = Api(PORT).publish("log:a", "1-x")
        assert answer.get("error", {}).get("code") == LOG_ERROR, answer
        plain = p99_ms(plain_times(PORT))
        writers.end()
        assert after == before, f"{after - before} acknowledged on a dead device"
        server.kill()
        disk.unmount()
        disk.mount()
        server = Server(disk.folder / "data", PORT)
        lost = compare(PORT, writers.acknowledged, {})
        server.kill()
        assert lost == 0, f"{lost} acknowledged were lost"
        return (f"device fails: {before} acknowledged before, 0 after, error {LOG_ERROR}, others go on "
                f"with p99 {plain:.1f} ms, 0 lost after repair")
    finally:
        disk.unmount()


def silent(folder):
    """A silent disk holds up only what waits for it, and that not for ever."""
    disk = Disk.made(folder / "disk", folder / "mounted", 256)
    server = Server(disk.folder / "data", PORT)
    try:
        api = Api(PORT)
        assert "result" in api.publish("log:a", "0-0")
        quiet = usual_p99_ms(plain_times(PORT, 1000))
        disk.freeze()
        began = time.monotonic()
        try:
            waited, answer = timed(api, "log:a", "0-1")
            assert answer.get("error", {}).get("code") == LOG_ERROR, answer
            times = plain_times(PORT, 1000)
            time.sleep(max(0, SILENT_SECONDS - (time.monotonic() - began)))
        finally:
            disk.thaw()
        back = time.monotonic()
        while "error" in api.publish("log:a", "0-2", key="0-2"):
            assert time.monotonic() - back < 10, "it comes back by itself"
        back = time.monotonic() - back
        history = [data for _, data in api.history("log:a")[0]]
        assert history in (["0-0", "0-1", "0-2"], ["0-0", "0-2"]), history
        assert 4.5 < waited < 6.5, f"the answer came after {waited:.1f} s"
        beside, most = usual_p99_ms(times), max(times)
        # Who waits for the disk waits for more than twice as long.
        assert most < 2, f"one of the others took {most:.2f} s"
        assert beside < quiet * 3 + 5, f"p99 of others {beside:.1f} ms, {quiet:.1f} ms before"
        server.kill()
        return (f"silent disk: answered {LOG_ERROR} after {waited:.1f} s, others' p99 of a hundred {beside:.1f} ms "
                f"({quiet:.1f} ms before), back in {back:.2f} s")
    finally:
        server.kill()
        disk.unmount()


TESTS = {"power-cuts": power_cuts, "full": full, "broken": broken, "silent": silent}


def main():
    wanted = sys.argv[1:] or list(TESTS)
    passed = failed = 0
    for name in wanted:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="ringway-durable-"))
        try:
            print(f"ok: {TESTS[name](folder)}", flush=True)
            passed += 1
        except MayNotMount as error:
            print(f"NOT RUN: {name}: this environment may not mount: {error}", flush=True)
            failed += os.environ.get("RINGWAY_MUST_MOUNT") == "1"
        except AssertionError as error:
            print(f"FAILED: {name}: {error}", flush=True)
            failed += 1
        finally:
            remove(folder)
    print(f"{passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
