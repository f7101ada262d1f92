"""Reading RDB: every old encoding, what stands beside keys, refusals with offset and reason, mutated files."""

from __future__ import annotations

import io
import json
import random
import struct
import tracemalloc
from pathlib import Path

import pytest
from click.testing import CliRunner

from node import check
from node.keyspace import Value
from node.rdb.decode import restore
from node.rdb.encode import dump
from node.rdb.file import END, KEY, PART, RdbReader
from node.rdb.reader import PayloadError, RdbError
from node.types import listpack, ziplist
from node.types.hash import Hash
from node.types.quicklist import List
from node.types.set import Set
from node.types.stream import Stream
from node.types.zset import ZSet, from_scores
from sentinel.cli.main import main as cli
from tests.unit import old_rdb as old

NOW_MS = 1_700_000_000_000
EXPECTED: dict[str, tuple[str, object]] = {
    "string": ("", b"plain text"),
    "string int8": ("", b"-5"),
    "string int16": ("", b"-32768"),
    "string int32": ("", b"2147483647"),
    "string lzf": ("", b"abc" * 500),
    "list": ("listpack", [b"a", b"12", b"x" * 100]),
    "set": ("listpack", {b"a", b"12", b"z"}),
    "set of integers": ("intset", {b"3", b"12", b"-70000"}),
    "zset": ("listpack", {b"a": 1.0, b"b": 2.5, b"c": float("inf"), b"d": float("-inf")}),
    "hash": ("listpack", {b"f": b"1", b"g": b"two"}),
    "zset 2": ("listpack", {b"b": 2.5, b"a": 0.0}),
    "hash zipmap": ("listpack", {b"f": b"1", b"gg": b"two"}),
    "hash zipmap long": ("hashtable", {b"f": b"1", b"gg": b"t" * 300}),
    "list ziplist": (
        "quicklist",
        [b"a", b"5", b"c" * 70, b"-1", b"300", b"70000", b"%d" % (1 << 40), b"-9000000", b"y" * 20000],
    ),
    "list ziplist wide": ("quicklist", [b"a", b"5", b"c"]),
    "intset 16": ("intset", {b"-1", b"5"}),
    "intset 32": ("intset", {b"-40000", b"5"}),
    "intset 64": ("intset", {b"-1", b"5", b"%d" % (1 << 40)}),
    "zset ziplist": ("listpack", {b"m": -1.0, b"n": 0.1, b"o": 4e9}),
    "hash ziplist": ("listpack", {b"a": b"1", b"b": b"v" * 70, b"c": b"-3000"}),
    "hash ziplist lzf": ("listpack", {b"a": b"1", b"b": b"v" * 70, b"c": b"-3000"}),
    "quicklist": ("quicklist", [b"a", b"1", b"c" * 300]),
    "hash listpack": ("listpack", {b"f": b"1", b"g": b"x" * 90}),
    "hash listpack uncounted": ("listpack", {b"f": b"1", b"g": b"2"}),
    "zset listpack": ("listpack", {b"a": 1.0, b"b": 2.5}),
    "quicklist 2": ("quicklist", [b"a", b"1", b"p" * 9000]),
    "set listpack": ("listpack", {b"a", b"1", b"b"}),
}


def content(value: object) -> tuple[str, object]:
    """The encoding of a value and its elements."""
    if isinstance(value, bytes):
        return "", value
    assert isinstance(value, Value)
    name = value.encoding().decode()
    if isinstance(value, List):
        return name, value.items()
    if isinstance(value, Set):
        return name, set(value.members())
    if isinstance(value, Hash):
        flat = value.flat()
        return name, dict(zip(flat[::2], flat[1::2], strict=True))
    assert isinstance(value, ZSet)
    members: list[bytes] = []
    scores: list[float] = []
    value.collect(0, value.count, members, scores)
    return name, dict(zip(members, scores, strict=True))


def reader(data: bytes) -> RdbReader:
    """A reader of a file that is in memory."""
    return RdbReader(io.BytesIO(data), len(data))


def refusal(data: bytes) -> RdbError:
    """How a file is refused."""
    with pytest.raises(RdbError) as caught:
        exhaust(data)
    return caught.value


