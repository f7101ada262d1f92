"""cjson, cmsgpack, struct and bit in scripts: results, limits and error texts as genuine Valkey's.

Tables with several string keys are compared by content: the order in which Lua walks over them is the machine's own.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.differential.twins import Twin, Twins, start_twins

CASES = Path(__file__).with_name("script_lib_cases.txt").read_text("ascii").splitlines()

# what `%s` returns or raises, as one string
SHOW = b"""local function show(v)
  local t = type(v)
  if t == "number" then return "n" .. string.format("%.17g", v) end
  if t == "string" then return "s" .. #v .. ":" .. v end
  if v == cjson.null then return "null" end
  if t ~= "table" then return t == "function" and t or tostring(v) end
  local keys = {}
  for k in pairs(v) do keys[#keys + 1] = {show(k), k} end
  table.sort(keys, function(a, b) return a[1] < b[1] end)
  local out = {}
  for i, k in ipairs(keys) do out[i] = k[1] .. "=" .. show(v[k[2]]) end
  return "{" .. table.concat(out, ",") .. "}"
end
local function pack(...) return {n = select("#", ...), ...} end
local ok, r = pcall(function() return pack(%s) end)
return tostring(ok) .. " " .. show(r)
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One pair."""
    with start_twins(tmp_path_factory.mktemp("scriptlibs")) as twins:
        yield twins
        twins.hang_up()


def agree(twin: Twin, script: bytes, *args: bytes) -> bytes:
    """Assert that a script answers the same on both; returns the answer."""
    theirs, ours = twin.both(b"EVAL", script, b"0", *args)
    assert theirs == ours, f"{script!r} {args!r}: Valkey answered {theirs!r}, we {ours!r}"
    return theirs


def agree_on(twin: Twin, expression: bytes, *args: bytes) -> bytes:
    """Assert that an expression has the same values or error on both."""
    return agree(twin, SHOW.replace(b"%s", expression), *args)


@pytest.mark.parametrize("protocol", [2, 3])
def test_cases(servers: Twins, protocol: int) -> None:
    """Every case of the list, settings of the libraries included, answers as Valkey does, and in the same place."""
    twin = servers.client(protocol)
    for case in CASES:
        agree(twin, case.encode())


def test_fields(servers: Twins) -> None:
    """The tables have the same fields, of the same types, and their texts are the same."""
    twin = servers.client()
    for library in ("cjson", "cmsgpack", "struct", "bit"):
        agree(twin, (
            f"local r = {{}} for k, v in pairs({library}) do r[#r + 1] = k .. type(v) .. "
            "(type(v) == 'string' and v or '') end table.sort(r) return r"
        ).encode())  # fmt: skip
        agree(twin, f"{library}.x = 1".encode())
        agree(twin, f"rawset({library}, 'x', 1)".encode())
        agree(twin, f"return {library}.nothing == nil".encode())


def number(rng: random.Random) -> str:
    """A number of any size in Lua's notation."""
    return rng.choice([
        lambda: str(rng.randint(-40, 300)), lambda: str(rng.randint(-(2**33), 2**33)),
        lambda: repr(rng.uniform(-10, 10)), lambda: f"{rng.randint(-(2**63), 2**64)}",
        lambda: "0/0", lambda: "1/0", lambda: "-1/0", lambda: "2^31", lambda: "2^53+1", lambda: "-0.0",
        lambda: "5e-324", lambda: "1e-40", lambda: repr(rng.random() * 1e300),
    ])()  # fmt: skip


def text(rng: random.Random) -> str:
    """A string literal of any bytes."""
    size = rng.choice([0, 1, 5, 31, 32, 40, 255, 256])
    pool = rng.choice(["ab", 'a"\\/\n\x00\x7f', "".join(map(chr, range(256)))])
    return '"' + "".join(f"\\{ord(rng.choice(pool)):03d}" for _ in range(size)) + '"'


def literal(rng: random.Random, depth: int = 0) -> str:
    """A Lua value whose tables have at most one key that is no index, so that their order is certain."""
    kind = rng.randrange(10 if depth < 5 else 6)
    if kind < 2:
        return number(rng)
    if kind < 4:
        return text(rng)
    if kind < 6:
        return rng.choice(["true", "false", "nil", "cjson.null"])
    if kind < 8:
        return "{" + ",".join(literal(rng, depth + 1) for _ in range(rng.choice([0, 1, 2, 3, 17]))) + "}"
    key = rng.choice([text, lambda r: str(r.randint(-2, 12)), lambda r: "1.5", lambda r: "true"])(rng)
    return "{[" + key + "]=" + literal(rng, depth + 1) + "}"


@pytest.mark.parametrize("seed", range(4))
def test_writing(servers: Twins, seed: int) -> None:
    """Random structures are written as Valkey writes them, or refused with its words, and read back as the same."""
    twin = servers.client()
    rng = random.Random(seed)
    for _ in range(100):
        value = literal(rng).encode()
        agree_on(twin, b"cjson.encode(" + value + b")")
        agree_on(twin, b"cjson.decode(cjson.encode(" + value + b"))")
        agree_on(twin, b"cmsgpack.pack(" + value + b"," + value + b")")
        agree_on(twin, b"cmsgpack.unpack(cmsgpack.pack(" + value + b"," + value + b"))")


def json_value(rng: random.Random, depth: int = 0) -> object:
    """A value for json.dumps."""
    kind = rng.randrange(9 if depth < 5 else 6)
    if kind < 2:
        return rng.choice([rng.randint(-100, 100), rng.random() * 10 ** rng.randint(-5, 20), -0.0, 2**70])
    if kind < 4:
        return "".join(rng.choice('ab"\\/\n\t\u00e9\u20ac\U0001f600\x01') for _ in range(rng.randrange(12)))
    if kind < 6:
        return rng.choice([True, False, None])
    if kind < 8:
        return [json_value(rng, depth + 1) for _ in range(rng.randrange(5))]
    return {f"k{i}": json_value(rng, depth + 1) for i in range(rng.randrange(5))}


@pytest.mark.parametrize("seed", range(4))
def test_reading_json(servers: Twins, seed: int) -> None:
    """JSON, whole and mutilated, is read as Valkey reads it or refused with its words at the same character."""
    twin = servers.client()
    rng = random.Random(seed)
    for _ in range(150):
        document = json.dumps(
            json_value(rng), ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, None, 1])
        ).encode()
        agree_on(twin, b"cjson.decode(ARGV[1])", document)
        for _ in range(3):
            at = rng.randrange(len(document) + 1)
            junk = rng.choice(
                [b"", b",", b'"', b"\\", b"\x00", b"}", b"]", b":", b"e", b"-", b"0", b"x", b"\\u12", b" "]
            )
            agree_on(twin, b"cjson.decode(ARGV[1])", document[:at] + junk + document[at + rng.randrange(3) :])


