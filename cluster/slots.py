"""Hash slots: CRC16 (XMODEM) of the key, or of its hash tag, modulo 16384.

Source: Valkey cluster specification, "Key distribution model" and "Hash tags".
"""

from typing import Final

from mypy_extensions import i64

SLOTS: Final = 16384


def _crc16_table() -> list[int]:
    table: list[int] = []
    for byte in range(256):
        crc = byte << 8
        for _ in range(8):
            crc = ((crc << 1) ^ 0x1021) & 0xFFFF if crc & 0x8000 else (crc << 1) & 0xFFFF
        table.append(crc)
    return table


# The table in two halves: an index into bytes is a plain load in compiled code, one into a list is a call and an
# unboxing.
_HIGH: Final = bytes([crc >> 8 for crc in _crc16_table()])
_LOW: Final = bytes([crc & 0xFF for crc in _crc16_table()])


def key_slot(key: bytes) -> i64:
    """Return the slot (0 to 16383) of a key; only the first non-empty `{...}` counts when there is one."""
    return range_slot(key, 0, len(key))


def range_slot(data: bytes, start: i64, end: i64) -> i64:
    """Return the slot of the key `data[start:end]` without making an object of it."""
    i: i64 = start
    while i < end:
        if data[i] == 123:  # {
            j: i64 = i + 1
            while j < end and data[j] != 125:  # }
                j += 1
            if j < end and j > i + 1:
                start = i + 1
                end = j
            break
        i += 1
    high: i64 = 0  # the two bytes of the CRC
    low: i64 = 0
    i = start
    while i < end:
        byte: i64 = data[i]
        index: i64 = high ^ byte
        high = low ^ _HIGH[index]
        low = _LOW[index]
        i += 1
    return ((high << 8) | low) & 16383
