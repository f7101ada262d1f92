"""Configuration files and command lines: read, refused with their place, rewritten in place."""

import stat
from pathlib import Path

import pytest

from cluster.configfile import ConfigFileError, directives, dump, load_argv, load_file, load_text, rewrite
from cluster.options import Kind, Option, OptionError, Options
from tests.unit.test_options import ROWS


@pytest.fixture
def options() -> Options:
    """One option of each kind, and a list without a check."""
    return Options((*ROWS, Option("save", Kind.WORDS, "", 0, 9)))


def nothing() -> bytes:
    """Standard input that nobody should read."""
    raise AssertionError("standard input was read")


def test_lines(options: Options) -> None:
    """Comments, blank lines, quotes, any case and repeated directives are understood."""
    load_text(options, b"# count 9\n\n  COUNT 7 \r\nnames 'a b' c\nrule one\nrule two 2\n", "x")

    assert options.number("count") == 7
    assert options.words("names") == (b"c", b"a b")
    assert options.lines("rule") == [(b"one",), (b"two", b"2")]


@pytest.mark.parametrize(
    ("text", "number", "reason"),
    [
        (b"count 7\nnosuch 1", 2, "Bad directive or wrong number of arguments"),
        (b"size x", 1, "argument must be a memory value"),
        (b"size", 1, "wrong number of arguments"),
        (b"size 10 20", 1, "wrong number of arguments"),
        (b'size "10', 1, "Unbalanced quotes in configuration line"),
        (b"rule 1 2 3", 1, "wrong number of arguments"),
    ],
)
def test_mistakes(options: Options, text: bytes, number: int, reason: str) -> None:
    """A mistake is reported with source, line number, line and Valkey's reason."""
    with pytest.raises(ConfigFileError) as caught:
        load_text(options, text, "x.conf")

    line = text.split(b"\n")[number - 1].decode()
    assert str(caught.value) == f"x.conf, at line {number}\n>>> '{line}'\n{reason}"


def test_secrets_stay_out_of_errors(options: Options) -> None:
    """A line with a secret is not repeated in the error text."""
    with pytest.raises(ConfigFileError) as caught:
        load_text(options, b"secret hunter2 more", "x.conf")

    assert "hunter2" not in str(caught.value)


def test_include(options: Options, tmp_path: Path) -> None:
    """An included file is read where it stands, globs in order; a cycle is an error and not a crash."""
    (tmp_path / "1.inc").write_text("count 3\n")
    (tmp_path / "2.inc").write_text("count 4\n")
    main = tmp_path / "main.conf"
    main.write_text(f"count 2\ninclude {tmp_path}/*.inc\ninclude {tmp_path}/none*.x\n")
    load_file(options, str(main))
    assert options.number("count") == 4

    main.write_text(f"include {main}\n")
    with pytest.raises(ConfigFileError, match="nested deeper"):
        load_file(options, str(main))
    with pytest.raises(ConfigFileError, match="No such file"):
        load_text(options, f"include {tmp_path}/missing".encode(), "x")


@pytest.mark.parametrize(
    ("argv", "lines"),
    [
        (["--port", "1", "--bind", "a", "b c"], [b"port 1", b'bind a "b c"']),
        (["--port 1"], [b"port 1"]),
        (["--save", "--port", "1"], [b'save ""', b"port 1"]),
        (["--save"], [b'save ""']),
        (["--requirepass", "--x", "--port", "1"], [b"requirepass --x", b"port 1"]),
        (["--save", "10", "1", "--port", "1"], [b"save 10 1", b"port 1"]),
        (["--rule", "", "--port", "1"], [b'rule ""', b"port 1"]),
        ([], []),
    ],
)
def test_directives(argv: list[str], lines: list[bytes]) -> None:
    """The command line stands for these lines of a file, as valkey-server reads it."""
    assert directives(argv) == lines


def test_argv(options: Options, tmp_path: Path) -> None:
    """First the file, then standard input, then the directives; the file's path is kept for rewriting."""
    path = tmp_path / "x.conf"
    path.write_text("count 2\nflag yes\nsize 20\n")
    load_argv(options, [str(path), "--size", "30", "-"], lambda: b"count 3\nsize 25\n")

    assert (options.number("count"), options.flag("flag"), options.number("size")) == (3, True, 30)
    assert options.path == str(path)

    with pytest.raises(ConfigFileError, match="command line, at line 1"):
        load_argv(Options(ROWS), ["--nosuch", "1"], nothing)
    with pytest.raises(OptionError):
        load_argv(Options(ROWS), [str(tmp_path / "missing.conf")], nothing)


def test_rewrite_keeps_order_and_comments(options: Options, tmp_path: Path) -> None:
    """A rewrite changes lines where they stand, drops repetitions, appends what is new, and is itself stable."""
    path = tmp_path / "x.conf"
    path.write_text("# a comment\ncount 2\n\nsize 20\ncount 3\nrule one\n# the end\nunknown stays\n")
    path.chmod(0o640)
    text = path.read_text().replace("unknown stays\n", "")
    load_text(options, text.encode(), "x")
    options.path = str(path)
    options.set_pairs([(b"size", b"2mb"), (b"names", b"'x y' z"), (b"count", b"9")], False)
    options.put_lines("rule", [(b"one",), (b"two", b"#2")])

    rewrite(options)

    expected = (
        '# a comment\ncount 9\n\nsize 2mb\nrule one\nrule two "#2"\n# the end\nunknown stays\n'
        '# Generated by CONFIG REWRITE\nnames z "x y"\n'
    )
    assert path.read_text() == expected
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["x.conf"]
    rewrite(options)
    assert path.read_text() == expected


def test_rewrite_removes_emptied_lists(options: Options, tmp_path: Path) -> None:
    """A list that is empty again loses its line, as replicaof does after a promotion."""
    path = tmp_path / "x.conf"
    path.write_text("save 1 2\ncount 2\n")
    options.path = str(path)
    load_file(options, str(path))
    options.put("save", ())

    rewrite(options)

    assert path.read_text() == "count 2\n"


def test_dump_is_read_back(options: Options) -> None:
    """What is dumped sets the same values in fresh options."""
    load_text(options, b"count 7\nshare 50%\nnames x\nrule 'a b' c\nsize 1025\n", "x")
    fresh = Options((*ROWS, Option("save", Kind.WORDS, "", 0, 9)))

    load_text(fresh, dump(options), "dump")

    assert fresh.match([b"*"]) == options.match([b"*"])
