"""Commands read from append-only files: whole ones, torn ones, damaged ones; what `kvorum check` says of them."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from cluster.resp.encode import encode_request
from node import check
from node.persistence.aofparse import AofError, AofReader, TornError
from sentinel.cli.main import main as cli

COMMANDS = [[b"SELECT", b"0"], [b"SET", b"k", b"v"], [b"RPUSH", b"list", b"", b"\r\n*3\r\n", b"x" * 5000]]


def read(path: Path) -> tuple[list[list[bytes]], AofError | None]:
    """All commands of a file, and why it ends before its end."""
    found: list[list[bytes]] = []
    with path.open("rb") as file:
        reader = AofReader(file, 0)
        try:
            while reader.next():
                found.append(reader.args)
        except AofError as error:
            return found, error
        assert reader.offset == path.stat().st_size
    return found, None


def written(tmp_path: Path, data: bytes) -> Path:
    """A file with this content."""
    path = tmp_path / "appendonly.aof"
    path.write_bytes(data)
    return path


def test_commands_and_annotations_are_read(tmp_path: Path) -> None:
    """Arguments are bytes of any kind; annotations are no commands."""
    data = b"#TS:1700000000\r\n" + b"".join(map(encode_request, COMMANDS)) + b"#TS:1700000001\r\n"
    assert read(written(tmp_path, data)) == (COMMANDS, None)


def test_an_argument_larger_than_a_read(tmp_path: Path) -> None:
    """Several megabytes in one piece, others behind it."""
    commands = [[b"SET", b"k", random.Random(1).randbytes(3 << 20)], [b"DEL", b"k"]]
    assert read(written(tmp_path, b"".join(map(encode_request, commands)))) == (commands, None)


def test_a_file_cut_at_every_byte_is_torn_there(tmp_path: Path) -> None:
    """All commands before the cut are read, and the end is told as torn, not as damaged."""
    head = encode_request([b"SET", b"k", b"v"])
    tail = encode_request([b"SET", b"key", b"value"])
    for cut in range(1, len(tail)):
        found, error = read(written(tmp_path, head + tail[:cut]))
        assert found == [[b"SET", b"k", b"v"]]
        assert isinstance(error, TornError), cut
        assert str(len(head)) in error.reason


@pytest.mark.parametrize(
    ("damaged", "offset"),
    [
        (b"hello\r\n", 0),
        (b"*0\r\n", 0),
        (b"*-1\r\n", 0),
        (b"*99999999\r\n", 0),
        (b"*x\r\n", 0),
        (b"*1\n$4\r\nPING\r\n", 0),
        (b"*1\r\n+PING\r\n", 4),
        (b"*1\r\n$-1\r\n", 4),
        (b"*1\r\n$3\r\nPINGPING\r\n", 11),
        (b"*" + b"1" * 100 + b"\r\n", 1),
        (b"#" + b"x" * 5000 + b"\n", 0),
    ],
)
def test_damage_is_told_with_its_offset(tmp_path: Path, damaged: bytes, offset: int) -> None:
    """Where it is, counted from the beginning of the file."""
    head = encode_request([b"SET", b"k", b"v"])
    found, error = read(written(tmp_path, head + damaged + b"*1\r\n$4\r\nPING\r\n" * 100))
    assert found == [[b"SET", b"k", b"v"]]
    assert error is not None and not isinstance(error, TornError)
    assert error.offset in (len(head) + offset, len(head))


def test_a_length_beyond_the_file_allocates_nothing(tmp_path: Path) -> None:
    """It is a torn end."""
    found, error = read(written(tmp_path, b"*2\r\n$3\r\nDEL\r\n$999999999999\r\nx"))
    assert (found, type(error)) == ([], TornError)


@pytest.mark.parametrize("line", [b"*\n", b"*\r\n", b"#TS:\n*\n", b"\n", b"*1\r\n$\n", b"*1\r\n$\r\n"])
def test_a_line_without_its_number(tmp_path: Path, line: bytes) -> None:
    """It is refused, not sliced beyond its beginning."""
    found, error = read(written(tmp_path, line))
    assert (found, type(error)) == ([], AofError)


def test_mutated_files_give_commands_or_an_error(tmp_path: Path) -> None:
    """Of two thousand none raises anything else."""
    rng = random.Random(4)
    data = b"".join(map(encode_request, COMMANDS[:2])) * 3
    for _ in range(2000):
        changed = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            changed[rng.randrange(len(changed))] = rng.choice(b"\r\n*$0189x#-\0\xff")
        read(written(tmp_path, bytes(changed)))


# --- kvorum check
def checked(path: Path, capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, object], str]:
    """Exit status, report and text."""
    status = check.main([str(path), "--json", *words])
    report = json.loads(capfd.readouterr().out)
    check.main([str(path)])
    return status, report, capfd.readouterr().out


def test_check_of_a_sound_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Commands, transactions, times."""
    transaction = [[b"MULTI"], [b"SET", b"a", b"1"], [b"EXEC"]]
    data = b"#TS:1700000000\r\n" + b"".join(map(encode_request, COMMANDS + transaction)) + b"#TS:1700000009\r\n"
    status, report, text = checked(written(tmp_path, data), capfd)
    assert status == 0 and report["ok"]
    assert (report["commands"], report["transactions"]) == (6, 1)
    assert report["timestamps"] == [1700000000, 1700000009]
    assert "6 commands" in text and "sound" in text


