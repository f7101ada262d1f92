"""The libraries of scripts in a bare Lua runtime, beside Python's json, struct and integers."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lupa import lua51

from node.scripting import libs

Function = Callable[..., Any]


@pytest.fixture(scope="module")
def lua() -> lua51.LuaRuntime:
    """A runtime with the libraries and nothing else."""
    runtime = lua51.LuaRuntime(
        encoding=None, unpack_returned_tuples=True, register_eval=False, register_builtins=False, max_memory=200 << 20
    )
    libs.install(runtime)
    return runtime


def read_message(data: bytes, at: int = 0) -> tuple[object, int]:
    """A model reader of MessagePack: the value at `at` and its end."""
    head, at = data[at], at + 1
    if head < 0x80:
        return head, at
    if head >= 0xE0:
        return head - 256, at
    fixed = {0xC0: None, 0xC2: False, 0xC3: True}
    if head in fixed:
        return fixed[head], at
    numbers = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">q", 0xD0: ">b", 0xD1: ">h"}
    numbers |= {0xD2: ">i", 0xD3: ">q"}
    if head in numbers:
        return struct.unpack_from(numbers[head], data, at)[0], at + struct.calcsize(numbers[head])
    sizes = {0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
    if head in sizes:
        count = int.from_bytes(data[at : at + sizes[head]], "big")
        at += sizes[head]
    else:
        count = head & 31 if 0xA0 <= head < 0xC0 else head & 15
    if 0xA0 <= head < 0xC0 or 0xD9 <= head <= 0xDB:
        return data[at : at + count].decode(), at + count
    if 0x90 <= head < 0xA0 or 0xDC <= head <= 0xDD:
        items = []
        for _ in range(count):
            item, at = read_message(data, at)
            items.append(item)
        return items, at
    pairs = {}
    for _ in range(count):
        key, at = read_message(data, at)
        pairs[key], at = read_message(data, at)
    return pairs, at


scalars = st.booleans() | st.integers(-(2**46), 2**46) | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
# empty tables are maps in JSON and lists in MessagePack, whatever they were
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, min_size=1, max_size=20) | st.dictionaries(keys, inner, min_size=1),
    max_leaves=25,
)


@settings(deadline=None, max_examples=80)
@given(value=values, ascii_only=st.booleans(), indent=st.sampled_from([None, 2]))
def test_json_round(lua: lua51.LuaRuntime, value: object, ascii_only: bool, indent: int | None) -> None:
    """What cjson reads and writes again is the same to Python's json."""
    again = lua.eval(b"function(text) return cjson.encode(cjson.decode(text)) end")
    text = again(json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode())

    assert json.loads(text) == value


@settings(deadline=None, max_examples=80)
@given(value=values)
def test_messagepack_round(lua: lua51.LuaRuntime, value: object) -> None:
    """What cmsgpack writes is what a model reads, and cmsgpack reads it back."""
    pack = lua.eval(b"function(text) return cmsgpack.pack(cjson.decode(text)) end")
    again = lua.eval(b"function(data) return cjson.encode(cmsgpack.unpack(data)) end")
    packed = pack(json.dumps(value).encode())

    assert read_message(packed) == (value, len(packed))
    assert json.loads(again(packed)) == value


@settings(deadline=None, max_examples=80)
@given(number=st.floats(allow_nan=False))
def test_doubles(lua: lua51.LuaRuntime, number: float) -> None:
    """Doubles keep all their bits in both formats, and become the nearest float."""
    both = lua.eval(b"function(n) return struct.pack('>d', n), struct.unpack('>d', struct.pack('>d', n)) end")
    packed, back, _end = both(number)
    assert packed[1:] == struct.pack(">d", number)[1:]
    assert back == number or (back != back and number != number)

    single = lua.eval(b"function(n) return struct.pack('<f', n) end")(number)
    if abs(number) < 3.4e38:
        assert single == struct.pack("<f", number)

    message, _ = read_message(lua.eval(b"cmsgpack.pack")(number))
    assert message == number or (message != message and number != number)


