"""Runs a program for which the system call io_uring_setup fails: an old kernel, or a container.

Usage: denied.py ERRNO PROGRAM [ARGUMENT …]. A seccomp filter in classic BPF answers the call with
that error number; everything else is allowed. It holds for the program that takes this one's place.
"""

import ctypes
import os
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # a word; to a constant; a constant
ALLOW, FAIL_WITH = 0x7FFF0000, 0x00050000
CALL_OFFSET, ARCHITECTURE_OFFSET = 0, 4  # in struct seccomp_data
IO_URING_SETUP = 425  # on every architecture that has the common table
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def filter_of(error_number):
    """If this is our architecture and the call is io_uring_setup: fail; else allow."""
    lines = [
        (LOAD, 0, 0, ARCHITECTURE_OFFSET),
        (JUMP_IF_EQUAL, 0, 3, ARCHITECTURES[platform.machine()]),
        (LOAD, 0, 0, CALL_OFFSET),
        (JUMP_IF_EQUAL, 0, 1, IO_URING_SETUP),
        (RETURN, 0, 0, FAIL_WITH | error_number),
        (RETURN, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *line) for line in lines), len(lines)


def deny(error_number):
    octets, count = filter_of(error_number)
    lines = ctypes.create_string_buffer(octets, len(octets))
    # struct sock_fprog: a count, padding, a pointer.
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", count, ctypes.addressof(lines)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    filter_at = ctypes.addressof(program)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        sys.exit(f"no_new_privs: {os.strerror(ctypes.get_errno())}")
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_at, 0, 0) != 0:
        sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    deny(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
