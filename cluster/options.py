"""Options: one row each, values checked as Valkey checks them, with its error texts.

A process has one `Options`, made from its own rows (`node.settings.ROWS` and the like of sentinel and proxy) and
filled by `cluster.configfile` from a file and the command line. Values are kept in their canonical written form, as a
tuple of words, and read by kind: `flag`, `number`, `text`, `words`, `lines`. Whoever must act on a change registers
with `observe`.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from cluster.resp.inline import split_words

Words = tuple[bytes, ...]
Check = Callable[[Words, Words], Words]

I32_MAX: Final = 2**31 - 1
I64_MAX: Final = 2**63 - 1
_UNITS: Final[dict[bytes, int]] = {
    b"": 1,
    b"b": 1,
    b"k": 1000,
    b"kb": 1024,
    b"m": 1000**2,
    b"mb": 1024**2,
    b"g": 1000**3,
    b"gb": 1024**3,
}
_INTEGER: Final = re.compile(rb"0|-?[1-9][0-9]{0,18}")
_MEMORY: Final = re.compile(rb"([0-9]{0,20})([a-zA-Z]{0,2})")


class OptionError(Exception):
    """A value that an option cannot take: Valkey's `reason`, and the `name` of the option to blame as written."""

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(f"{name}: {reason}" if name else reason)
        self.reason = reason
        self.name = name


class UnknownOptionError(OptionError):
    """There is no option of this name."""


class Kind(Enum):
    """How the words of an option are read."""

    FLAG = auto()  # yes or no
    NUMBER = auto()
    OCTAL = auto()
    MEMORY = auto()  # bytes, with an optional unit: 100, 1kb, 2gb
    SHARE = auto()  # as MEMORY, or a percentage: 10%
    ENUM = auto()
    TEXT = auto()
    WORDS = auto()  # several words
    LINES = auto()  # every occurrence in the file adds a line of words


@dataclass(frozen=True, slots=True)
class Option:
    """One row: what an option is called, what it takes and who may change it.

    `low` and `high` bound a number or a size, and for WORDS and LINES the count of words. `check` gets the new and
    the old words and returns the canonical ones or raises OptionError. An `immutable` option is set at start only, a
    `protected` one by CONFIG SET only where enable-protected-configs allows it. A `hidden` one answers to its exact
    name, not to a pattern. Of one that `collects`, WORDS, each line of a file adds to those before it, until an empty
    one.
    """

    name: str
    kind: Kind
    default: str = ""
    low: int = 0
    high: int = I32_MAX
    choices: tuple[str, ...] = ()
    immutable: bool = False
    protected: bool = False
    hidden: bool = False
    sensitive: bool = False
    aliases: tuple[str, ...] = ()
    check: Check | None = None
    collects: bool = False


Observer = Callable[[frozenset[str]], None]


