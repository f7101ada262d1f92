"""Tail calls that keep their frame, so that errors name the line of a script that ends with `return server.call(...)`.

Genuine Valkey's functions are C functions, and a C function called in tail position leaves its caller's frame in place.
Ours are Lua functions; a true tail call to one of them would take away the frame whose line every error text names. So
compiled scripts are changed before they run: OP_TAILCALL becomes OP_CALL, the same but for the frame, where the
callee may be a function of a library (a global, a field of a table) and everywhere in a main chunk. Tail calls of local
functions stay what they are: scripts may loop by them without end.

Bytecode format: Lua 5.1 (lundump.c, lopcodes.h). Only bytecode that string.dump has just made comes here; nothing from
outside does.
"""

import struct
from typing import Final

HEADER_BYTES: Final = 12
OP_GETGLOBAL: Final = 5
OP_GETTABLE: Final = 6
OP_CALL: Final = 28
OP_TAILCALL: Final = 29
NIL: Final = 0
BOOLEAN: Final = 1
NUMBER: Final = 3


class _Patcher:
    """A walk over one dumped chunk that changes instructions in place."""

    def __init__(self, dumped: bytes) -> None:
        self.code = bytearray(dumped)
        self.at = HEADER_BYTES

    def integer(self) -> int:
        """An int of 4 bytes."""
        self.at += 4
        return int.from_bytes(self.code[self.at - 4 : self.at], "little")

    def string(self) -> None:
        """Skip a string: a size_t that counts its NUL, and the bytes."""
        size = int.from_bytes(self.code[self.at : self.at + 8], "little")
        self.at += 8 + size

    def function(self, main: bool) -> None:
        """Change one function and those inside it."""
        self.string()
        self.at += 12  # lines, counts
        size = self.integer()
        self.instructions(self.at, size, main)
        self.at += 4 * size
        self.constants()
        for _ in range(self.integer()):
            self.function(False)
        self.debug()

    def instructions(self, start: int, size: int, main: bool) -> None:
        """Turn the tail calls of one function into calls."""
        words = list(struct.unpack_from(f"<{size}I", self.code, start))
        for i, word in enumerate(words):
            if word & 0x3F == OP_TAILCALL and (main or self.names_library(words, i)):
                struct.pack_into("<I", self.code, start + 4 * i, word & ~0x3F | OP_CALL)

    def names_library(self, words: list[int], call: int) -> bool:
        """Whether the function that is called came from a global or a field: the last thing put in its register."""
        register = words[call] >> 6 & 0xFF
        for i in range(call - 1, -1, -1):
            if words[i] >> 6 & 0xFF == register:
                return words[i] & 0x3F in (OP_GETGLOBAL, OP_GETTABLE)
        return False

    def constants(self) -> None:
        """Skip the constants."""
        for _ in range(self.integer()):
            kind = self.code[self.at]
            self.at += 1
            if kind == BOOLEAN:
                self.at += 1
            elif kind == NUMBER:
                self.at += 8
            elif kind != NIL:
                self.string()

    def debug(self) -> None:
        """Skip lines and names."""
        lines = self.integer()
        self.at += 4 * lines
        for _ in range(self.integer()):
            self.string()
            self.at += 8
        for _ in range(self.integer()):
            self.string()


def keep_frames(dumped: bytes) -> bytes:
    """The chunk that string.dump gave, with library calls in tail position made plain calls."""
    patcher = _Patcher(dumped)
    patcher.function(True)
    return bytes(patcher.code)
