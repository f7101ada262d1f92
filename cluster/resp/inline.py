"""Words of a line, with Valkey's quoting rules: inline requests and lines of a configuration file."""

from typing import Final

_SPACE: Final = b" \t\n\r\v\f\0"  # between words
_END: Final = b" \t\n\r\0"  # of a word
_ESCAPES: Final[dict[int, int]] = {110: 10, 114: 13, 116: 9, 98: 8, 97: 7}  # n r t b a
_HEX: Final = b"0123456789abcdefABCDEF"


def split_words(line: bytes) -> list[bytes] | None:
    r"""Split a line into words; None when its quotes don't balance.

    In double quotes `\xHH`, `\n \r \t \b \a` and `\` before any other byte are escapes; in single quotes only `\'` is.
    What follows a closing quote belongs to the same word: `a"b c"d` is one. Same rules as Valkey's sdssplitargs.
    """
    words: list[bytes] = []
    i = 0
    end = len(line)
    while True:
        while i < end and line[i] in _SPACE:
            i += 1
        if i >= end:
            return words
        word = bytearray()
        quote = 0
        while i < end:
            c = line[i]
            if quote == 34:
                i, closed = _double_quoted(line, i, word)
                if closed:
                    quote = 0
                continue
            if quote == 39:
                if c == 92 and i + 1 < end and line[i + 1] == 39:
                    word.append(39)
                    i += 2
                    continue
                if c == 39:
                    quote = 0
                else:
                    word.append(c)
            elif c in _END:
                break
            elif c == 34 or c == 39:
                quote = c
            else:
                word.append(c)
            i += 1
        if quote:
            return None
        words.append(bytes(word))


def _double_quoted(line: bytes, i: int, word: bytearray) -> tuple[int, bool]:
    """Take one byte or escape inside double quotes; returns the next index and whether the quote was closed."""
    c = line[i]
    if c == 92 and i + 3 < len(line) and line[i + 1] == 120 and line[i + 2] in _HEX and line[i + 3] in _HEX:
        word.append(int(line[i + 2 : i + 4], 16))
        return i + 4, False
    if c == 92 and i + 1 < len(line):
        word.append(_ESCAPES.get(line[i + 1], line[i + 1]))
        return i + 2, False
    if c == 34:
        return i + 1, True
    word.append(c)
    return i + 1, False
