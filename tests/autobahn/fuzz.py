"""Drives the converted cases against one server and says how each ended. Started by run.py."""

import sys
import time

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol, connectWS
from autobahn.websocket.protocol import WebSocketProtocol
from twisted.internet import reactor

from latin1 import to_bytes, to_text

import cases
from cases.case import Case

CORE_COUNT = 247
# The client's own timers are rounded down to a whole second: its default of one second may end a
# closing handshake at once.
HANDSHAKE_SECONDS_MAX = 30
CASE_SECONDS_MAX = 150
GOOD = {Case.OK, Case.INFORMATIONAL}

# The suite compares pickles, which differ between equal texts if only one of them is there twice.
Case.compare = lambda self, one, other: one == other


class FuzzingProtocol(WebSocketClientProtocol):
    """The face that cases expect, with texts for octets; beneath it, the library."""

    def connectionMade(self):
        self.run_case = self.factory.case_class(self)
        self.connectionWasOpen = False
        self.createWirelog = False
        self.txFrameStats = {}
        self.rxFrameStats = {}
        super().connectionMade()

    def onOpen(self):
        self.connectionWasOpen = True
        self.run_case.onOpen()

    def onMessage(self, payload, isBinary):
        self.run_case.onMessage(to_text(payload), isBinary)

    def onPong(self, payload):
        self.run_case.onPong(to_text(payload))

    def onClose(self, wasClean, code, reason):
        self.run_case.onClose(wasClean, code, reason)

    def connectionLost(self, reason):
        super().connectionLost(reason)
        self.run_case.onConnectionLost(self.failedByMe)
        self.factory.ended(self.run_case, self.remoteCloseCode, self.wasNotCleanReason)

    def sendFrame(self, opcode, payload=b"", **options):
        super().sendFrame(opcode, payload=to_bytes(payload), **options)

    def sendMessage(self, payload, isBinary=False, **options):
        super().sendMessage(to_bytes(payload), isBinary, **options)

    def sendMessageFrameData(self, payload, sync=False):
        return super().sendMessageFrameData(to_bytes(payload), sync)

    def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
        super().sendCloseFrame(code, to_bytes(reasonUtf8), isReply)

    def logTxFrame(self, frameHeader, *_):
        count = self.txFrameStats.get(frameHeader.opcode, 0)
        self.txFrameStats[frameHeader.opcode] = count + 1

    def logRxFrame(self, frameHeader, _payload):
        count = self.rxFrameStats.get(frameHeader.opcode, 0)
        self.rxFrameStats[frameHeader.opcode] = count + 1

    def enableWirelog(self, enable):
        self.createWirelog = enable

    def continueLater(self, delay, function, tag=None):
        reactor.callLater(delay, self.if_open, function)

    def killAfter(self, delay):
        reactor.callLater(delay, self.if_open, self._fail_connection)

    def closeAfter(self, delay):
        reactor.callLater(delay, self.if_open, self.sendClose)

    def if_open(self, function):
        if self.state != WebSocketProtocol.STATE_CLOSED:
            function()


class FuzzingFactory(WebSocketClientFactory):
    """Runs one case after the other."""

    protocol = FuzzingProtocol

    def __init__(self, url, case_classes):
        super().__init__(url)
        self.setProtocolOptions(
            failByDrop=False,
            openHandshakeTimeout=HANDSHAKE_SECONDS_MAX,
            closeHandshakeTimeout=HANDSHAKE_SECONDS_MAX,
        )
        self.logFrames = True
        self.waiting = list(case_classes)
        self.failed = []
        self.count = 0
        self.next()

    def next(self):
        if not self.waiting:
            reactor.stop()
            return
        self.case_class = self.waiting.pop(0)
        self.started = time.monotonic()
        self.deadline = reactor.callLater(CASE_SECONDS_MAX, self.overdue)
        self.connection = connectWS(self)

    def overdue(self):
        self.failed.append(id_of(self.case_class))
        print(f"{id_of(self.case_class)}: not done after {CASE_SECONDS_MAX} s", flush=True)
        reactor.stop()

    def ended(self, case, code, how):
        self.count += 1
        name = id_of(self.case_class)
        seconds = time.monotonic() - self.started
        verdict = f"{name:10} {case.behavior:14} close {case.behaviorClose:14} {code}"
        print(f"{verdict} {seconds:.2f} s", flush=True)
        if case.behavior not in GOOD or case.behaviorClose not in GOOD:
            self.failed.append(name)
            print(f"           {case.result} {case.resultClose} {how or ''}")

    def clientConnectionLost(self, connector, reason):
        if self.deadline.active():
            self.deadline.cancel()
        if reactor.running:
            reactor.callLater(0, self.next)

    def clientConnectionFailed(self, connector, reason):
        self.failed.append(id_of(self.case_class))
        print(f"{id_of(self.case_class)}: no connection: {reason.getErrorMessage()}")
        reactor.stop()


def id_of(case_class):
    return case_class.__name__.removeprefix("Case").replace("_", ".")


def main():
    url, section, prefix = sys.argv[1:]
    is_wanted = (lambda name: name.split(".")[0] == "9") if section == "9" else (
        lambda name: name.split(".")[0] in {"1", "2", "3", "4", "5", "6", "7", "10"})
    chosen = [one for one in cases.Cases if is_wanted(id_of(one))]
    if section == "core" and len(chosen) != CORE_COUNT:
        sys.exit(f"{len(chosen)} core cases, not {CORE_COUNT}: the conversion lost some")
    if prefix:
        begins = f"{prefix}."
        chosen = [one for one in chosen if f"{id_of(one)}.".startswith(begins)]
    factory = FuzzingFactory(url, chosen)
    reactor.run()
    passed = factory.count - len([name for name in factory.failed])
    if factory.failed:
        print("failed:", ", ".join(factory.failed))
    print(f"{passed} passed, {len(factory.failed)} failed of {len(chosen)}")
    return 1 if factory.failed or factory.count != len(chosen) else 0


if __name__ == "__main__":
    sys.exit(main())
