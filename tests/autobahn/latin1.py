"""What the converted cases use of other modules, for texts of Latin-1 characters."""

import binascii

from autobahn.websocket import utf8validator


def to_bytes(octets):
    return octets.encode("latin-1") if isinstance(octets, str) else octets


def to_text(octets):
    return bytes(octets).decode("latin-1")


def b2a_hex(octets):
    return binascii.b2a_hex(to_bytes(octets)).decode("ascii")


class Utf8Validator:
    """The library's validator."""

    def __init__(self):
        self.validator = utf8validator.Utf8Validator()

    def reset(self):
        self.validator.reset()

    def validate(self, octets):
        return self.validator.validate(to_bytes(octets))
