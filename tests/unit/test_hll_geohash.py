"""HyperLogLog registers and geohashes: known hashes, forms that hold the same, and the limits of estimates."""

from __future__ import annotations

import pytest

from node.types import geohash, hll


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"", 0xD8DFEA6585BC9732)],
)
def test_murmur_of_known_text(data: bytes, expected: int) -> None:
    """Halves of 32 bits give the published 64-bit hash."""
    assert hll.Murmur(data, 0xADC83B19).value() == expected


def _plain_murmur(data: bytes, seed: int) -> int:
    """The published algorithm in integers of any size."""
    mask, factor = (1 << 64) - 1, 0xC6A4A7935BD1E995
    hashed = seed ^ (len(data) * factor & mask)
    whole = len(data) // 8 * 8
    for at in range(0, whole, 8):
        word = int.from_bytes(data[at : at + 8], "little") * factor & mask
        hashed = (hashed ^ ((word ^ word >> 47) * factor & mask)) * factor & mask
    if data[whole:]:
        hashed = (hashed ^ int.from_bytes(data[whole:], "little")) * factor & mask
    hashed = (hashed ^ hashed >> 47) * factor & mask
    return hashed ^ hashed >> 47


def test_murmur_of_every_length() -> None:
    """Every number of bytes behind the last whole word is hashed as in integers of any size."""
    for size in range(70):
        data = bytes((i * 37 + size * 11 + 200) & 255 for i in range(size))
        assert hll.Murmur(data, 0xADC83B19).value() == _plain_murmur(data, 0xADC83B19)


def test_sparse_and_dense_hold_the_same() -> None:
    """After each element both forms have the same registers, and the estimate is near."""
    sparse, dense = hll.Registers(hll.NEW, 12000), hll.Registers(hll.to_dense(hll.NEW), 0)
    for number in range(2000):
        assert sparse.add(b"%d" % number) == dense.add(b"%d" % number)

    assert hll.is_sparse(sparse.result())
    assert hll.registers(sparse.result()) == hll.registers(dense.result())
    assert abs(hll.estimate(sparse.result()) - 2000) < 100


@pytest.mark.parametrize("damaged", [b"", b"\x7f", b"\x7f\xfe", b"\xff\x7f\xff", bytes(300)])
def test_damaged_runs_are_refused(damaged: bytes) -> None:
    """Runs that are not 16384 registers are never unpacked."""
    with pytest.raises(hll.CorruptedError):
        hll.registers(b"HYLL\x01" + bytes(11) + damaged)


def test_hash_of_a_place() -> None:
    """Palermo has the score and the text that the documentation of GEOADD and GEOHASH shows."""
    bits = geohash.encode(13.361389, 38.115556)

    assert bits == 3479099956230698
    assert geohash.text_of(geohash.place_of(float(bits))) == b"sqc8b49rny0"


def test_distance() -> None:
    """Palermo and Catania are as far apart as the documentation of GEODIST says."""
    one, other = (geohash.place_of(float(geohash.encode(*p))) for p in ((13.361389, 38.115556), (15.087269, 37.502669)))

    assert abs(geohash.distance(one.lon, one.lat, other.lon, other.lat) - 166274.1516) < 0.0001


@pytest.mark.parametrize("score", [-5.0, 1e19, float("inf"), float("-inf"), 2.0**63, -(2.0**63), 1e300])
def test_scores_that_are_no_hashes(score: float) -> None:
    """Any score of a sorted set is some place in range."""
    place = geohash.place_of(score)

    assert -180 <= place.lon <= 180
    assert -85.06 <= place.lat <= 85.06
