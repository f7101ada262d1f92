"""WAIT: clients that wait until so many replicas have their writes."""

from mypy_extensions import i64

from node.engine import Engine
from node.replication.state import Role, count_acked
from node.session import Session
from node.waiting import block, may_block, resume


class Waits:
    """Who waits, for how many."""

    def __init__(self, owner: Role, engine: Engine) -> None:
        self.owner = owner
        self.engine = engine
        self._waits: list[tuple[Session, i64]] = []

    def _have(self, session: Session) -> i64:
        return count_acked(self.owner.followers, session.write_offset)

    def wait(self, session: Session, args: list[bytes], wanted: i64, timeout_ms: i64) -> None:
        """Answer now or later; executed again when an ACK comes that is enough."""
        e = self.engine
        self.owner.stream.flush()
        have = self._have(session)
        if have >= wanted or not may_block(e, session):
            session.reply.integer(have)
            return
        block(e, session, args, [], b"", e.now_ms + timeout_ms if timeout_ms else 0, self._reply)
        self._waits.append((session, wanted))
        self.owner.ask()

    def _reply(self, session: Session) -> None:
        """The time is up: answer how many there are."""
        session.reply.integer(self._have(session))

    def answer(self) -> None:
        """Some replica has more than before."""
        waits, self._waits = self._waits, []
        for session, wanted in waits:
            if not session.blocked or session.closed():
                continue
            if self._have(session) >= wanted:
                resume(self.engine, session)
            else:
                self._waits.append((session, wanted))

    def forget(self, session: Session) -> None:
        """A client is gone."""
        if self._waits:
            self._waits = [wait for wait in self._waits if wait[0] is not session]
