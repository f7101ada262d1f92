"""A library of functions and its functions, as values; and what a script or function is to Lua."""

from collections.abc import Callable
from typing import Any, Final, final

from mypy_extensions import i64

from node.scripting.shebang import FLAGS

ENTRANCES_MOST: Final = 8  # counts of keys from here on have no entrance of their own


@final
class Code:
    """A Lua function that clients may run, with the entrances to it that the prelude has made: one for each number of
    keys and protocol, so that nothing but keys and arguments has to be handed over.
    """

    function: object
    entrances: list[Callable[..., Any] | None]  # by twice the number of keys, plus one for RESP3

    def __init__(self, function: object) -> None:
        self.function = function
        self.entrances = [None] * (2 * ENTRANCES_MOST)


@final
class Function:
    """One function of a library."""

    name: bytes
    callback: Code
    description: bytes | None
    flags: i64
    flag_names: list[bytes]

    def __init__(self, name: bytes, callback: Code, description: bytes | None, flag_names: list[bytes]) -> None:
        self.name = name
        self.callback = callback
        self.description = description
        self.flag_names = [flag for flag in FLAGS if flag in flag_names]
        self.flags = 0
        for flag in flag_names:
            self.flags |= FLAGS[flag]


@final
class Library:
    """One library: its code with the shebang, and its functions by name."""

    name: bytes
    code: bytes
    functions: dict[bytes, Function]

    def __init__(self, name: bytes, code: bytes) -> None:
        self.name = name
        self.code = code
        self.functions = {}
