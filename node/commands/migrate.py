"""MIGRATE: its arguments, and the values that it takes along; sending them is the business of `Engine.migration`."""

from typing import Final

from mypy_extensions import i64

from cluster.slots import key_slot
from node.commands.reading import integer, read
from node.engine import Engine, Handler
from node.errors import NOT_AN_INTEGER, SYNTAX, CommandError
from node.numbers import is_int
from node.ports import Migration, MovingKey
from node.rdb.encode import dump
from node.session import Session

NOT_EMPTY: Final = (
    b"ERR When using MIGRATE KEYS option, the key argument must be set to the empty string"
)


class Options:
    """The optional arguments of MIGRATE. Raises CommandError."""

    copy: bool
    replace: bool
    auth: list[bytes]  # the arguments of AUTH at the target
    keys: list[bytes]

    def __init__(self, args: list[bytes]) -> None:
        self.copy = self.replace = False
        self.auth = []
        self.keys = [args[3]]
        i: i64 = 6
        n: i64 = len(args)
        while i < n:
            word = args[i].lower()
            left = n - i - 1
            if word == b"copy":
                self.copy = True
            elif word == b"replace":
                self.replace = True
            elif word == b"auth" and left >= 1:
                self.auth = [args[i + 1]]
                i += 1
            elif word == b"auth2" and left >= 2:
                self.auth = [args[i + 1], args[i + 2]]
                i += 2
            elif word == b"keys":
                if args[3]:
                    raise CommandError(NOT_EMPTY)
                self.keys = args[i + 1 :]
                return
            else:
                raise CommandError(SYNTAX)
            i += 1


def migrate(e: Engine, s: Session, args: list[bytes]) -> None:
    """MIGRATE host port key|"" db timeout [COPY] [REPLACE] [AUTH password | AUTH2 user password] [KEYS key ...]."""
    options = Options(args)
    timeout = integer(args[5])
    dbid = integer(args[4])
    moving: list[MovingKey] = []
    for key in options.keys:
        slot = key_slot(key)
        value = read(e, s, slot, key)
        if value is not None:
            at = s.store.expire_at(slot, key)
            moving.append(MovingKey(key, slot, dump(value), at))
    if not moving:
        s.reply.simple(b"NOKEY")
        return
    if not is_int(args[2]):
        raise CommandError(NOT_AN_INTEGER)
    migration: Migration = e.migration
    migration.send(s, args, moving, options.auth, options.copy, options.replace, dbid, timeout if timeout > 0 else 1000)


HANDLERS: dict[bytes, Handler] = {b"migrate": migrate}
