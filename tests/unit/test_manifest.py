"""The manifest of an append-only file: reading, writing, and the sets that a rewrite makes of it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.persistence.manifest import BASE, HISTORY, INCREMENT, Manifest, ManifestError, Part, parse

GENUINE = b"""file appendonly.aof.2.base.rdb seq 2 type b
file appendonly.aof.1.base.rdb seq 1 type h
file appendonly.aof.1.incr.aof seq 1 type h
file appendonly.aof.2.incr.aof seq 2 type i
file appendonly.aof.3.incr.aof seq 3 type i
"""


def test_a_genuine_manifest_is_read_and_written_as_it_was() -> None:
    """Base, increments and history in their order, and the same bytes again."""
    manifest = parse(GENUINE)
    assert manifest.base == Part("appendonly.aof.2.base.rdb", 2, BASE)
    assert [part.seq for part in manifest.increments] == [2, 3]
    assert [part.kind for part in manifest.history] == [HISTORY, HISTORY]
    assert manifest.increment_seq == 3
    assert manifest.text() == GENUINE
    assert [part.name for part in manifest.files()] == [
        "appendonly.aof.2.base.rdb", "appendonly.aof.2.incr.aof", "appendonly.aof.3.incr.aof",
    ]  # fmt: skip


def test_comments_and_unknown_words_are_passed_over() -> None:
    """As Valkey does, for manifests of later versions."""
    data = b"# comment\nfile a.aof seq 1 type i startoffset 12 endoffset 40\n"
    assert parse(data).increments == (Part("a.aof", 1, INCREMENT),)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", 0),
        (b"file a seq 1 type b", 1),
        (b"\n", 1),
        (b"file a seq 1\n", 1),
        (b"file a seq 1 type\n", 1),
        (b"file a seq 1 type x\n", 1),
        (b"file a seq 0 type b\n", 1),
        (b"file a seq -1 type b\n", 1),
        (b"file a seq 99999999999999999999 type b\n", 1),
        (b"file ../a seq 1 type b\n", 1),
        (b"file .. seq 1 type b\n", 1),
        (b'file "a\n', 1),
        (b"file a seq 1 type b\nfile b seq 2 type b\n", 2),
        (b"file a seq 2 type i\nfile b seq 2 type i\n", 2),
        (b"file a seq 2 type i\nfile b seq 1 type i\n", 2),
        (b"file " + b"a" * 1024 + b" seq 1 type b\n", 1),
        (b"# only a comment\n", 0),
    ],
)
def test_what_is_no_manifest_is_refused_with_its_line(data: bytes, line: int) -> None:
    """The number of the line that is wrong, 0 where it is the whole."""
    with pytest.raises(ManifestError) as error:
        parse(data)
    assert error.value.line == line


def test_a_rewrite_makes_history_of_what_it_replaces() -> None:
    """All but the file that was opened at the snapshot's instant."""
    manifest = Manifest().with_base("b1", 0).with_increment("i1").with_increment("i2").with_base("b2", 1)
    assert manifest.base == Part("b2", 2, BASE)
    assert manifest.increments == (Part("i2", 2, INCREMENT),)
    assert {part.name for part in manifest.history} == {"b1", "i1"}
    left = manifest.without_history()
    assert parse(left.text()) == left
    assert manifest.with_base("b3", 0).increments == ()


NAMES = st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda name: name not in (".", "..")
)


@given(NAMES)
def test_names_of_any_kind_survive(name: str) -> None:
    """Spaces, quotes, control characters and other alphabets."""
    manifest = Manifest().with_base(name, 0)
    assert parse(manifest.text()) == manifest


@given(st.binary(max_size=200))
def test_any_bytes_give_a_manifest_or_an_error(data: bytes) -> None:
    """Nothing else is raised."""
    with contextlib.suppress(ManifestError):
        assert parse(data).text()
