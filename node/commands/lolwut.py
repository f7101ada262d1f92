"""LOLWUT: a picture and the version. The picture is a lattice of waves whose phases change with each call."""

import math

from cluster.version import KVORUM_VERSION
from node.commands.reading import integer_or_none
from node.engine import Engine, Handler
from node.errors import NOT_AN_INTEGER, CommandError
from node.session import Session

_USAGE = b"ERR Syntax error. Use: LOLWUT [columns rows] [real imaginary]"
_SHADES = " .:-=+*%@#"
_COLUMNS, _ROWS, _MOST = 66, 20, 1000


def lolwut(e: Engine, s: Session, args: list[bytes]) -> None:
    """LOLWUT [VERSION version] [columns rows ...]."""
    words = args[1:]
    chosen = len(words) > 1 and words[0].lower() == b"version"
    if chosen:
        if integer_or_none(words[1]) is None:
            raise CommandError(NOT_AN_INTEGER)
        words = words[2:]
    elif len(words) == 1:
        raise CommandError(_USAGE)
    numbers: list[int] = []
    for word in words[:2]:
        number = integer_or_none(word)
        if number is None:
            raise CommandError(NOT_AN_INTEGER)
        numbers.append(min(max(number, 1), _MOST))
    numbers = numbers if len(numbers) == 2 else [_COLUMNS, _ROWS]
    picture = draw(numbers[0], numbers[1], e.rng.random() * math.tau, e.rng.random() * math.tau)
    s.reply.verbatim(f"{picture}\nWaves that crossed here just now. Kvorum ver. {KVORUM_VERSION}\n".encode())


def draw(columns: int, rows: int, across: float, down: float) -> str:
    """`rows` lines of `columns` characters: two waves of the given phases and their interference."""
    lines: list[str] = []
    for y in range(rows):
        line = ""
        for x in range(columns):
            height = math.sin(x / 5 + across) + math.sin(y / 2 + down) + math.sin((x + 2 * y) / 7 + across - down)
            line += _SHADES[min(int((height + 3) / 6 * len(_SHADES)), len(_SHADES) - 1)]
        lines.append(line)
    return "\n".join(lines)


HANDLERS: dict[bytes, Handler] = {b"lolwut": lolwut}