def exhaust(data: bytes) -> int:
    """Read a file to its end; the number of its keys."""
    r = reader(data)
    keys = 0
    while r.next():
        keys += 1
    return keys


@pytest.mark.parametrize("name", EXPECTED)
def test_an_old_value_is_read_from_a_payload(name: str) -> None:
    """RESTORE takes each encoding and gives it the elements and the encoding that it has today."""
    kind, value = old.VALUES[name]
    assert content(restore(old.payload(kind, value))) == EXPECTED[name]


def test_a_file_with_everything_is_read() -> None:
    """Values of every encoding, and everything that may stand beside keys, from one file."""
    data = old.all_values()
    r = reader(data)
    found: dict[str, tuple[str, object]] = {}
    beside: dict[bytes, tuple[int, int, int, int]] = {}
    while r.next():
        if r.dbid == 0 and not isinstance(r.value, Stream):
            found[r.key.decode()] = content(r.value)
        elif r.dbid:
            beside[r.key] = (int(r.dbid), int(r.expire_at), int(r.idle), int(r.frequency))
    assert found == EXPECTED
    assert beside == {
        b"ms": (3, 4_000_000_000_123, 77, -1),
        b"s": (3, 2_000_000_000_000, -1, 9),
        b"timed": (3, 0, -1, -1),
    }
    assert r.aux[b"redis-ver"] == b"7.2.4"
    assert len(r.functions) == 1
    assert r.modules == ["aux-modul"]
    assert r.importing == [(5, 9)]
    assert r.offset() == len(data)


@pytest.mark.parametrize(
    ("name", "added", "active"),
    [("stream 1", 2, 1_600_000_000_001), ("stream 2", 7, 1_600_000_000_001), ("stream 3", 7, 1_600_000_000_002)],
)
def test_streams_of_three_forms(name: str, added: int, active: int) -> None:
    """Each form brings what it knows; what it lacks is what Valkey takes for it."""
    value = restore(old.payload(*old.VALUES[name]))
    assert isinstance(value, Stream)
    group = value.groups[b"group"]
    assert (value.length, value.added, value.last_id) == (2, added, (10 << 64) | 2)
    assert group.consumers[b"consumer"].active_ms == active
    assert len(group.pending) == 1


def test_field_times_of_valkey_and_of_redis() -> None:
    """Type 22 is Valkey's hash with fields that expire; in a file of Redis it is another thing, and refused as such."""
    body = bytes([22]) + old.string(b"k") + old.FIELD_TIMES[1]
    r = reader(old.file(body, b"VALKEY080"))
    assert r.next()
    assert isinstance(r.value, Hash)
    assert r.value.expires(b"g") == 4_000_000_000_000
    assert "Redis 7.4" in refusal(old.file(body, b"REDIS0012")).reason
    assert "Redis 7.4" in refusal(old.file(b"\x18" + body[1:], b"REDIS0012")).reason


def test_ziplist_becomes_the_listpack_of_its_elements() -> None:
    """Golden bytes: a ziplist as Redis documents it, and the listpack that Valkey makes of it."""
    data = bytes.fromhex("0f0000000c000000020000f302f6ff")  # the elements 2 and 5
    assert data == old.ziplist([2, 5])
    assert ziplist.to_listpack(data) == bytes.fromhex("0b000000020002010501ff")


def test_more_elements_than_a_header_can_count() -> None:
    """A ziplist of more than 65534 elements says 65535 and is counted by walking it."""
    items: list[old.Item] = [b"x", 7] * 40_000
    value = restore(old.payload(10, old.string(old.ziplist(items))))
    assert isinstance(value, List)
    assert value.length == 80_000
    assert value.items() == [b"x", b"7"] * 40_000


def test_zipmap_golden() -> None:
    """Golden bytes: the zipmap of Redis' own documentation."""
    data = b"\x02\x03foo\x03\x00bar\x05hello\x05\x00world\xff"
    assert data == old.zipmap([(b"foo", b"bar"), (b"hello", b"world")])
    assert listpack.decode(ziplist.zipmap_to_listpack(data)) == [b"foo", b"bar", b"hello", b"world"]


