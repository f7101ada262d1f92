"""One set of permissions: commands, key patterns, channel patterns and databases, changed by Valkey's rules.

Rules and their texts are those of Valkey 9.1. A selector keeps the command rules in the order in which they came, so
that `describe` gives back what leads to the same permissions, and beside them one byte a command, by the index of its
catalog row, which is all that a check has to look at.
"""

from typing import Final, final

from cluster.catalog import ALL, COMMANDS, find
from cluster.catalog.model import CATEGORY_NAMES, Command
from node.match import Glob, glob_match

READ: Final = 1
WRITE: Final = 2
READ_WRITE: Final = 3

SYNTAX: Final = "Syntax error"
UNKNOWN: Final = "Unknown command or category name in ACL"
KEY_AFTER_ALL: Final = (
    "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. "
    "Try 'resetkeys' to start with an empty list of patterns"
)
CHANNEL_AFTER_ALL: Final = (
    "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. "
    "Try 'resetchannels' to start with an empty list of channels"
)
FIRST_ARG_OF_SUBCOMMAND: Final = "Allowing first-arg of a subcommand is not supported"
DATABASE_OUT_OF_RANGE: Final = "The provided database ID is out of range"

_SPACES: Final = b" \t\n\v\f\r\0"
_I32_MAX: Final = 2**31 - 1
_CATEGORIES: Final[dict[bytes, int]] = {name.encode(): 1 << bit for bit, name in enumerate(CATEGORY_NAMES)}


class RuleError(Exception):
    """A rule that cannot be applied; `text` says why, in Valkey's words. `unknown`: it names no command or category."""

    text: str
    unknown: bool

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
        self.unknown = text == UNKNOWN


def has_spaces(text: bytes) -> bool:
    """Whether there is white space or a null byte in it, which names and patterns may not have."""
    return any(c in _SPACES for c in text)


def folded(rule: bytes) -> bytes:
    """A rule as its keywords are compared: in lower case, up to a null byte."""
    return rule.split(b"\0")[0].lower()


@final
class KeyPattern:
    """A pattern of keys, and whether they may be read, written, or both."""

    pattern: bytes
    glob: Glob
    access: int

    def __init__(self, pattern: bytes, access: int) -> None:
        self.pattern = pattern
        self.glob = Glob(pattern)
        self.access = access

    def describe(self) -> bytes:
        """The rule that gives this pattern."""
        if self.access == READ_WRITE:
            return b"~" + self.pattern
        return (b"%R~" if self.access == READ else b"%W~") + self.pattern


