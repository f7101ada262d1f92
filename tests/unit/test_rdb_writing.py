"""The file that snapshots are written to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from node.persistence.rdbfile import PIECES, RdbFile


def test_pieces_are_written_whole_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than the system takes at once, and where it takes only a part of what it is given."""
    writev = os.writev
    left = [3, 0, 1 << 30]

    def some(descriptor: int, pieces: Sequence[bytes]) -> int:
        bound = left.pop(0) if len(left) > 1 else left[0]
        return writev(descriptor, pieces) if bound > 1 << 20 else os.write(descriptor, b"".join(pieces)[:bound])

    monkeypatch.setattr(os, "writev", some)
    pieces = [b"%d," % number for number in range(3 * PIECES)]
    file = RdbFile(tmp_path / "dump.rdb", True)
    file.write(*pieces[:-1])
    assert not (tmp_path / "dump.rdb").exists()
    file.finish(pieces[-1])
    assert (tmp_path / "dump.rdb").read_bytes() == b"".join(pieces)
    assert os.listdir(tmp_path) == ["dump.rdb"]


def test_nothing_is_left_of_what_is_dropped(tmp_path: Path) -> None:
    """A file that was begun goes; one that was not may be dropped as well."""
    file = RdbFile(tmp_path / "dump.rdb", False)
    file.drop()
    file.write(b"x")
    assert len(os.listdir(tmp_path)) == 1
    file.drop()
    assert os.listdir(tmp_path) == []