def test_a_zipmap_with_long_parts_and_many_pairs() -> None:
    """Lengths of five bytes, and more pairs than its counter can tell."""
    pairs = [(b"f%d" % n, b"v" * (n % 300)) for n in range(400)]
    packed = ziplist.zipmap_to_listpack(old.zipmap(pairs, 3))
    flat = listpack.decode(packed)
    assert list(zip(flat[::2], flat[1::2], strict=True)) == pairs


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (9, old.string(old.zipmap([(b"a", b"1"), (b"a", b"2")])), "twice"),
        (9, old.string(b"\x01\x03foo\x09\x00bar\xff"), "beyond the end"),
        (9, old.string(b"\x07\x03foo\x03\x00bar\xff"), "number of pairs"),
        (9, old.string(b""), "no end mark"),
        (10, old.string(b"\x0b\0\0\0"), "wrong size"),
        (10, old.string(bytes.fromhex("0f0000000c000000020000f303f6ff")), "backward length"),
        (10, old.string(bytes.fromhex("0f0000000c000000030000f302f6ff")), "wrong number"),
        (10, old.string(bytes.fromhex("0f0000000a000000020000f302f6ff")), "last entry"),
        (10, old.string(bytes.fromhex("0f0000000c000000020000f302c0ff")), "beyond the end"),
        (12, old.string(old.ziplist([b"a", 1, b"a", 2])), "twice"),
        (12, old.string(old.ziplist([b"a", b"nan"])), "no number"),
        (12, old.string(old.ziplist([b"a", b"1_0"])), "no number"),
        (12, old.string(old.ziplist([b"a"])), "without score"),
        (13, old.string(old.ziplist([b"a", 1, b"a", 2])), "twice"),
        (13, old.string(old.ziplist([b"a"])), "without value"),
        (11, old.string(struct.pack("<IIhh", 2, 2, 5, 1)), "ascending"),
        (20, old.string(listpack.build([b"a", b"a"])), "twice"),
        (2, b"\x02" + old.string(b"a", b"a"), "twice"),
        (4, b"\x02" + old.string(b"a", b"1", b"a", b"2"), "twice"),
        (3, b"\x01\x01a\xfd", "not a number"),
        (2, b"\0", "empty"),
        (10, old.string(old.ziplist([])), "empty"),
        (14, b"\x01" + old.string(old.ziplist([])), "empty"),
        (6, b"", "never released"),
        (7, b"\x81" + old.module_id("ReJSON-RL", 3).to_bytes(8, "big"), "ReJSON-RL"),
        (24, b"\0", "Redis 7.4"),
        (99, b"\0", "not known"),
    ],
)  # fmt: skip
def test_a_value_that_is_not_sound_is_refused(kind: int, value: bytes, reason: str) -> None:
    """Each with its reason, and the offset at which it was noticed."""
    with pytest.raises(RdbError, match=reason) as caught:
        restore(old.payload(kind, value))
    assert 0 < caught.value.offset <= len(value) + 1


@pytest.mark.parametrize("version", [12, 79, 81, 65535])
def test_payloads_of_other_versions_are_refused(version: int) -> None:
    """As Valkey 9.1 does; so are those with a wrong checksum."""
    with pytest.raises(PayloadError):
        restore(old.payload(0, old.string(b"x"), version))


@pytest.mark.parametrize("head", [b"REDIS0001", b"REDIS0006", b"REDIS0009", b"REDIS0011", b"REDIS0012", b"VALKEY080"])
def test_versions_that_are_read(head: bytes) -> None:
    """From the first one on; before version 5 nothing follows the end."""
    data = old.file(b"\x00" + old.string(b"k", b"v"), head)
    if head < b"REDIS0005":
        data = data[:-8]
    r = reader(data)
    assert r.next()
    assert r.value == b"v"
    assert not r.next()
    assert r.offset() == len(data)


@pytest.mark.parametrize("head", [b"REDIS0000", b"REDIS0013", b"REDIS0080", b"VALKEY079", b"REDIS00x1", b"NOTHING!!"])
def test_versions_that_are_not_read(head: bytes) -> None:
    """The reason names what the file begins with."""
    error = refusal(old.file(b"", head))
    assert head.decode() in error.reason
    assert error.offset == 9


def test_an_empty_file_is_refused() -> None:
    """Nothing at all is no RDB."""
    assert "shorter" in refusal(b"").reason