def test_check_cuts_a_torn_end_when_told_to(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Of a transaction without its end nothing is left; without --fix nothing is changed."""
    good = encode_request([b"SET", b"k", b"v"])
    torn = good + encode_request([b"MULTI"]) + encode_request([b"SET", b"a", b"1"])
    path = written(tmp_path, torn)
    status, report, text = checked(path, capfd)
    assert status == 1 and report["torn"] and report["good_until"] == len(good)
    assert "--fix" in text and path.read_bytes() == torn
    status, report, text = checked(path, capfd, "--fix")
    assert status == 0 and report["cut"] == len(torn) - len(good)
    assert path.read_bytes() == good and "sound" in text
    kept = Path(str(report["cut_to"]))
    assert kept.name == f"{path.name}.cut-{len(good)}" and good + kept.read_bytes() == torn
    path.write_bytes(torn[:-1])
    _, report, _ = checked(path, capfd, "--fix")
    assert good + kept.read_bytes() == torn and report["cut_to"] == f"{kept}-2"


def test_check_does_not_cut_what_is_damaged_in_the_middle(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What follows may be data."""
    data = encode_request([b"SET", b"k", b"v"]) + b"garbage\r\n" + encode_request([b"SET", b"k", b"v"])
    path = written(tmp_path, data)
    status, report, text = checked(path, capfd, "--fix")
    assert status == 1 and not report["torn"] and path.read_bytes() == data
    assert "BROKEN at offset" in text


def test_check_of_a_set(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The manifest, its folder, a file that is missing, an end that is torn in the last file and before it."""
    command = encode_request([b"SET", b"k", b"v"])
    manifest = tmp_path / "appendonly.aof.manifest"
    manifest.write_bytes(b"file a.1.base.aof seq 1 type b\nfile a.1.incr.aof seq 1 type i\n")
    (tmp_path / "a.1.base.aof").write_bytes(command)
    status, _, text = checked(tmp_path, capfd)
    assert status == 1 and "No such file" in text
    (tmp_path / "a.1.incr.aof").write_bytes(command + command[:-1])
    status, _, _ = checked(tmp_path, capfd, "--fix")
    assert status == 0 and (tmp_path / "a.1.incr.aof").read_bytes() == command
    (tmp_path / "a.1.base.aof").write_bytes(command + command[:-1])
    status, _, _ = checked(manifest, capfd, "--fix")
    assert status == 1 and (tmp_path / "a.1.base.aof").read_bytes() == command + command[:-1]
    manifest.write_bytes(b"file a seq x type b\n")
    status, _, text = checked(manifest, capfd)
    assert status == 1 and "line 1" in text


def test_the_command_line_cuts_a_torn_end(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`kvorum check --fix` on the folder says what it has cut off, and passes the exit status on."""
    command = encode_request([b"SET", b"k", b"v"])
    (tmp_path / "a.aof.manifest").write_bytes(b"file a.aof.1.incr.aof seq 1 type i\n")
    path = tmp_path / "a.aof.1.incr.aof"
    path.write_bytes(command + command[:7])
    assert CliRunner().invoke(cli, ["check", str(tmp_path)]).exit_code == 1
    assert CliRunner().invoke(cli, ["check", "--fix", str(tmp_path)]).exit_code == 0
    assert f"7 bytes were cut off, {len(command)} are left" in capfd.readouterr().out
    assert path.read_bytes() == command
