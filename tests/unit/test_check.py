"""`kvorum check` on data folders, sets with an RDB part, and names that are no text; through the command line too."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from cluster.resp.encode import encode_request
from node import check
from sentinel.cli.main import main as cli
from tests.unit.test_mutated_files import MANIFEST, Node

COMMAND = encode_request([b"SET", b"k", b"v"])


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    """The data folder of a server that has kept both kinds of files."""
    node = Node(tmp_path)
    node.fill()
    folder = tmp_path / "data"
    files = folder / "appendonlydir"
    files.mkdir(parents=True)
    (folder / "dump.rdb").write_bytes(node.file())
    (folder / "log").write_text("hello")
    (files / "a.manifest").write_bytes(MANIFEST % b"rdb")
    (files / "a.1.base.rdb").write_bytes(node.file())
    (files / "a.1.incr.aof").write_bytes(COMMAND)
    (files / "a.2.incr.aof").write_bytes(COMMAND * 2)
    return folder


def checked(path: Path, capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, object], str]:
    """Exit status, report, and the text of a second look."""
    status = check.main([str(path), "--json", *words])
    report: dict[str, object] = json.loads(capfd.readouterr().out)
    check.main([str(path)])
    return status, report, capfd.readouterr().out


def test_a_data_folder_is_told_as_a_whole(data_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The RDB file, the set and what is in its RDB part, and which of them a node would load."""
    status, report, text = checked(data_folder, capfd)
    files = report["files"]
    assert isinstance(files, list)
    assert (status, report["kind"], report["ok"]) == (0, "folder", True)
    assert [file["kind"] for file in files] == ["rdb", "manifest"]
    rdb, told = files
    base = told["files"][0]
    assert base["rdb"]["databases"] == rdb["databases"]
    assert rdb["databases"]["0"]["types"]["stream"] == 1
    assert rdb["databases"]["3"] == {"keys": 1, "expires": 0, "types": {"string": 1}}
    assert [file["commands"] for file in told["files"]] == [0, 1, 2]
    assert "with appendonly yes a node loads" in text
    assert "    valkey-ver: " in text


def test_what_is_broken_in_a_folder_is_named(data_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The file, the offset; --fix cuts what is torn and leaves what is damaged."""
    base = data_folder / "appendonlydir" / "a.1.base.rdb"
    data = bytearray(base.read_bytes())
    data[-1] ^= 1
    base.write_bytes(data)
    torn = data_folder / "appendonlydir" / "a.2.incr.aof"
    torn.write_bytes(COMMAND + COMMAND[:-3])
    status, report, text = checked(data_folder, capfd, "--fix")
    assert (status, report["ok"]) == (1, False)
    assert "BROKEN at offset" in text
    assert "in the RDB part: the checksum is wrong" in text
    assert torn.read_bytes() == COMMAND
    assert torn.with_name(f"{torn.name}.cut-{len(COMMAND)}").read_bytes() == COMMAND[:-3]
    assert base.read_bytes() == data


def test_a_folder_with_nothing_for_a_server(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It is told, with exit status 1; so is a file that can't be read."""
    assert check.main([str(tmp_path)]) == 1
    assert "a folder without RDB file" in capfd.readouterr().err
    (tmp_path / "dump.rdb").symlink_to(tmp_path / "nowhere")
    (tmp_path / "a.manifest").symlink_to(tmp_path / "nowhere")
    assert check.main([str(tmp_path)]) == 1
    assert f"{tmp_path / 'a.manifest'}: No such file" in capfd.readouterr().err


def test_names_that_are_no_text_are_shown(data_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A name is any bytes; each of them is shown, and nothing fails at it."""
    name = os.fsdecode(b"a\xff.1.incr.aof")
    folder = data_folder / "appendonlydir"
    (folder / "a.manifest").write_bytes(b'file "a\\xff.1.incr.aof" seq 1 type i\n')
    (folder / name).write_bytes(COMMAND)
    status, report, text = checked(folder, capfd)
    assert (status, report["ok"]) == (0, True)
    assert "a\\xff.1.incr.aof: " in text


def test_the_command_line_takes_a_folder(data_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`kvorum check` on the data folder of a server, as text and as JSON."""
    assert CliRunner().invoke(cli, ["check", str(data_folder)]).exit_code == 0
    assert capfd.readouterr().out.count("sound\n") == 5
    assert CliRunner().invoke(cli, ["check", "--json", str(data_folder)]).exit_code == 0
    assert json.loads(capfd.readouterr().out)["kind"] == "folder"
