"""Executing the commands of an append-only file, at start-up before anybody is served, or for DEBUG LOADAOF.

Only what changes data is executed (and SELECT, scripts, functions); anything else a file may hold is passed over. A
transaction is executed once its EXEC is there: of one that the file ends in nothing is.
"""

from typing import Final, final

from mypy_extensions import i64

from cluster.slots import key_slot
from node.engine import Engine
from node.errors import CommandError
from node.persistence.aofparse import AofError, AofReader, TornError
from node.session import Session
from node.table import Entry

_ALSO: Final = frozenset([b"select", b"eval", b"evalsha", b"fcall", b"script|load"])
_BUGS: Final = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@final
class AofApplier:
    """Applies one file after the other to an engine. Raises AofError, with TornError for an unfinished end."""

    engine: Engine
    good: i64  # offset up to which the file is sound: before a transaction that has no end
    refused: i64  # commands that were answered by an error
    refusal: bytes  # the first of these errors
    _session: Session
    _queue: list[list[bytes]]
    _in_transaction: bool

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.good = 0
        self.refused = 0
        self.refusal = b""
        self._queue = []
        self._in_transaction = False
        self.begin(0)

    def begin(self, offset: i64) -> None:
        """A file begins, with database 0; up to `offset` it was read already."""
        e = self.engine
        self.good = offset
        self._session = Session(0, e.executor, e.stores[0], e.acl.default_user, e.settings.max_bulk, e.now_ms)
        self._session.primary_link = True

    def step(self, reader: AofReader, limit: i64) -> bool:
        """Apply up to `limit` commands; False at the end of the file."""
        done: i64 = 0
        while done < limit:
            if not reader.next():
                if self._in_transaction:
                    self._abandon()
                    raise TornError(reader.size, "the file ends inside a transaction")
                self.good = reader.offset
                return False
            self._take(reader.args, reader.began)
            if not self._in_transaction:
                self.good = reader.offset
            done += 1
        return True

    def _abandon(self) -> None:
        self._in_transaction = False
        self._queue = []

    def drop_transaction(self) -> None:
        """The file ended; what its last transaction holds is not executed."""
        self._abandon()

    def _take(self, args: list[bytes], offset: i64) -> None:
        name = args[0].lower()
        if name == b"multi" and len(args) == 1 and not self._in_transaction:
            self._in_transaction = True
        elif name == b"exec" and len(args) == 1 and self._in_transaction:
            queue = self._queue
            self._abandon()
            for queued in queue:
                self._apply(queued, offset)
        elif self._in_transaction:
            self._find(args, offset)
            self._queue.append(args)
        else:
            self._apply(args, offset)

    def _find(self, args: list[bytes], offset: i64) -> Entry:
        entry = self.engine.table.get(args[0].lower())
        if entry is not None and entry.container and len(args) > 1:
            entry = entry.subcommands.get(args[1].lower())
        if entry is None:
            raise AofError(offset, f"unknown command {args[0][:64]!r}")
        count: i64 = len(args)
        if (entry.arity > 0 and count != entry.arity) or count < -entry.arity:
            raise AofError(offset, f"wrong number of arguments for {entry.name.decode()!r}")
        return entry

    def _apply(self, args: list[bytes], offset: i64) -> None:
        entry = self._find(args, offset)
        if not entry.write and entry.name not in _ALSO:
            return
        e, s = self.engine, self._session
        if entry.first_key > 0 and entry.first_key < len(args):
            e.slot = key_slot(args[entry.first_key])
        try:
            entry.handler(e, s, args)
        except CommandError as error:
            self._note(error.text)
        except _BUGS as bug:
            raise AofError(offset, f"{entry.name.decode()!r} can't be executed: {bug}") from None
        s.reply.out.truncate(0)

    def _note(self, text: bytes) -> None:
        if self.refused == 0:
            self.refusal = text
        self.refused += 1
