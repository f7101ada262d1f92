"""Libraries of functions: FUNCTION LOAD, DELETE, DUMP and RESTORE over the runtime that holds them.

Library names are told apart by case, function names are not (as in Valkey). The payload of DUMP is, for each library,
the RDB opcode of functions and its code as an RDB string, with the footer that every DUMP payload has.
"""

from typing import Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64

from cluster.resp.inline import split_words
from node.errors import CommandError
from node.rdb.decode import function_codes
from node.rdb.encode import crc64, write_string
from node.rdb.opcodes import FUNCTION2, VERSION
from node.rdb.reader import PayloadError, RdbError
from node.scripting.functions import Function, Library
from node.scripting.vm import Vm

FLUSH: Final = 0
APPEND: Final = 1
REPLACE: Final = 2

_COST: Final = 300  # bytes of a library and its first function beside its code, roughly Valkey's

_LIBRARY_NAMES: Final = (
    b"ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one character long"
)
_FUNCTION_NAMES: Final = (
    b"ERR Function names can only contain letters, numbers, or underscores(_) and must be at least one character long"
)


@final
class Libraries:
    """All libraries of the node, and their functions by lower-case name."""

    libraries: dict[bytes, Library]
    functions: dict[bytes, Function]
    size: i64  # bytes of their codes and what keeps them

    def __init__(self) -> None:
        self.libraries = {}
        self.functions = {}
        self.size = 0

    def parse(self, vm: Vm, registered: list[Function], code: bytes, replace: bool) -> Library:
        """Compile a library and check what it has registered; nothing is changed yet. Raises CommandError."""
        name, rest = _metadata(code)
        if name in self.libraries and not replace:
            raise CommandError(b"ERR Library '" + name + b"' already exists")
        registered.clear()
        library = Library(name, code)
        problem, text = vm.load_library(rest)
        if problem == 1:
            raise CommandError(b"ERR Error compiling function: " + text)
        if problem == 2:
            raise CommandError(b"ERR Error registering functions: " + text)
        for function in registered:
            if not _is_name(function.name):
                raise CommandError(_FUNCTION_NAMES)
            if function.name in library.functions:
                raise CommandError(b"ERR Function already exists in the library")
            library.functions[function.name] = function
        registered.clear()
        if not library.functions:
            raise CommandError(b"ERR No functions registered")
        return library

    def add(self, library: Library) -> None:
        """Take a library in, in the place of the one of its name. Raises CommandError when one of its functions is
        another library's; then nothing has changed.
        """
        old = self.libraries.get(library.name)
        for name in library.functions:
            known = self.functions.get(name.lower())
            if known is not None and (old is None or known not in old.functions.values()):
                raise CommandError(b"ERR Function " + name + b" already exists")
        if old is not None:
            self.remove(old)
        self.libraries[library.name] = library
        self.size += len(library.code) + _COST
        for name, function in library.functions.items():
            self.functions.setdefault(name.lower(), function)

    def remove(self, library: Library) -> None:
        """Forget a library."""
        del self.libraries[library.name]
        self.size -= len(library.code) + _COST
        for name, function in library.functions.items():
            if self.functions.get(name.lower()) is function:
                del self.functions[name.lower()]

    def count(self) -> int:
        """How many functions there are."""
        return sum(len(library.functions) for library in self.libraries.values())

    def clear(self) -> None:
        """Forget all."""
        self.libraries = {}
        self.functions = {}
        self.size = 0

    def codes(self) -> list[bytes]:
        """The code of every library."""
        return [library.code for library in self.libraries.values()]

    def dump(self) -> bytes:
        """All libraries as a payload."""
        w = BytesWriter()
        for code in self.codes():
            w.append(FUNCTION2)
            write_string(w, code, True)
        w.write(VERSION.to_bytes(2, "little"))
        data = w.getvalue()
        return data + crc64(data).to_bytes(8, "little")

    def restore(self, vm: Vm, registered: list[Function], payload: bytes, policy: int) -> None:
        """Take in the libraries of a payload, all or none. Raises CommandError."""
        try:
            codes = function_codes(payload)
        except PayloadError:
            raise CommandError(b"ERR DUMP payload version or checksum are wrong") from None
        except RdbError:
            raise CommandError(b"ERR given type is not a function") from None
        fresh = Libraries()
        for code in codes:
            library = self.parse(vm, registered, code, True)
            if library.name in fresh.libraries:
                raise CommandError(b"ERR Library " + library.name + b" already exists")
            fresh.add(library)
        if policy == FLUSH:
            self.libraries, self.functions, self.size = fresh.libraries, fresh.functions, fresh.size
            return
        merged = Libraries()
        for library in self.libraries.values():
            if library.name not in fresh.libraries:
                merged.add(library)
            elif policy == APPEND:
                raise CommandError(b"ERR Library " + library.name + b" already exists")
        for library in fresh.libraries.values():
            merged.add(library)
        self.libraries, self.functions, self.size = merged.libraries, merged.functions, merged.size


def _is_name(name: bytes) -> bool:
    return len(name) > 0 and all(48 <= c <= 57 or 65 <= c <= 90 or 97 <= c <= 122 or c == 95 for c in name)


def _metadata(code: bytes) -> tuple[bytes, bytes]:
    """The name of a library, and its code with an empty first line. Raises CommandError."""
    if not code.startswith(b"#!"):
        raise CommandError(b"ERR Missing library metadata")
    end = code.find(b"\n")
    words = split_words(code[:end]) if end >= 0 else None
    if not words:
        raise CommandError(b"ERR Invalid library metadata")
    name: bytes | None = None
    for word in words[1:]:
        if word[:5].lower() != b"name=":
            raise CommandError(b"ERR Invalid metadata value given: " + word)
        if name is not None:
            raise CommandError(b"ERR Invalid metadata value, name argument was given multiple times")
        name = word[5:]
    if name is None:
        raise CommandError(b"ERR Library name was not given")
    if not _is_name(name):
        raise CommandError(_LIBRARY_NAMES)
    if words[0][2:].lower() != b"lua":
        raise CommandError(b"ERR Engine '" + words[0][2:] + b"' not found")
    return name, code[end:]