@settings(deadline=None, max_examples=80)
@given(number=st.integers(-(2**53), 2**53), size=st.integers(1, 8), big=st.booleans())
def test_integers(lua: lua51.LuaRuntime, number: int, size: int, big: bool) -> None:
    """Integers of each size are Python's, cut to the size."""
    order = ">" if big else "<"
    packed = lua.eval(b"struct.pack")(f"{order}i{size}".encode(), number)

    assert packed == (number % 256**size).to_bytes(size, "big" if big else "little")
    if -(128 * 256 ** (size - 1)) <= number < 128 * 256 ** (size - 1):
        assert lua.eval(b"struct.unpack")(f"{order}i{size}".encode(), packed)[0] == number


word = st.integers(-(2**31), 2**32 - 1)


@settings(deadline=None, max_examples=80)
@given(a=word, b=word, n=st.integers(0, 31))
def test_bits(lua: lua51.LuaRuntime, a: int, b: int, n: int) -> None:
    """Operations on 32 bits are Python's, as signed words."""

    def signed(value: int) -> int:
        value %= 2**32
        return value - 2**32 if value >= 2**31 else value

    bit = {
        name: lua.eval(f"bit.{name}".encode()) for name in ("band", "bor", "bxor", "bnot", "lshift", "rshift", "rol")
    }
    assert bit["band"](a, b) == signed(a & b)
    assert bit["bor"](a, b) == signed(a | b)
    assert bit["bxor"](a, b) == signed(a ^ b)
    assert bit["bnot"](a) == signed(~a)
    assert bit["lshift"](a, n) == signed(a << n)
    assert bit["rshift"](a, n) == signed(a % 2**32 >> n)
    assert bit["rol"](a, n) == signed(a << n | a % 2**32 >> 32 - n)


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("cmsgpack.unpack('\\221\\255\\255\\255\\255')", "Missing bytes in input."),
        ("cmsgpack.unpack('\\219\\255\\255\\255\\255')", "Missing bytes in input."),
        ("cmsgpack.unpack(string.rep('\\145', 100000))", "stack overflow (in function mp_decode_to_lua_array)"),
        ("cjson.decode(string.rep('[', 1000000))", "Found too many nested data structures (1001) at character 1001"),
        ("struct.unpack('c2147483647', 'x')", "bad argument #2 to '?' (data string too short)"),
        ("struct.pack('i2147483647', 1)", "integral size 2147483647 is larger than limit of 32"),
    ],
)
def test_hostile(lua: lua51.LuaRuntime, expression: str, text: str) -> None:
    """Sizes that the input only claims to have are refused before anything is allocated."""
    before = lua.get_memory_used()
    failure = lua.eval(f"select(2, pcall(function() local r = {expression} return r end))".encode())

    assert failure.endswith(
        text.replace("'?'", "'pack'" if "pack(" in expression and "unpack" not in expression else "'unpack'").encode()
    )
    assert lua.get_memory_used() - before < 16 << 20


def test_after_errors(lua: lua51.LuaRuntime) -> None:
    """A failure leaves nothing behind that the next call would see."""
    lua.eval(b"pcall(cjson.encode, {1, 2, print})")
    lua.eval(b"pcall(cmsgpack.pack, {1, 2, {3}}, print)")
    lua.eval(b"pcall(cjson.decode, '{\"a\\\\\\\\n\": [1')")

    assert lua.eval(b"cjson.encode({7})") == b"[7]"
    assert lua.eval(b"cmsgpack.pack(7)") == b"\x07"
    assert lua.eval(b"cjson.decode('[\"x\"]')")[1] == b"x"


def test_no_python(lua: lua51.LuaRuntime) -> None:
    """The libraries hold functions, texts and numbers; cjson.null alone is a userdata, and has no metatable."""
    kinds = lua.eval(
        b"(function() local found = {} for _, t in ipairs{cjson, cmsgpack, struct, bit} do for k, v in pairs(t) do "
        b"found[#found + 1] = type(v) .. (type(v) == 'userdata' and k or '') "
        b"if getmetatable(v) and type(v) ~= 'string' then found[#found + 1] = 'metatable' end end end "
        b"return table.concat(found, ' ') end)()"
    )

    assert set(kinds.split()) == {b"function", b"string", b"userdatanull"}
