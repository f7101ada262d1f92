"""What the SCAN commands share: the cursor, and the options MATCH, COUNT and those of one command alone."""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from node.errors import NOT_AN_INTEGER, SYNTAX, CommandError
from node.match import Glob
from node.numbers import format_int, is_int, to_int
from node.session import Session

_SPACE: Final = b" \t\n\v\f\r"
_U64: Final = 1 << 64


def parse_cursor(arg: bytes) -> i64:
    """A cursor as Valkey's strtoull takes it; raises CommandError. Cursors that no walk of ours gives out become -1."""
    if is_int(arg):
        value: i64 = to_int(arg)
        if value < 0:
            raise CommandError(b"ERR invalid cursor")
        return value
    digits = arg.partition(b"\0")[0].lstrip(_SPACE)
    sign = digits[:1]
    if sign in (b"+", b"-"):
        digits = digits[1:]
    if not digits.isdigit() or len(digits) > 4000:
        raise CommandError(b"ERR invalid cursor")
    number = int(digits)
    if number >= _U64:
        raise CommandError(b"ERR invalid cursor")
    if sign == b"-":
        number = -number % _U64
    return number if number < _U64 >> 1 else -1


@final
@mypyc_attr(acyclic=True)
class ScanOptions:
    """The options of one call. `flag` is whether the command's own word (NOVALUES, NOSCORES) was given."""

    count: i64
    glob: Glob | None  # None: everything matches
    flag: bool
    type_name: bytes | None  # of SCAN … TYPE

    def __init__(self, args: list[bytes], start: i64, word: bytes = b"", typed: bool = False) -> None:
        self.count = 10
        self.glob = None
        self.flag = False
        self.type_name = None
        i: i64 = start
        n: i64 = len(args)
        while i < n:
            name = args[i].lower()
            if name == b"count" and i + 1 < n:
                self.count = _positive(args[i + 1])
                i += 2
            elif name == b"match" and i + 1 < n:
                glob = Glob(args[i + 1])
                self.glob = None if glob.anything else glob
                i += 2
            elif typed and name == b"type" and i + 1 < n:
                self.type_name = args[i + 1].lower()
                i += 2
            elif word and name == word:
                self.flag = True
                i += 1
            elif name == b"novalues":
                raise CommandError(b"ERR NOVALUES option can only be used in HSCAN")
            elif name == b"noscores":
                raise CommandError(b"ERR NOSCORES option can only be used in ZSCAN")
            else:
                raise CommandError(SYNTAX)

    def keep(self, names: list[bytes]) -> list[bytes]:
        """Those of the names that match."""
        glob = self.glob
        if glob is None:
            return names
        kept: list[bytes] = []
        for name in names:
            if glob.matches(name):
                kept.append(name)
        return kept


def _positive(arg: bytes) -> i64:
    if not is_int(arg):
        raise CommandError(NOT_AN_INTEGER)
    value = to_int(arg)
    if value < 1:
        raise CommandError(SYNTAX)
    return value


def reply_scan(s: Session, cursor: i64, items: list[bytes]) -> None:
    """The reply of every SCAN command: the next cursor and an array."""
    s.reply.array(2)
    s.reply.bulk(format_int(cursor))
    s.reply.bulks(items)
