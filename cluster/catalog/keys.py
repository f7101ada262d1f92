"""Which arguments of a request are keys: read from the row's key specifications.

A request's count of keys that is no plain number, or that says more keys than there are arguments, is malformed. Valkey
then tries once more with C's lenient reading of numbers ("1a", " 1", "+1") before it gives up, and so do we, since its
cluster redirections and COMMAND GETKEYS show it. Compiled; hot for the cluster gate and the proxy.
"""

from typing import Final, final

from mypy_extensions import i64

from cluster.catalog.model import (
    ACCESS,
    BEGIN_INDEX,
    BEGIN_KEYWORD,
    DELETE,
    FIND_KEYNUM,
    FIND_RANGE,
    MOVABLEKEYS,
    NO_MANDATORY_KEYS,
    NOT_KEY,
    OW,
    RO,
    RW,
    UPDATE,
    VARIABLE_FLAGS,
    Command,
    KeySpec,
)

_MALFORMED: Final = b"Invalid arguments specified for command"
_MAX_DIGITS: Final = 18  # decimal digits that fit a signed 64 bit integer whatever they are
_LARGEST: Final[int] = (1 << 63) - 1


class KeysError(Exception):
    """The keys of a request cannot be told; `text` is Valkey's, without its code `ERR`."""

    text: bytes

    def __init__(self, text: bytes) -> None:
        super().__init__(text.decode("ascii"))
        self.text = text


@final
class KeyUse:
    """A key's place in the request, and what the command does with it (key flags of `cluster.catalog.model`)."""

    position: int
    flags: int

    def __init__(self, position: int, flags: int) -> None:
        self.position = position
        self.flags = flags


def key_positions(command: Command, args: list[bytes]) -> list[int]:
    """Return the places of a request's keys, and of shard channels, which are routed as keys; `args[0]` is the name.

    The order is that of the specifications (a destination first). Keys named twice appear twice. Raises KeysError when
    the arguments are malformed. A request that breaks the arity gives the keys that it has.
    """
    found: list[int] = []
    count: i64 = len(args)
    if command.flags & MOVABLEKEYS == 0:
        if command.first_key > 0:
            last = command.last_key
            _add_range(found, command.first_key, last if last >= 0 else count + last, command.key_step, count)
        return found
    special = _special(command, args)
    if special is not None:
        return [use.position for use in special]
    for spec in command.key_specs:
        if not _search(command, spec, args, found):
            return _lenient(command, args)
    return found


def keys_with_flags(command: Command, args: list[bytes]) -> list[KeyUse]:
    """Return a request's keys with what is done to each; shard channels are left out.

    Flags are 0 when only the lenient reading found the keys. Raises KeysError as `key_positions` does.
    """
    special = _special(command, args)
    if special is not None:
        return special
    uses: list[KeyUse] = []
    found: list[int] = []
    for spec in command.key_specs:
        if spec.flags & NOT_KEY:
            continue
        start = len(found)
        if not _search(command, spec, args, found):
            return [KeyUse(position, 0) for position in _lenient(command, args)]
        flags = spec.flags
        if flags & VARIABLE_FLAGS:
            flags = _true_flags(command, args, flags)
        for position in found[start:]:
            uses.append(KeyUse(position, flags))
    return uses


def checked_keys(command: Command | None, args: list[bytes]) -> list[KeyUse]:
    """Return the keys as COMMAND GETKEYS does; raises KeysError with its texts for requests that have none."""
    if command is None:
        raise KeysError(b"Invalid command specified")
    if not command.has_keys:
        raise KeysError(b"The command has no key arguments")
    count: i64 = len(args)
    arity = command.arity
    if (arity > 0 and count != arity) or count < -arity:
        raise KeysError(b"Invalid number of arguments specified for command")
    if command.name == b"pfmerge" and count == 2:  # a specification without a key is malformed, and here alone it may
        raise KeysError(_MALFORMED)  # come to that; the command itself is valid, and routed by its target
    uses: list[KeyUse] = []
    try:
        uses = keys_with_flags(command, args)
    except KeysError:
        if command.flags & NO_MANDATORY_KEYS == 0:
            raise
    if len(uses) == 0 and command.flags & NO_MANDATORY_KEYS == 0:
        raise KeysError(_MALFORMED)  # XREAD without STREAMS
    return uses


def _special(command: Command, args: list[bytes]) -> list[KeyUse] | None:
    """The keys of the commands whose specifications do not tell them; None for every other command.

    Raises KeysError when the request is too short to have any.
    """
    name = command.name
    if name == b"sort" or name == b"sort_ro":
        if len(args) < 2:
            raise KeysError(_MALFORMED)
        uses = [KeyUse(1, RO | ACCESS)]
        if name == b"sort":
            target = _store_of_sort(args)
            if target > 0:
                uses.append(KeyUse(target, OW | UPDATE))
        return uses
    if name == b"migrate":
        return [KeyUse(position, RW | ACCESS | DELETE) for position in _keys_of_migrate(args)]
    return None


def _store_of_sort(args: list[bytes]) -> i64:
    """The place of the last STORE's key, 0 when there is none; words that belong to other options do not count."""
    target: i64 = 0
    i: i64 = 2
    count: i64 = len(args)
    while i < count:
        word = args[i].lower()
        if word == b"limit":
            i += 2
        elif word == b"get" or word == b"by":
            i += 1
        elif word == b"store" and i + 1 < count:
            target = i + 1
            i += 1
        i += 1
    return target


