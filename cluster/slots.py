"""Hash slots: CRC16 (XMODEM) of the key, or of its hash tag, modulo 16384.

Source: Valkey cluster specification, "Key distribution model" and "Hash tags".
"""

from typing import Final

from librt.strings import read_i16_be
from mypy_extensions import i64

SLOTS: Final = 16384
_OPEN: Final = 123  # {
_CLOSE: Final = 125  # }


def _crc16_table() -> list[int]:
    table: list[int] = []
    for byte in range(256):
        crc = byte << 8
        for _ in range(8):
            crc = ((crc << 1) ^ 0x1021) & 0xFFFF if crc & 0x8000 else (crc << 1) & 0xFFFF
        table.append(crc)
    return table


def _packed(table: list[int]) -> bytes:
    """Two bytes an entry: reading two of them is a plain load in compiled code, an index into a list is a call."""
    return b"".join([crc.to_bytes(2, "big") for crc in table])


_TABLE: Final = _crc16_table()
_NEAR: Final = _packed(_TABLE)  # what a byte makes of the CRC, and what it makes of it when another byte follows
_FAR: Final = _packed([((crc << 8) & 0xFFFF) ^ _TABLE[crc >> 8] for crc in _TABLE])


def key_slot(key: bytes) -> i64:
    """Return the slot (0 to 16383) of a key; only the first non-empty `{...}` counts when there is one."""
    return range_slot(key, 0, len(key))


def range_slot(data: bytes, start: i64, end: i64) -> i64:
    """Return the slot of the key `data[start:end]` without making an object of it."""
    i: i64 = start
    while i < end:
        if data[i] == _OPEN:
            j: i64 = i + 1
            while j < end and data[j] != _CLOSE:
                j += 1
            if j < end and j > i + 1:
                start = i + 1
                end = j
            break
        i += 1
    crc: i64 = 0
    i = start
    while i + 1 < end:  # two bytes at once: their loads don't wait for each other
        pair: i64 = crc ^ (i64(read_i16_be(data, i)) & 0xFFFF)
        crc = i64(read_i16_be(_FAR, (pair >> 8) * 2) ^ read_i16_be(_NEAR, (pair & 255) * 2)) & 0xFFFF
        i += 2
    if i < end:
        byte: i64 = data[i]
        crc = (crc << 8) ^ i64(read_i16_be(_NEAR, ((crc >> 8) ^ byte) * 2))
    return crc & 16383