def test_checksums() -> None:
    """A wrong one is refused, none at all is taken."""
    body = b"\x00" + old.string(b"k", b"v")
    assert reader(old.file(body, checksum=False)).next()
    data = bytearray(old.file(body))
    data[-1] ^= 1
    assert "checksum" in refusal(bytes(data)).reason


def test_keys_without_a_value_are_left_out() -> None:
    """As Valkey does with what an old bug left; they are counted, and the next key is read."""
    body = b"\x02" + old.string(b"none") + b"\0" + b"\x00" + old.string(b"k", b"v")
    r = reader(old.file(body))
    assert r.next()
    assert (r.key, r.empty) == (b"k", 1)
    assert not r.next()


def test_what_belongs_to_one_key_does_not_reach_the_next() -> None:
    """Expiry, idle time and frequency are for the key behind them."""
    body = (
        b"\xfc"
        + struct.pack("<q", 5)
        + b"\xf8\x07"
        + b"\x00"
        + old.string(b"a", b"1")
        + b"\x00"
        + old.string(b"b", b"2")
    )
    r = reader(old.file(body))
    assert r.next()
    assert (r.expire_at, r.idle) == (5, 7)
    assert r.next()
    assert (r.expire_at, r.idle, r.frequency) == (0, -1, -1)


@pytest.mark.parametrize(("stated", "meant"), [(-1, 0), (0, 1), (-5, 1), (5, 5)])
def test_odd_times(stated: int, meant: int) -> None:
    """Minus one is no expiry; what lies before 1970 is over, and not forgotten."""
    r = reader(old.file(b"\xfc" + struct.pack("<q", stated) + b"\x00" + old.string(b"a", b"1")))
    assert r.next()
    assert r.expire_at == meant


def test_a_big_value_comes_in_parts() -> None:
    """No step reads more than some hundred elements, whatever the type."""
    members = [b"member%d" % n for n in range(5000)]
    body = b"\x02" + old.string(b"set") + old.length(5000) + old.string(*members)
    body += b"\x05" + old.string(b"zset") + old.length(5000)
    body += b"".join(old.string(m) + struct.pack("<d", n) for n, m in enumerate(members))
    body += b"\x0e" + old.string(b"list") + old.length(500) + old.string(old.ziplist([b"a", b"b"])) * 500
    r = reader(old.file(body))
    steps: list[int] = []
    sizes: list[int] = []
    parts = 0
    while (found := r.advance()) != END:
        if found == PART:
            parts += 1
            continue
        elements = content(r.value)[1]
        assert isinstance(elements, list | set | dict)
        sizes.append(len(elements))
        steps.append(parts)
        parts = 0
    assert sizes == [5000, 5000, 1000]
    assert min(steps) >= 19


