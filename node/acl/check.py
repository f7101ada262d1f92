"""Whether a user may run a command: the first selector that allows all of it will do.

When none does, the refusal is the one that came furthest: a database that no selector opens, then the command, then a
key, then a channel; among keys and among channels the last one named. Facts and texts are those of Valkey 9.1.
"""

from typing import Final, final

from mypy_extensions import i64

from cluster.catalog import ALL
from cluster.catalog.keys import KeysError, KeyUse, keys_with_flags
from cluster.catalog.model import ACCESS, ACL_KEYSPACE, DELETE, INSERT, NO_AUTH, READONLY, UPDATE, WRITE, Command
from node.acl import selector as _selector
from node.acl.selector import Selector, channel_in
from node.acl.user import User
from node.numbers import is_int, to_int

DENIED_DATABASE: Final = 1  # in the order in which they outdo each other
DENIED_COMMAND: Final = 2
DENIED_KEY: Final = 3
DENIED_AUTH: Final = 4
DENIED_CHANNEL: Final = 5

_PUBLISHES: Final = frozenset([b"publish", b"spublish"])
_SUBSCRIBES: Final = frozenset([b"subscribe", b"psubscribe", b"ssubscribe"])
_ALL_DATABASES: Final = frozenset(
    [b"flushall", b"cluster|cancelslotmigrations", b"cluster|flushslot", b"cluster|migrateslots"]
)
_NAMES_DATABASES: Final = frozenset([b"select", b"move", b"swapdb", b"copy"])


@final
class Denial:
    """Why not: a DENIED_… reason, and the argument to blame (0: the command itself)."""

    reason: int
    position: int

    def __init__(self, reason: int, position: int) -> None:
        self.reason = reason
        self.position = position


@final
class _Traits:
    """What a check has to look at in a command, apart from its name."""

    always: bool  # allowed before AUTH, hence to everybody
    in_database: bool  # works on the client's database
    everywhere: bool  # works on all databases
    named: bool  # names databases among its arguments
    keyed: bool
    channels: bool
    literal: bool  # its channels are patterns

    def __init__(self, command: Command) -> None:
        name = command.name
        self.always = command.flags & NO_AUTH != 0
        works = command.flags & (READONLY | WRITE) != 0 or command.acl_categories & ACL_KEYSPACE != 0
        self.named = name in _NAMES_DATABASES
        self.in_database = (works or command.has_keys) and name != b"swapdb"
        self.everywhere = name in _ALL_DATABASES
        self.keyed = command.has_keys
        self.channels = name in _PUBLISHES or name in _SUBSCRIBES
        self.literal = name == b"psubscribe"


_TRAITS: Final[list[_Traits]] = [_Traits(command) for command in ALL]


def check(user: User, command: Command, args: list[bytes], dbid: int, databases: int) -> Denial | None:
    """Why a user may not run a command (`args[0]` is its name) in database `dbid` of `databases`; None: it may."""
    if not user.restricted:
        return None
    return _Check(command, args, dbid, databases).judge(user)


def check_with_every_key(
    user: User, command: Command, args: list[bytes], dbid: int, databases: int, key_flags: int
) -> bool:
    """Whether a selector that allows the command allows it for any key too; for commands whose keys are in the data
    (SORT … BY and GET). `key_flags` are those of the catalog.
    """
    judged = _Check(command, args, dbid, databases)
    for selector in user.selectors:
        if selector.allows_every_key(access_of(key_flags)) and judged.reason(selector) == 0:
            return True
    return not user.restricted


def access_of(key_flags: int) -> int:
    """The access that a key's flags (`cluster.catalog.model`) mean."""
    access = _selector.READ if key_flags & ACCESS else 0
    return access | _selector.WRITE if key_flags & (INSERT | DELETE | UPDATE) else access


