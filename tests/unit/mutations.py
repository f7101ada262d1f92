"""Files and payloads that are broken on purpose, from a seed: the same seed gives the same bytes again.

A mutation flips bits, cuts, blows lengths up, exchanges type bytes and opcodes, rewrites the numbers at the head of a
packed value, doubles, deletes and splices pieces. `sealed` makes the checksum right again, so that what reads it goes
on to the damage.
"""

from __future__ import annotations

import io
import os
import struct
from random import Random

from node.rdb.encode import crc64
from node.rdb.file import KEY, PART, RdbReader

KINDS = bytes([*range(26), *range(240, 256)])  # every value type and opcode, and numbers that mean nothing
HUGE = (
    b"\x80\xff\xff\xff\xff", b"\x80\x7f\xff\xff\xff", b"\x81" + b"\xff" * 8, b"\x81\x7f" + b"\xff" * 7,
    b"\x81" + b"\0" * 3 + b"\x10" + b"\0" * 4, b"\x7f\xff", b"\xc3\x80\xff\xff\xff\xff\x80\xff\xff\xff\xff",
    b"\xc3\x05\x80\x1f\xff\xff\xff", b"\x80\0\0\0\0", b"\0", b"\xff" * 9, b"\xc0", b"\xbf",
)  # fmt: skip


def seeds(number: int) -> range:
    """So many seeds from 0, or those of `KVORUM_SEEDS=first:last`, to see one again."""
    named = os.environ.get("KVORUM_SEEDS")
    if not named:
        return range(number)
    first, _, last = named.partition(":")
    return range(int(first), int(last or int(first) + 1))


def key_places(data: bytes) -> list[tuple[int, int, int]]:
    """Of each key of a sound file: the offsets of its type byte, of its value, and of what follows it."""
    reader = RdbReader(io.BytesIO(data), len(data))
    places: list[tuple[int, int, int]] = []
    while (found := reader.advance()) in (KEY, PART):
        if found == KEY:
            began = int(reader.began)
            head = 2 + len(reader.key) + (len(reader.key) >= 64)
            places.append((began, began + head, int(reader.offset())))
    return places


def sealed(data: bytes) -> bytes:
    """The file with the checksum of what it holds in the place of its last eight bytes."""
    return data[:-8] + struct.pack("<Q", crc64(data[:-8]))


class Mutator:
    """Breaks sound files; everything is drawn from the one source of chance."""

    def __init__(self, sources: list[bytes]) -> None:
        self.sources = sources
        self.places = [key_places(source) for source in sources]

    def file(self, rng: Random) -> bytes:
        """A broken file; in half of the cases its checksum is right."""
        at = rng.randrange(len(self.sources))
        data = bytearray(self.sources[at])
        places = self.places[at]
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            if len(data) < 24:
                break
            if rng.random() < 0.5 and places:
                self._break_key(data, rng.choice(places), rng)
            else:
                break_bytes(data, rng)
        out = bytes(data)
        return sealed(out) if rng.random() < 0.5 and len(out) > 17 else out

    def _break_key(self, data: bytearray, place: tuple[int, int, int], rng: Random) -> None:
        """Damage where it matters: at the type byte, at the first lengths of the value, at its end."""
        began, value, end = place
        if end >= len(data):  # cut by a mutation before
            return
        match rng.randrange(6):
            case 0:
                data[began] = rng.choice(KINDS)
            case 1:
                data[value : value + rng.randrange(6)] = rng.choice(HUGE)
            case 2:
                at = min(end - 1, value + rng.randrange(12))
                data[at : at + 1] = rng.choice(HUGE)
            case 3:  # the size or the number in the head of a packed value, its last byte
                at = rng.choice((value + 1, value + 2, value + 5, value + 6, end - 1, end - 2))
                data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, data[at] ^ 1, (data[at] + 1) & 255))
            case 4:
                del data[rng.randrange(value, end) : end]
            case _:
                other = self.sources[rng.randrange(len(self.sources))]
                piece = rng.randrange(len(other))
                data[rng.randrange(value, end) : end] = other[piece : piece + rng.randrange(1, 60)]


def break_bytes(data: bytearray, rng: Random) -> None:
    """Damage anywhere."""
    at = rng.randrange(len(data))
    end = min(len(data), at + rng.randrange(1, 9))
    match rng.randrange(8):
        case 0 | 1:
            data[at] ^= 1 << rng.randrange(8)
        case 2:
            data[at] = rng.randrange(256)
        case 3:
            data[at:end] = rng.choice((b"\xff", b"\0", b"\x80", b"\x7f")) * (end - at)
        case 4:
            del data[at:end]
        case 5:
            data[at:at] = rng.randbytes(end - at)
        case 6:
            data[at : at + rng.randrange(5)] = rng.choice(HUGE)
        case _:
            del data[at:]


def broken_payload(payload: bytes, rng: Random) -> bytes:
    """A DUMP payload with a damaged value and a right trailer."""
    body = bytearray(payload[:-10])
    for _ in range(rng.choice((1, 1, 2, 3))):
        if len(body) < 3:
            break
        if rng.random() < 0.1:
            body[0] = rng.choice(KINDS)
        break_bytes(body, rng)
    whole = bytes(body) + payload[-10:-8]
    return whole + struct.pack("<Q", crc64(whole))


def broken_commands(data: bytes, rng: Random) -> bytes:
    """Requests one after another (an append-only file) with damage to lengths, line ends, order, or anywhere."""
    lines = data.split(b"\r\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        lines = lines or [b"*"]
        at = rng.randrange(len(lines))
        match rng.randrange(8):
            case 0:
                lines[at] = rng.choice((b"*0", b"*-1", b"*1000000", b"$-1", b"$0", b"$99999999999", b"$5", b"*3", b""))
            case 1:
                lines[at] = lines[at][:-1] + b"%d" % rng.randrange(10)
            case 2:
                lines[at], lines[at - 1] = lines[at - 1], lines[at]
            case 3:
                del lines[at]
            case 4:
                lines.insert(at, rng.choice((b"#TS:1700000000", b"#" * 2000, b"garbage", rng.choice(lines))))
            case 5:
                del lines[at:]
            case _:
                changed = bytearray(b"\r\n".join(lines) or b"*")
                break_bytes(changed, rng)
                lines = bytes(changed).split(b"\r\n")
    return b"\r\n".join(lines)
