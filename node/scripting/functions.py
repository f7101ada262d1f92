"""A library of functions and its functions, as values."""

from typing import final

from mypy_extensions import i64

from node.scripting.shebang import FLAGS


@final
class Function:
    """One function of a library."""

    name: bytes
    callback: object
    description: bytes | None
    flags: i64
    flag_names: list[bytes]

    def __init__(self, name: bytes, callback: object, description: bytes | None, flag_names: list[bytes]) -> None:
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