@final
class _Check:
    """One command judged by one selector after the other; its keys are looked up once."""

    command: Command
    traits: _Traits
    args: list[bytes]
    dbid: int
    databases: int
    keys: list[KeyUse] | None
    position: int  # what the last `reason` blames

    def __init__(self, command: Command, args: list[bytes], dbid: int, databases: int) -> None:
        self.command = command
        self.traits = _TRAITS[command.index]
        self.args = args
        self.dbid = dbid
        self.databases = databases
        self.keys = None
        self.position = 0

    def judge(self, user: User) -> Denial | None:
        """Try all selectors of a user."""
        worst = DENIED_DATABASE
        last = 0
        for selector in user.selectors:
            reason = self.reason(selector)
            if reason == 0:
                return None
            if reason > worst or (reason == worst and self.position > last):
                worst = reason
                last = self.position
        return Denial(worst, last)

    def reason(self, selector: Selector) -> int:
        """Why this selector does not allow it, 0 when it does; `position` says what is to blame."""
        traits = self.traits
        self.position = 0
        if not selector.all_databases and not self._databases_allowed(selector):
            return DENIED_DATABASE
        if not traits.always and not selector.allows_command(self.command, self.args):
            self.position = 0
            return DENIED_COMMAND
        if traits.keyed and not selector.all_keys and not self._keys_allowed(selector):
            return DENIED_KEY
        if traits.channels and not selector.all_channels and not self._channels_allowed(selector):
            return DENIED_CHANNEL
        return 0

    def _databases_allowed(self, selector: Selector) -> bool:
        traits = self.traits
        if traits.everywhere:
            return all(selector.allows_database(index, self.databases) for index in range(self.databases))
        if traits.named:
            for position in named_databases(self.command.name, self.args):
                if not selector.allows_database(to_int(self.args[position]), self.databases):
                    self.position = position
                    return False
        return not traits.in_database or selector.allows_database(self.dbid, self.databases)

    def _keys_allowed(self, selector: Selector) -> bool:
        keys = self.keys
        if keys is None:
            try:
                keys = keys_with_flags(self.command, self.args)
            except KeysError:
                keys = []  # the command itself says what is wrong with its arguments
            self.keys = keys
        for use in keys:
            if not selector.allows_key(self.args[use.position], access_of(use.flags)):
                self.position = use.position
                return False
        return True

    def _channels_allowed(self, selector: Selector) -> bool:
        last: i64 = min(2, len(self.args)) if self.command.name in _PUBLISHES else len(self.args)
        position: i64 = 1
        while position < last:
            if not channel_in(selector.channels, self.args[position], self.traits.literal):
                self.position = position
                return False
            position += 1
        return True


def named_databases(name: bytes, args: list[bytes]) -> list[int]:
    """The arguments that are numbers of databases; none when one of them is no number, which the command refuses."""
    positions: list[int] = []
    if name == b"copy":
        i = 3
        while i < len(args):
            if args[i].lower() == b"db" and i + 1 < len(args):
                i += 1
                positions.append(i)
            i += 1
    else:
        positions = [1] if name == b"select" else [2] if name == b"move" else [1, 2]
    if any(position >= len(args) or not is_int(args[position]) for position in positions):
        return []
    return positions


def explain(denial: Denial, user: User, command: Command, args: list[bytes], verbose: bool = False) -> bytes:
    """The text of a refusal, without its code; `verbose` as ACL DRYRUN has it, naming the key, channel or database."""
    if denial.reason == DENIED_COMMAND:
        return b"User %b has no permissions to run the '%b' command" % (user.name, command.name)
    blamed = args[denial.position]
    if denial.reason == DENIED_DATABASE:
        if verbose:
            return b"User %b has no permissions to access database %b" % (user.name, blamed)
        return b"No permissions to access database"
    noun = b"key" if denial.reason == DENIED_KEY else b"channel"
    if verbose:
        return b"User %b has no permissions to access the '%b' %b" % (user.name, blamed, noun)
    return b"No permissions to access a " + noun


def changed_since(denial: Denial) -> bytes:
    """The error of a queued command that was allowed when it was queued and is not at EXEC."""
    reason = b"no permission"
    if denial.reason == DENIED_COMMAND:
        reason = b"no permission to execute the command or subcommand"
    elif denial.reason == DENIED_KEY:
        reason = b"no permission to touch the specified keys"
    elif denial.reason == DENIED_CHANNEL:
        reason = b"no permission to access one of the channels used as arguments"
    return (
        b"NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. "
        b"This command is no longer allowed for the following reason: " + reason
    )
