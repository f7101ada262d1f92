"""Hash slots against an independent CRC16 and against genuine Valkey."""

from __future__ import annotations

import pytest
from crc16.crc16pure import crc16xmodem
from hypothesis import given
from hypothesis import strategies as st

from cluster.slots import SLOTS, key_slot, range_slot
from tests.conftest import Server

KEYS = [
    b"",
    b"a",
    b"foo",
    b"{a}b",
    b"x{a}",
    b"{}a",
    b"{a",
    b"a}",
    b"{{a}}",
    b"{a}{b}",
    b"a{}{b}",
    b"\x00\xff",
    b"123456789" * 9,
]


def tagged(key: bytes) -> bytes:
    """The part of a key that counts, by the words of the specification."""
    start = key.find(b"{")
    stop = key.find(b"}", start + 1)
    return key[start + 1 : stop] if start >= 0 and stop > start + 1 else key


@given(st.one_of(st.binary(max_size=60), st.text("{}ab", max_size=8).map(str.encode)))
def test_slot_is_the_crc_of_the_tag(key: bytes) -> None:
    """Any key's slot is the CRC16 of its tag modulo 16384, read in place or not."""
    slot = crc16xmodem(tagged(key)) % SLOTS
    assert key_slot(key) == slot
    assert range_slot(b"<<" + key + b"}>", 2, 2 + len(key)) == slot


@pytest.mark.parametrize("key", KEYS)
def test_slots_are_valkeys(oracle: Server, key: bytes) -> None:
    """CLUSTER KEYSLOT of genuine Valkey says the same."""
    assert oracle.client().execute_command("CLUSTER", "KEYSLOT", key) == key_slot(key)
