"""Glob patterns as Valkey matches them (KEYS, SCAN MATCH, PSUBSCRIBE, CONFIG GET, ACL channels).

`*` any bytes, `?` one byte, `[abc]` `[^a]` `[a-c]` classes (ranges may be written either way round, an unclosed
class ends with the pattern), and a backslash before a byte takes it as it is. An empty text is matched by `*` and by
the empty pattern alone. Matching goes back to the last star only: at most pattern times text steps, whatever it is.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

_ANYTHING: Final = 0
_EXACT: Final = 1
_PREFIX: Final = 2
_SUFFIX: Final = 3
_GENERAL: Final = 4

STAR: Final = 42
QUESTION: Final = 63
OPEN: Final = 91
CLOSE: Final = 93
CARET: Final = 94
DASH: Final = 45
BACKSLASH: Final = 92


def _plain(pattern: bytes) -> bool:
    i: i64 = 0
    while i < len(pattern):
        c: i64 = pattern[i]
        if c == STAR or c == QUESTION or c == OPEN or c == BACKSLASH:  # noqa: SIM109
            return False
        i += 1
    return True


def _lower(c: i64) -> i64:
    return c + 32 if 65 <= c <= 90 else c


@final
@mypyc_attr(acyclic=True)
class Glob:
    """One pattern, prepared; `nocase` ignores the case of ASCII letters."""

    pattern: bytes
    nocase: bool
    kind: i64
    part: bytes

    def __init__(self, pattern: bytes, nocase: bool = False) -> None:
        self.pattern = pattern
        self.nocase = nocase
        self.kind = _GENERAL
        self.part = pattern.lower() if nocase else pattern
        if pattern == b"*":
            self.kind = _ANYTHING
        elif _plain(pattern):
            self.kind = _EXACT
        elif pattern.endswith(b"*") and _plain(pattern[:-1]):
            self.kind = _PREFIX
            self.part = self.part[:-1]
        elif pattern.startswith(b"*") and _plain(pattern[1:]):
            self.kind = _SUFFIX
            self.part = self.part[1:]

    @property
    def exact(self) -> bool:
        """Whether only the pattern itself matches."""
        return self.kind == _EXACT and not self.nocase

    @property
    def anything(self) -> bool:
        """Whether the pattern is `*`."""
        return self.kind == _ANYTHING

    def matches(self, text: bytes) -> bool:
        """Whether the whole text matches."""
        if self.kind == _ANYTHING:
            return True
        if self.nocase:
            text = text.lower()
        if self.kind == _EXACT:
            return text == self.part
        if self.kind == _PREFIX:
            return text.startswith(self.part)
        if self.kind == _SUFFIX:
            return text.endswith(self.part)
        return _matches(self.pattern, text, self.nocase)


def glob_match(pattern: bytes, text: bytes, nocase: bool = False) -> bool:
    """Whether the whole text matches the pattern; prepare a `Glob` to match many."""
    return Glob(pattern, nocase).matches(text)


def _matches(pattern: bytes, text: bytes, nocase: bool) -> bool:
    p: i64 = 0
    t: i64 = 0
    p_end: i64 = len(pattern)
    t_end: i64 = len(text)
    star_p: i64 = -1
    star_t: i64 = 0
    if t_end == 0:
        return p_end == 0
    while t < t_end:
        after: i64 = -1
        if p < p_end:
            if pattern[p] == STAR:
                p += 1
                star_p = p
                star_t = t
                if p == p_end:
                    return True
                continue
            after = _one(pattern, p, text[t], nocase)
        if after >= 0:
            p = after
            t += 1
        elif star_p >= 0:  # let the last star take one byte more
            star_t += 1
            p = star_p
            t = star_t
        else:
            return False
    while p < p_end and pattern[p] == STAR:
        p += 1
    return p == p_end


def _one(pattern: bytes, p: i64, c: i64, nocase: bool) -> i64:
    """Match one byte by the element at `p`, which is no star: the place after it, -1 when it does not match."""
    k: i64 = pattern[p]
    if k == QUESTION:
        return p + 1
    if k == OPEN:
        return _class(pattern, p + 1, c, nocase)
    if k == BACKSLASH and p + 1 < len(pattern):
        p += 1
        k = pattern[p]
    if nocase:
        k = _lower(k)
    return p + 1 if k == c else -1


def _class(pattern: bytes, p: i64, c: i64, nocase: bool) -> i64:
    end: i64 = len(pattern)
    inverse = False
    found = False
    if p < end and pattern[p] == CARET:
        inverse = True
        p += 1
    while p < end:
        k: i64 = pattern[p]
        if k == BACKSLASH and p + 1 < end:
            p += 1
            if pattern[p] == c:
                found = True
        elif k == CLOSE:
            break
        elif p + 2 < end and pattern[p + 1] == DASH:
            last: i64 = pattern[p + 2]
            if k > last:
                k, last = last, k
            if nocase:
                k = _lower(k)
                last = _lower(last)
            p += 2
            if k <= c <= last:
                found = True
        else:
            if nocase:
                k = _lower(k)
            if k == c:
                found = True
        p += 1
    if found == inverse:
        return -1
    return p + 1 if p < end else end
