"""Calls in tail position that shall be plain calls: a small change to the bytecode that our own compiler has made.

In Valkey `server.call` is a C function, and Lua makes no tail calls to C functions: the line of `return
server.call(...)` can be named in an error. Here these functions are Lua closures, whose tail call would take the
caller's frame away. So in each chunk that was compiled from source the instruction OP_TAILCALL becomes OP_CALL where
the function called is a field or a global with the name of such a closure; the OP_RETURN behind it returns all results
either way.

The format is that of Lua 5.1's string.dump on a 64 bit little-endian machine (lundump.c, lopcodes.h).
"""

from typing import Final

from mypy_extensions import i64

_HEADER: Final = b"\x1bLua\x51\x00\x01\x04\x08\x04\x08\x00"
_GETGLOBAL: Final = 5
_GETTABLE: Final = 6
_CALL: Final = 28
_TAILCALL: Final = 29
# instructions that write register A, up to OP_CALL: moves, loads, gets, new tables, arithmetic, tests that set
_WRITES: Final = frozenset([0, 1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 27, 28])
_NIL: Final = 0
_BOOLEAN: Final = 1
_NUMBER: Final = 3

_NAMES: Final = frozenset([
    b"acl_check_cmd", b"band", b"bnot", b"bor", b"bswap", b"bxor", b"arshift", b"rshift", b"lshift", b"rol", b"ror",
    b"tobit", b"tohex", b"call", b"create", b"decode", b"decode_invalid_numbers", b"decode_max_depth", b"dump",
    b"encode",
    b"encode_invalid_numbers", b"encode_keep_buffer", b"encode_max_depth", b"encode_number_precision",
    b"encode_sparse_array", b"error_reply", b"foreach", b"getmetatable", b"insert", b"load", b"loadstring", b"log",
    b"new", b"next", b"pack", b"pairs", b"pcall", b"random", b"randomseed", b"rawget", b"rawset", b"register_function",
    b"remove", b"replicate_commands", b"set_repl", b"setmetatable", b"setresp", b"sha1hex", b"size", b"sort",
    b"unpack", b"unpack_limit", b"unpack_one", b"wrap", b"xpcall",
])  # fmt: skip


class _Chunk:
    """A chunk while it is walked through; `code` is what is changed."""

    def __init__(self, code: bytearray) -> None:
        self.code = code
        self.at: i64 = len(_HEADER)

    def number(self, size: i64) -> i64:
        found = int.from_bytes(self.code[self.at : self.at + size], "little")
        self.at += size
        return found

    def text(self) -> bytes:
        size = self.number(8)
        found = bytes(self.code[self.at : self.at + size])
        self.at += size
        return found[:-1]

    def constants(self) -> list[bytes]:
        """The constants of a function; those that are no strings are empty."""
        found: list[bytes] = []
        for _ in range(self.number(4)):
            kind = self.number(1)
            if kind == _BOOLEAN:
                self.at += 1
            elif kind == _NUMBER:
                self.at += 8
            found.append(self.text() if kind > _NUMBER else b"")
        return found

    def function(self) -> None:
        """Walk through a function, and those inside it."""
        self.text()
        self.at += 12
        count = self.number(4)
        start = self.at
        self.at += 4 * count
        constants = self.constants()
        for pc in range(count):
            if self._word(start, pc) & 63 == _TAILCALL and self._callee(start, pc, constants) in _NAMES:
                self.code[start + 4 * pc] = self.code[start + 4 * pc] & 0xC0 | _CALL
        for _ in range(self.number(4)):
            self.function()
        lines = self.number(4)  # on its own: `+=` reads self.at before its right side moves it
        self.at += 4 * lines
        for _ in range(self.number(4)):
            self.text()
            self.at += 8
        for _ in range(self.number(4)):
            self.text()

    def _word(self, start: i64, pc: i64) -> i64:
        place = start + 4 * pc
        return int.from_bytes(self.code[place : place + 4], "little")

    def _callee(self, start: i64, pc: i64, constants: list[bytes]) -> bytes:
        """The name under which the function of the call at `pc` was loaded, empty when it has none."""
        register: i64 = self._word(start, pc) >> 6 & 255
        while pc > 0:
            pc -= 1
            word = self._word(start, pc)
            operation = word & 63
            if operation not in _WRITES or word >> 6 & 255 != register:
                continue
            if operation == _GETGLOBAL:
                return constants[word >> 14]
            key = word >> 14 & 511
            if operation == _GETTABLE and key >= 256:
                return constants[key - 256]
            return b""
        return b""


def keep_callers(dumped: bytes) -> bytes | None:
    """The chunk with the tail calls of our closures made plain; None when the format is another one."""
    if not dumped.startswith(_HEADER):
        return None
    chunk = _Chunk(bytearray(dumped))
    chunk.function()
    return bytes(chunk.code)