@pytest.mark.parametrize("order", ["falling", "rising", "mixed"])
def test_a_sorted_set_in_any_order(order: str) -> None:
    """Files of Valkey have members from the highest score down; others are sorted."""
    pairs = [(float(n // 3), b"member%d" % n) for n in range(1000)]
    pairs.sort(reverse=order == "falling")
    if order == "mixed":
        random.Random(1).shuffle(pairs)
    body = b"\x05" + old.string(b"k") + old.length(1000)
    r = reader(old.file(body + b"".join(old.string(member) + struct.pack("<d", score) for score, member in pairs)))
    assert r.next()
    value = r.value
    assert isinstance(value, ZSet)
    members: list[bytes] = []
    value.collect(0, value.count, members, [])
    assert members == [member for _, member in sorted(pairs)]
    assert value.get(b"member999") == 333.0
    assert dump(from_scores({member: score for score, member in pairs})) == dump(value)


def test_bytes_behind_the_end_are_left_alone() -> None:
    """An AOF goes on behind its RDB: the reader says where."""
    data = old.file(b"\x00" + old.string(b"k", b"v"))
    r = reader(data + b"*1\r\n$4\r\nPING\r\n")
    assert r.next()
    assert not r.next()
    assert r.offset() == len(data)


# --- hostile files


def test_a_backward_length_in_a_longer_form_is_refused() -> None:
    """It leads back to the entry all the same, but no search by bytes would find the element."""
    entries = b"\x84abc\0" + b"\x84"  # the last byte says: 4, and more above; the data end with the zero above
    with pytest.raises(listpack.CorruptListpack, match="backward"):
        listpack.canonical(listpack.wrap(entries, 1))


@pytest.mark.parametrize(
    "entry",
    [b"\xc0\x05\x02", b"\xf1\x05\x00\x03", b"\xf4" + b"\x05" + b"\0" * 7 + b"\x09", b"\x815\x02", b"\xe0\x015\x03",
     b"\xf0\x01\0\0\x005\x06"],
)  # fmt: skip
def test_a_number_in_another_form_is_stored_in_the_shortest(entry: bytes) -> None:
    """Elements are found by their bytes, of which there is one form; one that has it is taken over as it is."""
    assert listpack.canonical(listpack.wrap(entry, 1)) == listpack.build([b"5"])
    usual = listpack.build(
        [b"5", b"-4096", b"4096", b"70000", b"-9000000", b"5000000000", b"x" * 64, b"y" * 4096, b"05"]
    )
    assert listpack.canonical(usual) is usual


BOMBS = {
    "string": b"\x00" + old.string(b"k") + b"\x80\xff\xff\xff\xff",
    "string of 64 bits": b"\x00" + old.string(b"k") + b"\x81\x3f" + b"\xff" * 7,
    "key": b"\x00\x80\x7f\xff\xff\xff",
    "list": b"\x01" + old.string(b"k") + b"\x80\xff\xff\xff\xff",
    "count that wraps": b"\x05" + old.string(b"k") + b"\x81\x20" + b"\0" * 7 + b"x" * 64,
    "lzf": b"\x00" + old.string(b"k") + b"\xc3\x04\x80\x1f\xff\xff\xff" + b"\xff" * 4,
    "lzf beyond the end": b"\x00" + old.string(b"k") + b"\xc3\x80\x7f\xff\xff\xff\x80\x1f\xff\xff\xff",
    "stream": b"\x15" + old.string(b"k") + b"\x80\x0f\xff\xff\xff",
    "slot import": b"\xf3" + old.string(b"j") + b"\x80\x0f\xff\xff\xff",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_length_that_the_file_cannot_hold_allocates_nothing(name: str) -> None:
    """Whatever a file states, no more is allocated than it can hold."""
    data = old.file(BOMBS[name])
    tracemalloc.start()
    try:
        refusal(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_a_compressed_string_expands_no_further_than_lzf_can() -> None:
    """Eighty-eight to one is the most; a million times the same member is refused at the second one."""
    packed = listpack.wrap(listpack.entry(b"a") * 300_000, 300_000)
    data = old.file(b"\x14" + old.string(b"k") + old.compressed(packed))
    tracemalloc.start()
    try:
        assert "twice" in refusal(data).reason
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * len(packed)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The file with some bytes changed, cut out, put in, doubled, or without its end."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(out))
        end = min(len(out), at + rng.randrange(1, 9))
        match rng.randrange(7):
            case 0 | 1:
                out[at] = rng.randrange(256)
            case 2:
                out[at] ^= 1 << rng.randrange(8)
            case 3:
                out[at:end] = rng.choice((b"\xff", b"\0", b"\x80", b"\x7f")) * (end - at)
            case 4:
                del out[at:end]
            case 5:
                out[at:at] = rng.randbytes(end - at)
            case _:
                del out[at:]
        if not out:
            out = bytearray(b"\0")
    return bytes(out)


def sources() -> list[bytes]:
    """Files to mutate: one with everything, and one for each value, so that mutations hit it. None has a checksum."""
    single = [
        old.file(bytes([kind]) + old.string(b"k") + value, b"VALKEY080", False)
        for kind, value in [*old.VALUES.values(), old.FIELD_TIMES]
        if len(value) < 2000
    ]
    return [old.all_values(False), *single]


def survives(data: bytes, name: str) -> bool:
    """Read a mutated file: refused cleanly, or every value is sound. True when it was read to its end."""
    size = len(data)
    steps = 0
    try:
        r = reader(data)
        while (found := r.advance()) != END:
            steps += 1
            assert steps <= size + 10, f"{name}: no end"
            if found == KEY:
                whole(r.value, name)
    except RdbError as error:
        refused_at = error.offset
    else:
        return True
    assert 0 <= refused_at <= size, f"{name}: refused at {refused_at}"
    return False


def whole(value: object, name: str) -> None:
    """A value that was read can be written, read again and walked."""
    packed = dump(value)
    assert len(dump(restore(packed))) > 10, name
    if isinstance(value, Value):
        assert value.used_bytes() > 0, name
        assert dump(value.copy()) == packed, name
    if not isinstance(value, bytes | Stream):
        content(value)


def fuzz(first: int, last: int) -> tuple[int, int]:
    """Read the mutated files of these seeds, each with bounded memory; how many were read, and refused."""
    files = sources()
    good = 0
    tracemalloc.start()
    try:
        for seed in range(first, last):
            rng = random.Random(seed)
            source = rng.choice(files)
            data = mutated(source, rng)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            good += survives(data, f"seed {seed}")
            peak = tracemalloc.get_traced_memory()[1] - before
            assert peak < (2 << 20) + 200 * len(data), f"seed {seed}: {peak} bytes"
    finally:
        tracemalloc.stop()
    return good, last - first - good


def test_five_hundred_mutated_files() -> None:
    """Each is refused cleanly or read soundly, within bounded memory and steps."""
    good, refused = fuzz(0, 500)
    assert good > 20
    assert refused > 200


@pytest.mark.slow
def test_ten_thousand_mutated_files() -> None:
    """As above, many more."""
    good, refused = fuzz(500, 10_500)
    assert good > 400
    assert refused > 4000


# --- kvorum check


def test_check_tells_what_a_file_holds(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Databases, types, expiry, functions, modules, the biggest keys; exit status 0."""
    path = tmp_path / "dump.rdb"
    path.write_bytes(old.all_values())
    assert check.main([str(path), "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert report["ok"]
    assert report["version"] == "VALKEY 80"
    assert report["databases"]["0"]["keys"] == len(old.VALUES)
    assert report["databases"]["0"]["types"]["stream"] == 3
    assert report["databases"]["3"] == {"keys": 3, "expires": 2, "types": {"hash": 1, "string": 2}}
    assert report["functions"] == 1
    assert report["modules"] == ["aux-modul"]
    assert report["biggest"][0]["key"] == "list ziplist"
    assert check.main([str(path)]) == 0
    text = capfd.readouterr().out
    assert "db 3: 3 keys, 2 with expiry (hash 1, string 2)" in text
    assert text.endswith("sound\n")


def test_check_tells_where_a_file_breaks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Offset, reason, the key that breaks and the last good one; exit status 1."""
    path = tmp_path / "dump.rdb"
    good = b"\x00" + old.string(b"good", b"v")
    path.write_bytes(old.file(good + b"\x0d" + old.string(b"bad", old.ziplist([b"a"]))))
    assert check.main([str(path), "--json"]) == 1
    report = json.loads(capfd.readouterr().out)
    assert not report["ok"]
    assert report["error"]["offset"] > 9 + len(good)
    assert "without value" in report["error"]["reason"]
    assert (report["broken_key"], report["last_good_key"], report["last_good_db"]) == ("bad", "good", 0)
    assert check.main([str(path)]) == 1
    assert "BROKEN at offset" in capfd.readouterr().out


def test_check_of_what_is_no_rdb(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A file of another kind, and none at all, are told on standard error."""
    path = tmp_path / "x"
    path.write_bytes(b"hello")
    assert check.main([str(path)]) == 1
    assert "no RDB file" in capfd.readouterr().err
    assert check.main([str(tmp_path / "none")]) == 1
    assert "No such file" in capfd.readouterr().err


def test_the_command_line_runs_the_check(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`kvorum check` passes report and exit status on, for a file whose name looks like an option too."""
    path = tmp_path / "--json.rdb"
    path.write_bytes(old.all_values())
    assert CliRunner().invoke(cli, ["check", "--json", "--", str(path)]).exit_code == 0
    assert json.loads(capfd.readouterr().out)["ok"]
    path.write_bytes(old.all_values()[:-20])
    assert CliRunner().invoke(cli, ["check", str(path)]).exit_code == 1
    assert "BROKEN" in capfd.readouterr().out
