"""Short words in which rows are written; each function builds one piece of a row.

What follows from other facts is derived here as Valkey derives it and is not written in the rows: implicit ACL
categories from flags, and the legacy key triple and the `movablekeys` flag from the key specifications.
"""

from collections.abc import Iterable

from cluster.catalog.model import (
    ACL_ADMIN,
    ACL_BLOCKING,
    ACL_DANGEROUS,
    ACL_FAST,
    ACL_PUBSUB,
    ACL_READ,
    ACL_SCRIPTING,
    ACL_SLOW,
    ACL_WRITE,
    ADMIN,
    BEGIN_INDEX,
    BEGIN_KEYWORD,
    BEGIN_UNKNOWN,
    BLOCKING,
    FAST,
    FIND_KEYNUM,
    FIND_RANGE,
    FIND_UNKNOWN,
    MOVABLEKEYS,
    MULTIPLE,
    MULTIPLE_TOKEN,
    OPTIONAL,
    PUBSUB,
    READONLY,
    WRITE,
    Argument,
    Command,
    KeySpec,
)

_REQUEST = "request_policy:"
_RESPONSE = "response_policy:"


# --- key specifications
def keys_at(position: int, flags: int, *, last: int = 0, step: int = 1, limit: int = 0, notes: str = "") -> KeySpec:
    """Build the keys from argument `position` to `last` (relative to it, or to the end when negative)."""
    return KeySpec(BEGIN_INDEX, position, b"", FIND_RANGE, last, step, limit, 0, 0, flags, notes)


def keys_counted_at(position: int, flags: int, *, step: int = 1, notes: str = "") -> KeySpec:
    """Build keys that follow their own number, which stands at argument `position`."""
    return KeySpec(BEGIN_INDEX, position, b"", FIND_KEYNUM, 0, step, 0, 0, 1, flags, notes)


def keys_after(word: str, start: int, flags: int, *, last: int = 0, step: int = 1, limit: int = 0) -> KeySpec:
    """Build keys after a word that is searched from argument `start` (from the end when negative)."""
    return KeySpec(BEGIN_KEYWORD, start, word.encode(), FIND_RANGE, last, step, limit, 0, 0, flags, "")


def keys_unknown(flags: int, notes: str = "") -> KeySpec:
    """Build a specification that says that keys exist and cannot be found by rule."""
    return KeySpec(BEGIN_UNKNOWN, 0, b"", FIND_UNKNOWN, 0, 0, 0, 0, 0, flags, notes)


# --- arguments
def _value(type: str, name: str, word: str | None, since: str, show: str) -> Argument:
    return Argument(name, type, show or name, -1, word, since, [])


def key(name: str = "key", spec: int = 0, *, word: str | None = None, since: str = "", show: str = "") -> Argument:
    """Build a key argument, found by the row's key specification number `spec`."""
    return Argument(name, "key", show or name, spec, word, since, [])


def marked(argument: Argument, spec: int = 0) -> Argument:
    """Have an argument that is no key name a key specification, as the genuine documentation of some rows does."""
    argument.key_spec_index = spec
    return argument


def string(name: str, word: str | None = None, since: str = "", show: str = "") -> Argument:
    """Build a string argument."""
    return _value("string", name, word, since, show)


def integer(name: str, word: str | None = None, since: str = "", show: str = "") -> Argument:
    """Build an integer argument."""
    return _value("integer", name, word, since, show)


def double(name: str, word: str | None = None, since: str = "", show: str = "") -> Argument:
    """Build a floating point argument."""
    return _value("double", name, word, since, show)


def pattern(name: str = "pattern", word: str | None = None, since: str = "", show: str = "") -> Argument:
    """Build a glob pattern argument."""
    return _value("pattern", name, word, since, show)


def unix_time(name: str, word: str | None = None, since: str = "", show: str = "") -> Argument:
    """Build a Unix time argument."""
    return _value("unix-time", name, word, since, show)


def token(word: str, since: str = "", name: str = "") -> Argument:
    """Build a word that stands for itself; its name is the word in lowercase unless told."""
    return _value("pure-token", name or word.lower(), word, since, "")


