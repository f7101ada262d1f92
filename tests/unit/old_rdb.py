"""Builders of RDB pieces as old Redis wrote them, and files made of them, from the formats alone."""

from __future__ import annotations

import struct

import lzf
from librt.strings import BytesWriter

from node.rdb.encode import crc64, write_length, write_string
from node.types import intset, listpack

Item = bytes | int


def length(n: int) -> bytes:
    """A length of the RDB format."""
    w = BytesWriter()
    write_length(w, n)
    return w.getvalue()


def string(*values: bytes) -> bytes:
    """Strings, uncompressed, integers as such."""
    w = BytesWriter()
    for value in values:
        write_string(w, value, False)
    return w.getvalue()


def compressed(value: bytes) -> bytes:
    """A string compressed by LZF, whether or not that helps."""
    packed = lzf.compress(value, len(value) * 2 + 16)
    assert packed is not None
    return b"\xc3" + length(len(packed)) + length(len(value)) + packed


def _ziplist_body(item: Item) -> bytes:
    if isinstance(item, int):
        if 0 <= item <= 12:
            return bytes([0xF1 + item])
        if -128 <= item <= 127:
            return b"\xfe" + struct.pack("<b", item)
        if -32768 <= item <= 32767:
            return b"\xc0" + struct.pack("<h", item)
        if -8388608 <= item <= 8388607:
            return b"\xf0" + item.to_bytes(3, "little", signed=True)
        if -(1 << 31) <= item < 1 << 31:
            return b"\xd0" + struct.pack("<i", item)
        return b"\xe0" + struct.pack("<q", item)
    n = len(item)
    if n < 64:
        return bytes([n]) + item
    if n < 16384:
        return bytes([0x40 | n >> 8, n & 255]) + item
    return b"\x80" + struct.pack(">I", n) + item


def ziplist(items: list[Item], wide: bool = False) -> bytes:
    """A ziplist; `wide`: every backward length in its long form, as a cascade of updates may leave it."""
    body, before, last = b"", 0, 10
    for item in items:
        head = bytes([before]) if before < 254 and not wide else b"\xfe" + struct.pack("<I", before)
        entry = head + _ziplist_body(item)
        last = 10 + len(body)
        body += entry
        before = len(entry)
    return struct.pack("<IIH", 11 + len(body), last, min(len(items), 65535)) + body + b"\xff"


def uncounted(packed: bytes) -> bytes:
    """A listpack whose header says that its elements were too many to count."""
    return packed[:4] + b"\xff\xff" + packed[6:]


def zipmap(pairs: list[tuple[bytes, bytes]], unused: int = 0) -> bytes:
    """A zipmap; each value is followed by so many unused bytes."""

    def size(n: int) -> bytes:
        return bytes([n]) if n < 254 else b"\xfe" + struct.pack("<I", n)

    body = b"".join(
        size(len(field)) + field + size(len(value)) + bytes([unused]) + value + b"?" * unused for field, value in pairs
    )
    return bytes([min(len(pairs), 254)]) + body + b"\xff"


def double_text(score: str) -> bytes:
    """A score of the oldest sorted sets."""
    special = {"nan": b"\xfd", "inf": b"\xfe", "-inf": b"\xff"}
    return special.get(score) or bytes([len(score)]) + score.encode()


def stream(kind: int) -> bytes:
    """A stream of each of the three forms: two entries, of which one is pending for a consumer of a group."""
    items = [b"2", b"0", b"1", b"f", b"0", b"2", b"0", b"0", b"v", b"4", b"2", b"5", b"1", b"w", b"4"]
    first = (5).to_bytes(8, "big") + (1).to_bytes(8, "big")
    second = (10).to_bytes(8, "big") + (2).to_bytes(8, "big")
    body = length(1) + string(first) + string(listpack.build(items)) + length(2) + length(10) + length(2)
    if kind >= 19:
        body += length(5) + length(1) + length(4) + length(3) + length(7)
    body += length(1) + string(b"group") + length(10) + length(2)
    if kind >= 19:
        body += length(2)
    body += length(1) + second + struct.pack("<q", 1_600_000_000_000) + length(3)
    body += length(1) + string(b"consumer") + struct.pack("<q", 1_600_000_000_001)
    if kind == 21:
        body += struct.pack("<q", 1_600_000_000_002)
    return body + length(1) + second


PAIRS: list[Item] = [b"a", 1, b"b", b"v" * 70, b"c", -3000]
SCORES: list[Item] = [b"m", -1, b"n", b"0.10000000000000001", b"o", 4000000000]
INTS = [-5, 7, 40000]

