"""Make a running program panic: one of its threads is made to call the program's own function that only panics.

The released program has no switch for this, and the panic must be real, with its hook, message and abort.
"""

import ctypes
import os
import re
import struct
import sys

ATTACH, DETACH, GETREGS, SETREGS = 16, 17, 12, 13
WALL = 0x40000000
# struct user_regs_struct of x86_64: 27 words.
ORIG_RAX, RIP, RSP = 15, 16, 19
# `alloc::raw_vec::capacity_overflow` takes no arguments and panics with "capacity overflow".
PANICS = re.compile(rb"raw_vec.*capacity_overflow")


def _address(program):
    """The function's address in the program's file, from its symbol table."""
    data = open(program, "rb").read()
    sections, = struct.unpack_from("<Q", data, 0x28)
    size, count, _ = struct.unpack_from("<HHH", data, 0x3A)
    heads = [struct.unpack_from("<IIQQQQIIQQ", data, sections + at * size) for at in range(count)]
    for head in heads:
        if head[1] != 2:  # SHT_SYMTAB
            continue
        names = heads[head[6]][4]
        for at in range(head[4], head[4] + head[5], 24):
            name, _, _, _, value, _ = struct.unpack_from("<IBBHQQ", data, at)
            start = names + name
            if value and PANICS.search(data[start:data.index(b"\0", start)]):
                return value
    raise RuntimeError(f"{program} has no function {PANICS.pattern.decode()}")


def panic(pid):
    """Make the process panic on its main thread."""
    program = os.path.realpath(f"/proc/{pid}/exe")
    with open(f"/proc/{pid}/maps") as maps:
        base = int(next(line for line in maps if line.rstrip().endswith(program)).split("-")[0], 16)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long

    def trace(request, data=None):
        if libc.ptrace(request, pid, None, data) == -1:
            raise OSError(ctypes.get_errno(), "ptrace")

    trace(ATTACH)
    os.waitpid(pid, WALL)
    registers = (ctypes.c_ulonglong * 27)()
    trace(GETREGS, ctypes.byref(registers))
    registers[RIP] = base + _address(program)
    registers[RSP] = (registers[RSP] - 4096 & ~0xF) - 8  # as after a call
    registers[ORIG_RAX] = 2**64 - 1  # do not restart an interrupted system call
    trace(SETREGS, ctypes.byref(registers))
    trace(DETACH)


if __name__ == "__main__":
    # In a separate process, because the panicking process's parent would take its stop for its end.
    panic(int(sys.argv[1]))