def oneof(name: str, *choices: Argument, word: str | None = None, since: str = "") -> Argument:
    """Build an argument that is exactly one of the choices."""
    return Argument(name, "oneof", "", -1, word, since, list(choices))


def block(name: str, *parts: Argument, word: str | None = None, since: str = "") -> Argument:
    """Build arguments that stand together, in this order."""
    return Argument(name, "block", "", -1, word, since, list(parts))


def opt(argument: Argument) -> Argument:
    """Mark an argument as optional."""
    argument.flags |= OPTIONAL
    return argument


def many(argument: Argument) -> Argument:
    """Mark an argument as repeatable."""
    argument.flags |= MULTIPLE
    return argument


def many_tokens(argument: Argument) -> Argument:
    """Mark an argument as repeatable with its token each time."""
    argument.flags |= MULTIPLE | MULTIPLE_TOKEN
    return argument


def told(argument: Argument, summary: str = "", deprecated_since: str = "") -> Argument:
    """Give an argument a summary of its own, or the version that deprecated it."""
    argument.summary = summary
    argument.deprecated_since = deprecated_since
    return argument


# --- rows
def command(name: str, arity: int, flags: int, group: str, since: str, complexity: str, summary: str, *, acl: int = 0,
            keys: Iterable[KeySpec] = (), args: Iterable[Argument] = (), tips: str = "",
            history: Iterable[tuple[str, str]] = (), doc_flags: str = "", deprecated_since: str = "",
            replaced_by: str = "", subs: Iterable[Command] = ()) -> Command:  # fmt: skip
    """Build one row; `acl` holds the categories that the flags do not imply, `tips` words in COMMAND INFO's order."""
    row = Command(name.encode("ascii"), arity, flags, group, since, complexity, summary)
    row.key_specs = list(keys)
    row.has_keys = any(spec.is_key for spec in row.key_specs)
    row.arguments = list(args)
    row.history = list(history)
    row.doc_flags = doc_flags.split()
    row.deprecated_since = deprecated_since
    row.replaced_by = replaced_by
    row.tips = tips.split()
    for tip in row.tips:
        if tip.startswith(_REQUEST):
            row.request_policy = tip.removeprefix(_REQUEST)
        elif tip.startswith(_RESPONSE):
            row.response_policy = tip.removeprefix(_RESPONSE)
    for sub in subs:
        row.subcommands[sub.name.partition(b"|")[2]] = sub
    _derive_triple(row)
    row.acl_categories = acl | _implied_categories(row.flags, acl)
    return row


def _implied_categories(flags: int, acl: int) -> int:
    implied = ACL_FAST if flags & FAST else ACL_SLOW
    if flags & WRITE:
        implied |= ACL_WRITE
    if flags & READONLY and not acl & ACL_SCRIPTING:
        implied |= ACL_READ
    if flags & ADMIN:
        implied |= ACL_ADMIN | ACL_DANGEROUS
    if flags & PUBSUB:
        implied |= ACL_PUBSUB
    if flags & BLOCKING:
        implied |= ACL_BLOCKING
    return implied


def _derive_triple(row: Command) -> None:
    """Set the legacy triple to the span of the ranges at fixed places; what it cannot say makes the keys movable."""
    specs = row.key_specs
    if len(specs) == 1 and specs[0].begin == BEGIN_INDEX and specs[0].find == FIND_RANGE:
        row.first_key, row.last_key, row.key_step = specs[0].position, specs[0].last, specs[0].step
        if row.last_key >= 0:
            row.last_key += row.first_key
        return
    first = last = 0
    for spec in specs:
        fixed = spec.begin == BEGIN_INDEX and spec.find == FIND_RANGE and spec.step == 1
        if not fixed or (last and last != spec.position - 1):
            row.flags |= MOVABLEKEYS
            continue
        first = first or spec.position
        last = spec.last + (spec.position if spec.last >= 0 else 0)
    if first:
        row.first_key, row.last_key, row.key_step = first, last, 1
