"""Options: what values they take, how they are refused, how they change together."""

import pytest

from cluster.options import Kind, Option, OptionError, Options, UnknownOptionError, Words, glob, memory, quote
from cluster.resp.inline import split_words


def reversed_words(words: Words, old: Words) -> Words:
    """A check whose canonical form is not what was written."""
    if words == (b"bad",):
        raise OptionError("no such thing")
    return tuple(reversed(words))


ROWS = (
    Option("flag", Kind.FLAG, "no"),
    Option("count", Kind.NUMBER, "5", 1, 10, aliases=("number",)),
    Option("mode", Kind.OCTAL, "0", 0, 0o777),
    Option("size", Kind.MEMORY, "100", 10, 2**40),
    Option("share", Kind.SHARE, "0", 0, 2**40),
    Option("policy", Kind.ENUM, "lru", choices=("lru", "lfu")),
    Option("title", Kind.TEXT, "hello", immutable=True),
    Option("place", Kind.TEXT, "", protected=True),
    Option("secret", Kind.TEXT, "", sensitive=True, hidden=True),
    Option("names", Kind.WORDS, "a b", 0, 4, check=reversed_words),
    Option("rule", Kind.LINES, "", 1, 2),
)


@pytest.fixture
def options() -> Options:
    """One option of each kind."""
    return Options(ROWS)


def refusal(options: Options, name: str, value: str) -> str:
    """The reason for which a value is refused."""
    with pytest.raises(OptionError) as caught:
        options.set_pairs([(name.encode(), value.encode())], False)
    assert caught.value.name == name
    return caught.value.reason


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("100b", 100), ("1k", 1000), ("1KB", 1024), ("2m", 2000000), ("2mb", 2 << 20), ("1G", 10**9), ("3gB", 3
    << 30),
     ("", 0), ("kb", 0), ("-1", None), ("1.5gb", None), (" 1", None), ("1tb", None), ("x", None), ("1%", None),
     ("9223372036854775807", 2**63 - 1), ("9223372036854775808", None), ("9" * 25, None), ("8589934592gb", None)],
)  # fmt: skip
def test_memory(text: str, size: int | None) -> None:
    """Sizes are read with Valkey's units and refused when they don't fit."""
    assert memory(text.encode()) == size


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("flag", "maybe", "argument must be 'yes' or 'no'"),
        ("count", "x", "argument couldn't be parsed into an integer"),
        ("count", "01", "argument couldn't be parsed into an integer"),
        ("count", "+1", "argument couldn't be parsed into an integer"),
        ("count", "99999999999999999999", "argument couldn't be parsed into an integer"),
        ("count", "11", "argument must be between 1 and 10 inclusive"),
        ("mode", "999", "argument couldn't be parsed as an octal number"),
        ("mode", "1000", "argument must be between 0 and 777 inclusive"),
        ("size", "x", "argument must be a memory value"),
        ("size", "1", "argument must be between 10 and 1099511627776 inclusive"),
        ("share", "x", "argument must be a memory or percent value"),
        ("share", "-5%", "argument must be a memory or percent value"),
        ("share", "101%", "percentage argument must be less or equal to 100"),
        ("policy", "fifo", "argument(s) must be one of the following: lru, lfu"),
        ("title", "x", "can't set immutable config"),
        ("place", "x", "can't set protected config"),
        ("rule", "x", "can't set immutable config"),
        ("names", "bad", "no such thing"),
        ("names", "1 2 3 4 5", "wrong number of arguments"),
        ("names", '"1', "wrong number of arguments"),
    ],
)
def test_refusals(options: Options, name: str, value: str, reason: str) -> None:
    """A bad value is refused with Valkey's text and changes nothing."""
    before = options.match([b"*"])

    assert refusal(options, name, value) == reason
    assert options.match([b"*"]) == before


def test_reading(options: Options) -> None:
    """Values are read by kind; a percentage is negative."""
    options.set_pairs(
        [(b"FLAG", b"YES"), (b"number", b"7"), (b"mode", b"700"), (b"size", b"1kb"), (b"share", b"10%"), (b"names",
        b"x 'y z'")], False,
    )

    assert options.flag("flag")
    assert options.number("count") == 7
    assert options.number("mode") == 0o700
    assert options.number("size") == 1024
    assert options.number("share") == -10
    assert options.words("names") == (b"y z", b"x")
    assert options.string("policy") == "lru"
    assert options.get("number") == b"7"


def test_all_or_none(options: Options) -> None:
    """One bad value takes the good ones before it back, and the bad one is to blame."""
    with pytest.raises(OptionError) as caught:
        options.set_pairs([(b"flag", b"yes"), (b"COUNT", b"99")], False)

    assert (caught.value.name, options.flag("flag")) == ("count", False)


def test_unknown_and_twice(options: Options) -> None:
    """Unknown names and names given twice are refused; of several mistakes the first is reported."""
    with pytest.raises(UnknownOptionError) as caught:
        options.set_pairs([(b"flag", b"yes"), (b"nosuch", b"1"), (b"title", b"x")], False)
    assert caught.value.name == "nosuch"

    assert refusal(options, "title", "x") == "can't set immutable config"
    with pytest.raises(OptionError) as twice:
        options.set_pairs([(b"count", b"2"), (b"number", b"3")], False)
    assert (twice.value.name, twice.value.reason) == ("number", "duplicate parameter")


def test_match(options: Options) -> None:
    """Patterns find names and aliases in any case, sorted; a hidden option answers to its exact name only."""
    assert options.match([b"NUM*", b"count", b"count"]) == [(b"count", b"5"), (b"number", b"5")]
    assert options.match([b"FLAG"]) == [(b"FLAG", b"no")]
    assert options.match([b"s[ei]*"]) == [(b"size", b"100")]
    assert options.match([b"secret"]) == [(b"secret", b"")]
    assert options.match([b"nosuch"]) == []


def test_observers(options: Options) -> None:
    """An observer is told the names that changed; when one objects, everything is as before and the others are told."""
    told: list[tuple[frozenset[str], int]] = []
    options.observe(lambda names: told.append((names, options.number("count"))))
    options.set_pairs([(b"count", b"6"), (b"flag", b"no")], False)
    assert told == [(frozenset({"count"}), 6)]

    def object_to(names: frozenset[str]) -> None:
        if options.number("count") == 9:
            raise OptionError("too many")

    options.observe(object_to)
    assert refusal(options, "count", "9") == "too many"
    assert options.number("count") == 6
    assert told[1:] == [(frozenset({"count"}), 9), (frozenset({"count"}), 6)]


@pytest.mark.parametrize("word", [b"plain", b"", b"two words", b'qu"ote', b"back\\slash", b"\x00\xff\n", b"'", b"#x"])
def test_quote_is_read_back(word: bytes) -> None:
    """Whatever a word holds, its quoted form is read back as the same word."""
    assert split_words(b"name " + quote(word)) == [b"name", word]


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [(b"a*c", b"ABBC", True), (b"a?c", b"ac", False), (b"[^a]b", b"cb", True), (b"[^a]b", b"ab", False),
     (b"a\\*", b"a*", True), (b"a\\*", b"ab", False), (b"[a-c]x", b"bx", True), (b"[", b"x", False), (b"a.c", b"abc",
     False)],
)  # fmt: skip
def test_glob(pattern: bytes, text: bytes, matches: bool) -> None:
    """Globs are matched in any case."""
    assert (glob(pattern).fullmatch(text) is not None) == matches