def _keys_of_migrate(args: list[bytes]) -> list[int]:
    """The third argument, or with KEYS what follows it; raises KeysError when both name keys."""
    count: i64 = len(args)
    i: i64 = 6
    while i < count:
        word = args[i].lower()
        if word == b"auth":
            i += 1
        elif word == b"auth2":
            i += 2
        elif word == b"keys":
            if args[3]:
                raise KeysError(_MALFORMED)
            return list(range(i + 1, count))
        i += 1
    if count < 4:
        raise KeysError(_MALFORMED)
    return [3]


def _add_range(found: list[int], position: i64, last: i64, step: i64, count: i64) -> None:
    """Add every `step`th place from `position` to `last`, as far as there are arguments."""
    if last >= count:
        last = count - 1
    while position <= last:
        found.append(position)
        position += step


def _search(command: Command, spec: KeySpec, args: list[bytes], found: list[int]) -> bool:
    """Add the places that one specification finds; False when the request does not fit it."""
    count: i64 = len(args)
    begin: i64 = spec.position
    if spec.begin == BEGIN_KEYWORD:
        begin = _after_keyword(spec, args)
        if begin < 0:
            return True  # the word is optional
    elif spec.begin != BEGIN_INDEX:
        return False
    if spec.find == FIND_RANGE:
        last = spec.last
        if last >= 0:
            last += begin
        elif spec.limit > 1:
            last = begin + (count - begin) // spec.limit + last
        else:
            last += count
        _add_range(found, begin, last, spec.step, count)
        return True
    if spec.find != FIND_KEYNUM or begin + spec.count_at >= count:
        return False
    number = _strict_number(args[begin + spec.count_at])
    if number == 0 and command.flags & NO_MANDATORY_KEYS:
        return True
    first = begin + spec.first
    if number < 1 or number > (count - first + spec.step - 1) // spec.step:
        return False
    _add_range(found, first, first + (number - 1) * spec.step, spec.step, count)
    return True


def _after_keyword(spec: KeySpec, args: list[bytes]) -> i64:
    """Return the place after the keyword, -1 when it is missing or the last argument."""
    count: i64 = len(args)
    backwards = spec.position < 0
    i: i64 = count + spec.position if backwards else spec.position
    while 0 < i < count - 1:
        if args[i].upper() == spec.keyword:
            return i + 1
        i += -1 if backwards else 1
    return -1


def _strict_number(text: bytes) -> i64:
    """Return a non-negative number in its only spelling, else -1."""
    size: i64 = len(text)
    if size == 0 or size > _MAX_DIGITS or (size > 1 and text[0] == 48):
        return -1
    number: i64 = 0
    i: i64 = 0
    while i < size:
        digit: i64 = text[i]
        if digit < 48 or digit > 57:
            return -1
        number = number * 10 + (digit - 48)
        i += 1
    return number


def _lenient_number(text: bytes) -> int:
    """Read a number as C's atoi on 64 bit machines: leading space, sign, digits as far as they go, low 32 bits."""
    stripped = text.lstrip(b" \t\n\v\f\r")
    negative = stripped[:1] == b"-"
    start: i64 = 1 if stripped[:1] in (b"-", b"+") else 0
    end = start
    size: i64 = len(stripped)
    while end < size and 48 <= stripped[end] <= 57:
        end += 1
    digits = stripped[start:end].lstrip(b"0")
    number: int = int(digits[:20]) if digits else 0
    number = max(-number, -_LARGEST - 1) if negative else min(number, _LARGEST)
    number &= 0xFFFFFFFF
    return number - 0x100000000 if number >= 0x80000000 else number


def _lenient(command: Command, args: list[bytes]) -> list[int]:
    """Find counted keys by the lenient reading, then those at fixed places; raises KeysError when that fails too."""
    if command.name == b"msetex":  # younger than the lenient readings, and without one
        raise KeysError(_MALFORMED)
    count: i64 = len(args)
    found: list[int] = []
    fixed: list[int] = []
    for spec in command.key_specs:
        if spec.find != FIND_KEYNUM or spec.begin != BEGIN_INDEX:
            if not _search(command, spec, args, fixed):
                raise KeysError(_MALFORMED)
            continue
        at = spec.position + spec.count_at
        first = spec.position + spec.first
        number: i64 = _lenient_number(args[at]) if at < count else 0  # fits 32 bits
        if number < 1 or number > (count - first + spec.step - 1) // spec.step:
            raise KeysError(_MALFORMED)
        _add_range(found, first, first + (number - 1) * spec.step, spec.step, count)
    found.extend(fixed)
    return found


def _true_flags(command: Command, args: list[bytes], flags: i64) -> i64:
    """Return the flags that these arguments mean: SET overwrites unless a GET among its options makes it read too, and
    BITFIELD only reads when all its operations are GET.
    """
    if command.name == b"bitfield":
        return RO | ACCESS if _only_gets(args) else RW | ACCESS | UPDATE
    if command.name != b"set":
        return flags
    i: i64 = 3
    count: i64 = len(args)
    while i < count:
        if len(args[i]) == 3 and args[i].lower() == b"get":
            return RW | ACCESS | UPDATE
        i += 1
    return OW | UPDATE


def _only_gets(args: list[bytes]) -> bool:
    """Whether a BITFIELD has no operation but GET and OVERFLOW, all of them whole."""
    i: i64 = 2
    count: i64 = len(args)
    while i < count:
        word = args[i].lower()
        if word == b"get" and i + 2 < count:
            i += 3
        elif word == b"overflow" and i + 1 < count:
            i += 2
        else:
            return False
    return True