@final
class Selector:
    """One set of permissions. What it allows is the conjunction of its parts: command, keys, channels, databases."""

    all_commands: bool  # every command, and nothing was taken away since
    future: bool  # began with +@all: commands that come to be are allowed
    all_keys: bool
    all_channels: bool
    all_databases: bool
    allowed: bytearray  # by Command.index
    first_args: dict[int, list[bytes]]  # by Command.index, in lower case: `+select|0`
    rules: list[bytes]  # of commands and categories, in order: b"+@read", b"-get"
    patterns: list[KeyPattern]
    channels: list[bytes]
    databases: list[int]  # in ascending order

    def __init__(self, all_channels: bool) -> None:
        self.all_commands = False
        self.future = False
        self.all_keys = False
        self.all_channels = all_channels
        self.all_databases = True
        self.allowed = bytearray(len(ALL))
        self.first_args = {}
        self.rules = []
        self.patterns = []
        self.channels = []
        self.databases = []

    def copy(self) -> "Selector":
        """An independent selector of the same permissions."""
        other = Selector(self.all_channels)
        other.all_commands = self.all_commands
        other.future = self.future
        other.all_keys = self.all_keys
        other.all_databases = self.all_databases
        other.allowed = bytearray(self.allowed)
        other.first_args = {index: list(words) for index, words in self.first_args.items()}
        other.rules = list(self.rules)
        other.patterns = [KeyPattern(p.pattern, p.access) for p in self.patterns]
        other.channels = list(self.channels)
        other.databases = list(self.databases)
        return other

    def unrestricted(self) -> bool:
        """Whether it allows everything, so that nothing needs to be checked."""
        whole = self.all_commands or 0 not in self.allowed
        return whole and self.all_keys and self.all_channels and self.all_databases

    # --- rules
    def apply(self, rule: bytes) -> None:
        """Change the permissions by one rule. Raises RuleError and leaves them as they were."""
        word = folded(rule)
        if word in (b"allkeys", b"~*"):
            self.all_keys = True
            self.patterns = []
        elif word == b"resetkeys":
            self.all_keys = False
            self.patterns = []
        elif word in (b"allchannels", b"&*"):
            self.all_channels = True
            self.channels = []
        elif word == b"resetchannels":
            self.all_channels = False
            self.channels = []
        elif word in (b"allcommands", b"+@all"):
            self._set_all(True)
        elif word in (b"nocommands", b"-@all"):
            self._set_all(False)
        elif word == b"alldbs":
            self.all_databases = True
            self.databases = []
        elif word == b"resetdbs":
            self.all_databases = False
            self.databases = []
        elif word.startswith(b"db="):
            self.databases = _databases(word[3:])
            self.all_databases = False
        else:
            self._apply_marked(rule, word)

    def _apply_marked(self, rule: bytes, word: bytes) -> None:
        """A rule that is known by its first character."""
        mark = rule[:1]
        if mark == b"~" or mark == b"%":
            self._add_pattern(rule)
        elif mark == b"&":
            self._add_channel(rule[1:])
        elif mark in (b"+", b"-") and word[1:2] == b"@":
            self._set_category(word, mark == b"+")
        elif mark == b"+" and b"|" in word:
            self._allow_part(word[1:])
        elif mark in (b"+", b"-"):
            command = find(word[1:])
            if command is None:
                raise RuleError(UNKNOWN)
            self._set_command(command, mark == b"+")
            self._remember(mark, command.name)
        else:
            raise RuleError(SYNTAX)

    def _set_all(self, allow: bool) -> None:
        self.all_commands = allow
        self.future = allow
        self.allowed = bytearray((b"\1" if allow else b"\0") * len(ALL))
        self.rules = []
        self.first_args = {}

    def _set_command(self, command: Command, allow: bool) -> None:
        """Allow or forbid a command with its subcommands."""
        self._set_one(command, allow)
        self.first_args.pop(command.index, None)
        for sub in command.subcommands.values():
            self._set_one(sub, allow)

    def _set_one(self, command: Command, allow: bool) -> None:
        self.allowed[command.index] = 1 if allow else 0
        if not allow:
            self.all_commands = False

    def _set_category(self, word: bytes, allow: bool) -> None:
        category = _CATEGORIES.get(word[2:])
        if category is None:
            raise RuleError(UNKNOWN)
        self._remember(word[:1], word[1:])
        for command in COMMANDS.values():
            if command.acl_categories & category:
                self._set_command(command, allow)
            for sub in command.subcommands.values():
                if sub.acl_categories & category:
                    self._set_command(sub, allow)

    def _allow_part(self, name: bytes) -> None:
        """`+command|subcommand`, or `+command|argument` for a command without subcommands."""
        container, _, part = name.rpartition(b"|")
        command = find(container)
        if command is None:
            raise RuleError(UNKNOWN)
        if b"|" in command.name:
            raise RuleError(FIRST_ARG_OF_SUBCOMMAND)
        if not part:
            raise RuleError(SYNTAX)
        if command.subcommands:
            sub = command.subcommands.get(part)
            if sub is None:
                raise RuleError(UNKNOWN)
            self._set_command(sub, True)
        else:
            words = self.first_args.setdefault(command.index, [])
            if part not in words:
                words.append(part)
        self._remember(b"+", name)

    def _remember(self, mark: bytes, name: bytes) -> None:
        """Add a rule for `describe`; it takes the place of those for the same name or for a part of it."""
        part = name + b"|"
        self.rules = [rule for rule in self.rules if rule[1:] != name and not rule[1:].startswith(part)]
        self.rules.append(mark + name)

    def _add_pattern(self, rule: bytes) -> None:
        if self.all_keys:
            raise RuleError(KEY_AFTER_ALL)
        access, start = (READ_WRITE, 1) if rule[:1] == b"~" else _access(rule)
        pattern = rule[start:]
        if has_spaces(pattern):
            raise RuleError(SYNTAX)
        for known in self.patterns:
            if known.pattern == pattern:
                known.access |= access
                return
        self.patterns.append(KeyPattern(pattern, access))

    def _add_channel(self, pattern: bytes) -> None:
        if self.all_channels:
            raise RuleError(CHANNEL_AFTER_ALL)
        if has_spaces(pattern):
            raise RuleError(SYNTAX)
        if pattern not in self.channels:
            self.channels.append(pattern)

    # --- questions
    def allows_command(self, command: Command, args: list[bytes]) -> bool:
        """Whether the command may be run with these arguments, keys and channels apart."""
        if self.all_commands or self.allowed[command.index] != 0:
            return True
        words = self.first_args.get(command.index)
        return words is not None and len(args) > 1 and args[1].lower() in words

    def allows_key(self, key: bytes, access: int) -> bool:
        """Whether a key may be used for all that `access` says."""
        if self.all_keys:
            return True
        return any(known.access & access == access and known.glob.matches(key) for known in self.patterns)

    def allows_every_key(self, access: int) -> bool:
        """Whether any key at all may be used so."""
        return self.all_keys or any(p.access & access == access and p.pattern == b"*" for p in self.patterns)

    def allows_database(self, index: int, count: int) -> bool:
        """Whether a database may be used; there are `count` of them, and others are the command's to refuse."""
        return self.all_databases or not 0 <= index < count or index in self.databases

    # --- description
    def describe_keys(self) -> bytes:
        """Key patterns as rules, separated by spaces."""
        return b"~*" if self.all_keys else b" ".join([p.describe() for p in self.patterns])

    def describe_channels(self) -> bytes:
        """Channel patterns as rules, separated by spaces."""
        return b"&*" if self.all_channels else b" ".join([b"&" + c for c in self.channels])

    def describe_commands(self) -> bytes:
        """Command rules: `+@all` or `-@all`, and what came after it."""
        return b" ".join([b"+@all" if self.future else b"-@all", *self.rules])

    def describe_databases(self) -> bytes:
        """`alldbs`, or the list as a rule, b"" when it is empty."""
        if self.all_databases:
            return b"alldbs"
        return b"db=" + b",".join([b"%d" % d for d in self.databases]) if self.databases else b""

    def describe(self) -> bytes:
        """All rules, as ACL LIST has them."""
        parts: list[bytes] = []
        if self.all_keys or self.patterns:
            parts.append(self.describe_keys())
        if not self.all_channels:
            parts.append(b"resetchannels")
        if self.all_channels or self.channels:
            parts.append(self.describe_channels())
        if not self.all_databases:
            parts.append(self.describe_databases() or b"resetdbs")
        parts.append(self.describe_commands())
        return b" ".join(parts)


