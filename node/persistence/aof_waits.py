"""WAITAOF: clients that wait until their writes are on disks, here and on replicas."""

from typing import final

from mypy_extensions import i64

from node.engine import Engine
from node.ports import AppendFile
from node.session import Session
from node.waiting import block, may_block, resume


@final
class AofWaits:
    """Who waits, for what."""

    def __init__(self, engine: Engine, file: AppendFile) -> None:
        self.engine = engine
        self.file = file
        self._waits: list[tuple[Session, i64, i64]] = []

    def _have(self, session: Session) -> tuple[i64, i64]:
        """On how many disks, here (0 or 1) and of replicas, the session's writes are."""
        offset = session.write_offset
        local = 1 if self.file.durable() >= offset else 0
        return local, self.engine.replication.synced(offset)

    def wait(self, session: Session, args: list[bytes], local: i64, replicas: i64, timeout_ms: i64) -> None:
        """Answer now or later; executed again when there may be enough."""
        e = self.engine
        e.journal.flush()
        have = self._have(session)
        if (have[0] >= local and have[1] >= replicas) or not may_block(e, session):
            self._reply(session)
            return
        block(e, session, args, [], b"", e.now_ms + timeout_ms if timeout_ms else 0, self._reply)
        self._waits.append((session, local, replicas))
        if have[1] < replicas:
            e.replication.ask()

    def _reply(self, session: Session) -> None:
        local, replicas = self._have(session)
        session.reply.array(2)
        session.reply.integer(local)
        session.reply.integer(replicas)

    def answer(self) -> None:
        """Some disk has more than before."""
        if not self._waits:
            return
        waits, self._waits = self._waits, []
        for session, local, replicas in waits:
            if not session.blocked or session.closed():
                continue
            have = self._have(session)
            if have[0] >= local and have[1] >= replicas:
                resume(self.engine, session)
            else:
                self._waits.append((session, local, replicas))

    def switched_off(self) -> None:
        """There is no file here any more: who waits for it gets the error."""
        waits, self._waits = self._waits, []
        for session, local, replicas in waits:
            if session.blocked and not session.closed():
                if local:
                    resume(self.engine, session)
                else:
                    self._waits.append((session, local, replicas))
