"""Which arguments of a command are secrets: MONITOR and the command log show `(redacted)` in their place."""

from typing import Final

from mypy_extensions import i64

_HIDDEN: Final = b"(redacted)"
_SECRET_OPTIONS: Final = frozenset([b"requirepass", b"primaryauth", b"masterauth", b"primaryuser", b"masteruser",
                                    b"tls-key-file-pass", b"tls-client-key-file-pass"])  # fmt: skip
_NAMES: Final = frozenset([b"auth", b"hello", b"acl|setuser", b"config|set", b"migrate"])


def redacted(name: bytes, args: list[bytes]) -> list[bytes]:
    """The arguments of the command `name` (`client|list`) as others may see them: the same list when none is secret."""
    if name not in _NAMES:
        return args
    shown = args.copy()
    if name == b"auth":
        _hide(shown, 1, len(args))
    elif name == b"acl|setuser":
        _hide(shown, 2, len(args))
    elif name == b"config|set":
        for i in range(2, len(args) - 1, 2):
            if args[i].lower() in _SECRET_OPTIONS:
                _hide(shown, i + 1, i + 2)
    else:
        _hide_credentials(shown, 2 if name == b"hello" else 6)
    return shown


def _hide(shown: list[bytes], start: i64, stop: i64) -> None:
    i = start
    while i < stop and i < len(shown):
        shown[i] = _HIDDEN
        i += 1


def _hide_credentials(shown: list[bytes], start: i64) -> None:
    """Of HELLO and MIGRATE: what follows AUTH (name and password in HELLO, a password in MIGRATE) and AUTH2."""
    hello = start == 2
    i = start
    while i < len(shown):
        word = shown[i].lower()
        if word == b"keys" and not hello:  # what follows are keys, whatever they are called
            return
        if word == b"setname" and hello:
            i += 1
        elif word == b"auth":
            _hide(shown, i + 1, i + (3 if hello else 2))
            i += 2 if hello else 1
        elif word == b"auth2" and not hello:
            _hide(shown, i + 1, i + 3)
            i += 2
        i += 1