class Options:
    """The options of one process. Names may be in any case and aliases; unknown ones raise UnknownOptionError."""

    def __init__(self, rows: Iterable[Option]) -> None:
        self.path = ""
        self.rows: dict[str, Option] = {}
        self._names: dict[str, Option] = {}
        self._values: dict[str, Words] = {}
        self._defaults: dict[str, Words] = {}
        self._lines: dict[str, list[Words]] = {}
        self._observers: list[Observer] = []
        self._collected: set[str] = set()
        for row in rows:
            assert row.name not in self._names, row.name
            self.rows[row.name] = row
            for name in (row.name, *row.aliases):
                self._names[name] = row
            if row.kind is Kind.LINES:
                self._lines[row.name] = []
                continue
            words = split_words(row.default.encode()) if row.kind is Kind.WORDS else [row.default.encode()]
            assert words is not None, row.name
            value = canonical(row, tuple(words), ())
            self._values[row.name] = self._defaults[row.name] = value

    # --- reading
    def row(self, name: str) -> Option:
        """The row of a name or alias."""
        row = self._names.get(name.lower())
        if row is None:
            raise UnknownOptionError("Bad directive or wrong number of arguments", name)
        return row

    def words(self, name: str) -> Words:
        """The canonical words of any option but a LINES one."""
        return self._values[name]

    def lines(self, name: str) -> list[Words]:
        """The lines of a LINES option, in the order in which they were given."""
        return self._lines[name]

    def text(self, name: str) -> bytes:
        """The one word of an option, b"" when it has none."""
        value = self._values[name]
        return value[0] if value else b""

    def string(self, name: str) -> str:
        """As `text`, decoded; for paths, hosts and choices."""
        return self.text(name).decode("utf-8", "surrogateescape")

    def flag(self, name: str) -> bool:
        """Whether a FLAG is yes."""
        return self._values[name] == (b"yes",)

    def number(self, name: str) -> int:
        """A NUMBER, an OCTAL or bytes of a MEMORY; a percentage of a SHARE is negative (10% is -10)."""
        value = self._values[name][0]
        if value.endswith(b"%"):
            return -int(value[:-1])
        return int(value, 8) if self.rows[name].kind is Kind.OCTAL else int(value)

    def get(self, name: str) -> bytes:
        """What CONFIG GET answers for a name or alias."""
        row = self.row(name)
        if row.kind is Kind.LINES:
            return b"\n".join(b" ".join(quote(word) for word in line) for line in self._lines[row.name])
        return b" ".join(self._values[row.name])

    def match(self, patterns: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
        """Names and values for glob patterns in any case, each once, sorted by name; an exact name is answered as it
        was written.
        """
        found: dict[str, tuple[bytes, bytes]] = {}
        for pattern in patterns:
            if not any(c in pattern for c in b"[*?"):
                name = pattern.decode("utf-8", "replace").lower()
                if name in self._names and not _secret_lines(self._names[name]):
                    found.setdefault(name, (pattern, self.get(name)))
                continue
            wanted = glob(pattern)
            for name, row in self._names.items():
                if not row.hidden and wanted.fullmatch(name.encode()):
                    found.setdefault(name, (name.encode(), self.get(name)))
        return [found[name] for name in sorted(found)]

    def is_default(self, name: str) -> bool:
        """Whether an option has the value that it has without a file."""
        if self.rows[name].kind is Kind.LINES:
            return not self._lines[name]
        return self._values[name] == self._defaults[name]

    # --- changing
    def observe(self, observer: Observer) -> None:
        """Have `observer(names)` called after a change; when it raises OptionError the whole change is taken back."""
        self._observers.append(observer)

    def load(self, name: str, words: Words) -> None:
        """Take one directive of a file or the command line. Raises OptionError; observers are not called."""
        row = self.row(name)
        if row.kind is Kind.LINES:
            if not row.low <= len(words) <= row.high:
                raise OptionError("wrong number of arguments", name)
            self._lines[row.name].append(row.check(words, ()) if row.check is not None else words)
            return
        if row.collects and row.name in self._collected and words not in ((), (b"",)):
            words = (*self._values[row.name], *words)
        self._collected.add(row.name)
        self._values[row.name] = canonical(row, words, self._values[row.name])

    def put(self, name: str, words: Words) -> None:
        """Record a value that the process itself decided (a REPLICAOF, say), so that CONFIG GET and REWRITE know it."""
        self._values[self.row(name).name] = words

    def put_lines(self, name: str, lines: list[Words]) -> None:
        """Replace the lines of a LINES option by what the process itself decided."""
        self._lines[name] = lines

    def set_pairs(self, pairs: list[tuple[bytes, bytes]], may_set_protected: bool) -> frozenset[str]:
        """CONFIG SET: all pairs or none. Returns the names that changed; raises OptionError with Valkey's reason."""
        staged = self._stage(pairs, may_set_protected)
        before = dict(self._values)
        for row, written, words in staged:
            try:
                self._values[row.name] = canonical(row, words, self._values[row.name])
            except OptionError as error:
                self._values = before
                raise OptionError(error.reason, written.lower()) from None
        changed = frozenset(name for name, value in self._values.items() if value != before[name])
        if changed:
            self._apply(changed, before, staged[0][1])
        return changed

    def _stage(self, pairs: list[tuple[bytes, bytes]], may_set_protected: bool) -> list[tuple[Option, str, Words]]:
        """Look the names up and judge whether they may be set at all; the first that may not is to blame."""
        staged: list[tuple[Option, str, Words]] = []
        seen: set[str] = set()
        for name, value in pairs:
            written = name.decode("utf-8", "surrogateescape")
            row = self._names.get(written.lower())
            if row is None or _secret_lines(row):
                raise UnknownOptionError("unknown option", written)
            if row.immutable or row.kind is Kind.LINES:
                raise OptionError("can't set immutable config", written)
            if row.protected and not may_set_protected:
                raise OptionError("can't set protected config", written)
            if row.name in seen:
                raise OptionError("duplicate parameter", written)
            seen.add(row.name)
            words: list[bytes] | None = [value]
            if row.kind is Kind.WORDS:
                words = split_words(value)
            if words is None:
                raise OptionError("wrong number of arguments", written)
            staged.append((row, written, tuple(words)))
        return staged

    def _apply(self, changed: frozenset[str], before: dict[str, Words], blamed: str) -> None:
        """Tell the observers; when one objects, restore the old values and tell those that had already agreed."""
        told: list[Observer] = []
        try:
            for observer in self._observers:
                told.append(observer)
                observer(changed)
        except OptionError as error:
            self._values = before
            for observer in told:
                observer(changed)
            raise OptionError(error.reason, error.name or blamed) from None


def _secret_lines(row: Option) -> bool:
    """Whether CONFIG GET and SET do not know it: lines with secrets (`user`), which a command of their own shows."""
    return row.kind is Kind.LINES and row.sensitive


def canonical(row: Option, words: Words, old: Words) -> Words:
    """The canonical form of what was written, by the row's kind. Raises OptionError."""
    if row.kind is Kind.WORDS:
        if len(words) == 1 and b" " in words[0]:  # quoted as one: --replicaof "host port"
            words = tuple(split_words(words[0]) or ())
        if row.high < len(words) or len(words) < row.low:
            raise OptionError("wrong number of arguments")
        return row.check(words, old) if row.check is not None else words
    if len(words) != 1:
        raise OptionError("wrong number of arguments")
    value = _READERS[row.kind](row, words[0])
    return row.check((value,), old) if row.check is not None else (value,)


def _read_flag(row: Option, word: bytes) -> bytes:
    value = word.lower()
    if value not in (b"yes", b"no"):
        raise OptionError("argument must be 'yes' or 'no'")
    return value


def _read_number(row: Option, word: bytes) -> bytes:
    if _INTEGER.fullmatch(word) is None or not -I64_MAX - 1 <= int(word) <= I64_MAX:
        raise OptionError("argument couldn't be parsed into an integer")
    return _bounded(row, int(word))


def _read_octal(row: Option, word: bytes) -> bytes:
    if re.fullmatch(rb"[0-7]{1,10}", word) is None:
        raise OptionError("argument couldn't be parsed as an octal number")
    value = int(word, 8)
    if not row.low <= value <= row.high:
        raise OptionError(f"argument must be between {row.low:o} and {row.high:o} inclusive")
    return b"%o" % value


def _read_memory(row: Option, word: bytes) -> bytes:
    size = memory(word)
    if size is None:
        raise OptionError("argument must be a memory value")
    return _bounded(row, size)


def _read_share(row: Option, word: bytes) -> bytes:
    if word.endswith(b"%"):
        if _INTEGER.fullmatch(word[:-1]) is None or word.startswith(b"-"):
            raise OptionError("argument must be a memory or percent value")
        if int(word[:-1]) > 100:
            raise OptionError("percentage argument must be less or equal to 100")
        return word
    size = memory(word)
    if size is None:
        raise OptionError("argument must be a memory or percent value")
    return _bounded(row, size)


def _bounded(row: Option, value: int) -> bytes:
    if not row.low <= value <= row.high:
        raise OptionError(f"argument must be between {row.low} and {row.high} inclusive")
    return b"%d" % value


def _read_enum(row: Option, word: bytes) -> bytes:
    value = word.decode("utf-8", "replace").lower()
    if value not in row.choices:
        raise OptionError("argument(s) must be one of the following: " + ", ".join(row.choices))
    return value.encode()


def _read_text(row: Option, word: bytes) -> bytes:
    return word


_READERS: Final[dict[Kind, Callable[[Option, bytes], bytes]]] = {
    Kind.FLAG: _read_flag,
    Kind.NUMBER: _read_number,
    Kind.OCTAL: _read_octal,
    Kind.MEMORY: _read_memory,
    Kind.SHARE: _read_share,
    Kind.ENUM: _read_enum,
    Kind.TEXT: _read_text,
}


def memory(word: bytes) -> int | None:
    """Bytes of a size such as 100, 1k (1000), 1kb (1024), 2gb; None when it is none or does not fit 63 bits."""
    parsed = _MEMORY.fullmatch(word)
    if parsed is None:
        return None
    unit = _UNITS.get(parsed[2].lower())
    if unit is None:
        return None
    size = int(parsed[1] or b"0") * unit  # no digits are 0, as in Valkey
    return size if size <= I64_MAX else None


def quote(word: bytes) -> bytes:
    """A word in a form that `split_words` reads back: as it is when plain, else in double quotes."""
    if word and re.fullmatch(rb"[!-~]+", word) and not any(c in word for c in b"\"'\\#"):
        return word
    out = bytearray(b'"')
    for c in word:
        if c in b'"\\':
            out += b"\\%c" % c
        elif 32 <= c < 127:
            out.append(c)
        else:
            out += b"\\x%02x" % c
    return bytes(out + b'"')


def glob(pattern: bytes) -> re.Pattern[bytes]:
    r"""Compile a glob of Valkey's (`*`, `?`, `[a-z]`, `[^a]`, `\` escapes) for names in any case.

    What stands between two stars is matched where it first occurs and not tried again, so no pattern takes long.
    """
    pieces: list[bytes] = []
    out = bytearray()
    i = 0
    while i < len(pattern):
        c = pattern[i : i + 1]
        i += 1
        if c == b"*":
            pieces.append(bytes(out))
            out.clear()
        elif c == b"?":
            out += b"."
        elif c == b"[":
            end = pattern.find(b"]", i + 1)
            end = len(pattern) if end < 0 else end
            body = pattern[i:end]
            negated = body.startswith(b"^")
            out += b"[^" if negated else b"["
            out += re.sub(rb"([\[\]\\^&~|])", rb"\\\1", body[1:] if negated else body) + b"]"
            i = end + 1
        else:
            if c == b"\\" and i < len(pattern):
                c = pattern[i : i + 1]
                i += 1
            out += re.escape(c)
    middle = b"".join(b"(?>.*?" + piece + b")" for piece in pieces[1:] if piece)
    whole = pieces[0] + middle + b".*" + out if pieces else bytes(out)
    try:
        return re.compile(whole, re.IGNORECASE | re.DOTALL)
    except re.error:
        return re.compile(re.escape(pattern), re.IGNORECASE)