def channel_in(patterns: list[bytes], channel: bytes, literal: bool) -> bool:
    """Whether one of the patterns allows a channel, or, `literal`, is this very pattern."""
    if literal:
        return channel in patterns
    return any(glob_match(pattern, channel) for pattern in patterns)


def _access(rule: bytes) -> tuple[int, int]:
    """What `%R~`, `%W~` or `%RW~` gives, and where the pattern begins."""
    access = 0
    at = 1
    while at < len(rule):
        letter = rule[at : at + 1].upper()
        at += 1
        if letter == b"~":
            break
        gives = READ if letter == b"R" else WRITE if letter == b"W" else 0
        if gives == 0 or access & gives:
            raise RuleError(SYNTAX)
        access |= gives
    if access == 0:
        raise RuleError(SYNTAX)
    return access, at


def _databases(text: bytes) -> list[int]:
    """The list after `db=`, sorted; each number as C's strtol reads it."""
    found: set[int] = set()
    for word in text.split(b","):
        digits = word.lstrip(b" \t\n\v\f\r")
        sign = digits[:1] if digits[:1] in (b"-", b"+") else b""
        digits = digits[len(sign) :]
        if not digits or not digits.isdigit():
            raise RuleError(SYNTAX)
        number = int(digits[:20])
        if (sign == b"-" and number > 0) or number > _I32_MAX:
            raise RuleError(DATABASE_OUT_OF_RANGE)
        found.add(number)
    return sorted(found)
