"""The manifest of an append-only file: which files, in which order, hold the data.

A line a file: `file NAME seq NUMBER type b|i|h`: the base (at most one), the files appended to since (in order), and
those that a rewrite has replaced and that are to be removed. Format of Redis 7 and Valkey; words that are not known
are skipped in pairs, `#` begins a comment.
"""

from dataclasses import dataclass, replace
from typing import Final

from cluster.resp.inline import split_words

LINE_MAX: Final = 1024
SIZE_MAX: Final = 1 << 20  # bytes; a manifest has two lines, seldom a few more
BASE: Final = "b"
INCREMENT: Final = "i"
HISTORY: Final = "h"


class ManifestError(Exception):
    """No sound manifest; `line` is the number of the line that is wrong, from 1 (0: the whole)."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.line = line
        self.reason = reason


@dataclass(frozen=True)
class Part:
    """One file of the set."""

    name: str
    seq: int
    kind: str


@dataclass(frozen=True)
class Manifest:
    """The set of files; a change gives a new one."""

    base: Part | None = None
    increments: tuple[Part, ...] = ()
    history: tuple[Part, ...] = ()
    base_seq: int = 0  # the highest ever used
    increment_seq: int = 0

    def files(self) -> tuple[Part, ...]:
        """What is to be loaded, in order."""
        return (self.base, *self.increments) if self.base else self.increments

    def with_increment(self, name: str) -> "Manifest":
        """One more file to append to."""
        part = Part(name, self.increment_seq + 1, INCREMENT)
        return replace(self, increments=(*self.increments, part), increment_seq=part.seq)

    def with_base(self, name: str, kept: int) -> "Manifest":
        """A new base, which takes the place of all but the last `kept` of the files appended to."""
        past = self.increments[: len(self.increments) - kept]
        old = (self.base, *past) if self.base else past
        gone = tuple(replace(part, kind=HISTORY) for part in old)
        part = Part(name, self.base_seq + 1, BASE)
        return replace(
            self,
            base=part,
            base_seq=part.seq,
            increments=self.increments[len(past) :],
            history=(*self.history, *gone),
        )

    def without_history(self) -> "Manifest":
        """What was replaced is removed."""
        return replace(self, history=())

    def text(self) -> bytes:
        """The manifest as it stands on disk."""
        parts = (*([self.base] if self.base else []), *self.history, *self.increments)
        return "".join(f"file {_quoted(p.name)} seq {p.seq} type {p.kind}\n" for p in parts).encode(
            "utf-8", "surrogateescape"
        )


def _quoted(name: str) -> str:
    """A name as one word."""
    if all(" " < c < "\x7f" and c not in "\"'\\" for c in name):
        return name
    raw = name.encode("utf-8", "surrogateescape")
    plain = [chr(c) if 32 <= c < 127 and c not in b'"\\' else f"\\x{c:02x}" for c in raw]
    return f'"{"".join(plain)}"'


def parse(data: bytes) -> Manifest:
    """Read a manifest. Raises ManifestError."""
    if len(data) > SIZE_MAX:
        raise ManifestError(0, f"longer than {SIZE_MAX} bytes")
    found = Manifest()
    lines = data.split(b"\n")
    if lines[-1] != b"":
        raise ManifestError(len(lines), "the last line has no end")
    for number, line in enumerate(lines[:-1], 1):
        if len(line) >= LINE_MAX:
            raise ManifestError(number, f"longer than {LINE_MAX} bytes")
        if line.startswith(b"#"):
            continue
        found = _add(found, number, _part(number, line))
    if not found.base and not found.increments and not found.history:
        raise ManifestError(0, "it names no file")
    return found


def _part(number: int, line: bytes) -> Part:
    words = split_words(line.strip(b" \r\t"))
    if words is None or len(words) < 6 or len(words) % 2:
        raise ManifestError(number, "no pairs of words")
    pairs = {key.lower(): value for key, value in zip(words[::2], words[1::2], strict=True)}
    name = pairs.get(b"file", b"").decode("utf-8", "surrogateescape")
    seq = pairs.get(b"seq", b"")
    kind = pairs.get(b"type", b"").decode("latin-1")
    if not name or kind not in (BASE, INCREMENT, HISTORY) or not seq.isdigit() or len(seq) > 18 or int(seq) < 1:
        raise ManifestError(number, "no file with its number and type")
    if "/" in name or "\\" in name or "\0" in name or name in (".", ".."):
        raise ManifestError(number, "a file may not be a path")
    return Part(name, int(seq), kind)


def _add(found: Manifest, number: int, part: Part) -> Manifest:
    if part.kind == HISTORY:
        return replace(found, history=(*found.history, part))
    if part.kind == BASE:
        if found.base:
            raise ManifestError(number, "a second base")
        return replace(found, base=part, base_seq=max(found.base_seq, part.seq))
    if part.seq <= found.increment_seq:
        raise ManifestError(number, "numbers that do not ascend")
    return replace(found, increments=(*found.increments, part), increment_seq=part.seq)