@pytest.mark.parametrize("seed", range(4))
def test_reading_messagepack(servers: Twins, seed: int) -> None:
    """Random and mutilated MessagePack is read as Valkey reads it, whole or in parts, or refused with its words."""
    twin = servers.client()
    rng = random.Random(seed)
    heads = [0x81, 0x91, 0x92, 0xA3, 0xC0, 0xC1, 0xC2, 0xCA, 0xCB, 0xCC, 0xCD, 0xCE, 0xCF, 0xD0, 0xD3, 0xD9, 0xDA, 0xDC]
    for _ in range(300):
        data = bytes(
            rng.choice([rng.randrange(256), rng.choice(heads), rng.randrange(3)]) for _ in range(rng.randrange(24))
        )
        agree_on(twin, b"cmsgpack.unpack(ARGV[1])", data)
        agree_on(twin, b"cmsgpack.unpack_one(ARGV[1], %d)" % rng.randint(-1, 9), data)
        agree_on(twin, b"cmsgpack.unpack_limit(ARGV[1], %d, %d)" % (rng.randint(-1, 4), rng.randint(0, 4)), data)


@pytest.mark.parametrize("seed", range(4))
def test_records(servers: Twins, seed: int) -> None:
    """Records in random formats are packed, measured and unpacked as Valkey does it."""
    twin = servers.client()
    rng = random.Random(seed)
    options = [*"bBhHlLTfdxsi I<>!", "i1", "I3", "i5", "I8", "i9", "I16", "c1", "c3", "c0", "!2", "!4", "!3", "y", "c"]
    for _ in range(300):
        pattern = "".join(rng.choice(options) for _ in range(rng.randrange(1, 7))).encode()
        values = ",".join(
            rng.choice([number(rng), '"abc"', '"12"', "nil", "5"])
            if rng.random() < 0.3
            else str(rng.randint(-300, 300))
            for _ in range(rng.randrange(7))
        ).encode()
        agree_on(twin, b"struct.pack(ARGV[1]" + (b"," + values if values else b"") + b")", pattern)
        agree_on(twin, b"struct.size(ARGV[1])", pattern)
        data = bytes(rng.choice([0, 0, 1, 2, 127, 128, 255, rng.randrange(256)]) for _ in range(rng.randrange(60)))
        agree_on(twin, b"struct.unpack(ARGV[1], ARGV[2], %d)" % rng.randint(-1, 4), pattern, data)


@pytest.mark.parametrize("seed", range(2))
def test_bits(servers: Twins, seed: int) -> None:
    """Operations on 32 bits, of numbers of any size, with any number of arguments."""
    twin = servers.client()
    rng = random.Random(seed)
    names = ["tobit", "tohex", "bnot", "band", "bor", "bxor", "lshift", "rshift", "arshift", "rol", "ror", "bswap"]
    for _ in range(400):
        arguments = ",".join(rng.choice([number(rng), str(rng.randint(-33, 33))]) for _ in range(rng.randint(0, 3)))
        agree_on(twin, f"bit.{rng.choice(names)}({arguments})".encode())