# Name: type byte, value as it is in a file. Of values that stay packed, Valkey's DUMP is ours byte for byte.
VALUES: dict[str, tuple[int, bytes]] = {
    "string": (0, string(b"plain text")),
    "string int8": (0, b"\xc0\xfb"),
    "string int16": (0, b"\xc1\x00\x80"),
    "string int32": (0, b"\xc2\xff\xff\xff\x7f"),
    "string lzf": (0, compressed(b"abc" * 500)),
    "list": (1, length(3) + string(b"a", b"12", b"x" * 100)),
    "set": (2, length(3) + string(b"a", b"12", b"z")),
    "set of integers": (2, length(3) + string(b"3", b"12", b"-70000")),
    "zset": (3, length(4) + b"".join(string(m) + double_text(s) for m, s in
             ((b"a", "1"), (b"b", "2.50"), (b"c", "inf"), (b"d", "-inf")))),
    "hash": (4, length(2) + string(b"f", b"1", b"g", b"two")),
    "zset 2": (5, length(2) + string(b"b") + struct.pack("<d", 2.5) + string(b"a") + struct.pack("<d", -0.0)),
    "hash zipmap": (9, string(zipmap([(b"f", b"1"), (b"gg", b"two")], 2))),
    "hash zipmap long": (9, string(zipmap([(b"f", b"1"), (b"gg", b"t" * 300)]))),
    "list ziplist": (10, string(ziplist([b"a", 5, b"c" * 70, -1, 300, 70000, 1 << 40, -9000000, b"y" * 20000]))),
    "list ziplist wide": (10, string(ziplist([b"a", 5, b"c"], True))),
    "intset 16": (11, string(struct.pack("<IIhh", 2, 2, -1, 5))),
    "intset 32": (11, string(struct.pack("<IIii", 4, 2, -40000, 5))),
    "intset 64": (11, string(intset.build([-1, 5, 1 << 40]))),
    "zset ziplist": (12, string(ziplist(SCORES))),
    "hash ziplist": (13, string(ziplist(PAIRS))),
    "hash ziplist lzf": (13, compressed(ziplist(PAIRS))),
    "quicklist": (14, length(3) + string(ziplist([b"a", 1]), ziplist([]), ziplist([b"c" * 300]))),
    "stream 1": (15, stream(15)),
    "hash listpack": (16, string(listpack.build([b"f", b"1", b"g", b"x" * 90]))),
    "hash listpack uncounted": (16, string(uncounted(listpack.build([b"f", b"1", b"g", b"2"])))),
    "zset listpack": (17, string(listpack.build([b"a", b"1", b"b", b"2.5"]))),
    "quicklist 2": (18, length(2) + length(2) + string(listpack.build([b"a", b"1"])) + length(1) + string(b"p" * 9000)),
    "stream 2": (19, stream(19)),
    "set listpack": (20, string(listpack.build([b"a", b"1", b"b"]))),
    "stream 3": (21, stream(21)),
}  # fmt: skip
FIELD_TIMES = (22, length(2) + string(b"f", b"1") + struct.pack("<q", -1) + string(b"g", b"2") +
               struct.pack("<q", 4_000_000_000_000))  # fmt: skip


def payload(kind: int, value: bytes, version: int = 6) -> bytes:
    """What DUMP of such a server would have answered."""
    body = bytes([kind]) + value + struct.pack("<H", version)
    return body + struct.pack("<Q", crc64(body))


def module_id(name: str, version: int) -> int:
    """The number that stands for a module's type."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    id = 0
    for letter in name:
        id = id << 6 | letters.index(letter)
    return id << 10 | version


def module_aux(name: str) -> bytes:
    """A module's data beside the keys, one of each form."""
    head = b"\xf7\x81" + module_id(name, 3).to_bytes(8, "big") + length(2) + length(1)
    numbers = length(1) + length(7) + length(2) + length(8) + length(3) + b"1234" + length(4) + b"12345678"
    return head + numbers + length(5) + string(b"text") + length(0)


def file(body: bytes, head: bytes = b"REDIS0011", checksum: bool = True) -> bytes:
    """A whole file around its body."""
    data = head + body + b"\xff"
    return data + struct.pack("<Q", crc64(data) if checksum else 0)


def all_values(checksum: bool = True) -> bytes:
    """A file with each value, everything that may stand beside keys, and two databases."""
    body = b"\xfa" + string(b"redis-ver", b"7.2.4") + b"\xfa" + string(b"repl-id", b"a" * 40)
    body += module_aux("aux-modul") + b"\xf5" + string(b"#!lua name=lib\nredis.register_function('f', function() end)")
    body += b"\xfe\x00\xfb" + length(len(VALUES)) + length(2) + b"\xf4\x00\x05\x01"
    for name, (kind, value) in VALUES.items():
        body += bytes([kind]) + string(name.encode()) + value
    body += (
        b"\xfe\x03"
        + b"\xfc"
        + struct.pack("<q", 4_000_000_000_123)
        + b"\xf8"
        + length(77)
        + b"\x00"
        + string(b"ms", b"1")
    )
    body += b"\xfd" + struct.pack("<i", 2_000_000_000) + b"\xf9\x09" + b"\x00" + string(b"s", b"2")
    body += b"\xf3" + string(b"j" * 40) + length(1) + length(5) + length(9)
    body += bytes([FIELD_TIMES[0]]) + string(b"timed") + FIELD_TIMES[1]
    return file(body, b"VALKEY080", checksum)
