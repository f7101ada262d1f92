"""A transaction: MULTI's queue, kept in the proxy until EXEC sends it whole.

Sent in one piece it cannot mingle with other commands of the connection it shares, it costs one round trip, and it can
be sent again when it surely was not executed. What a node would refuse while queueing (OOM, for one) then comes as
EXECABORT with the reason.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from proxy import texts
from proxy.routing import EVERY, LOCAL, Plan

MAX_BYTES: Final = 64 << 20
_PLAIN_LOCALS: Final = frozenset([b"ping", b"echo"])


class Transaction:
    """Requests that wait for EXEC; `slot` is that of the first key, -1 before it; `dirty` after a refusal."""

    requests: list[bytes]
    size: i64
    slot: i64
    dirty: bool

    def __init__(self) -> None:
        self.requests = []
        self.size = 0
        self.slot = -1
        self.dirty = False

    def queue(self, plan: Plan, raw: bytes, slot: i64, single: bool) -> bytes:
        """Take a command whose keys are in `slot` (-1 none, -2 several); the reply is QUEUED or says why not."""
        refusal = self._refusal(plan, raw, slot, single)
        if len(refusal) > 0:
            self.dirty = True
            return refusal
        if slot >= 0:
            self.slot = slot
        self.requests.append(raw)
        self.size += len(raw)
        return texts.QUEUED

    def _refusal(self, plan: Plan, raw: bytes, slot: i64, single: bool) -> bytes:
        if slot == -2 or (slot >= 0 and self.slot >= 0 and slot != self.slot):
            return texts.CROSSSLOT
        if plan.no_multi:
            return texts.error(b"ERR Command not allowed inside a transaction")
        if plan.kind == LOCAL and not (plan.passed and single) and plan.name not in _PLAIN_LOCALS:
            return texts.not_in_multi(plan.name)
        if plan.kind == EVERY and not single:
            return texts.not_in_multi(plan.name)
        if self.size + len(raw) > MAX_BYTES:
            return texts.TX_TOO_LARGE
        return b""

    def request(self) -> bytes:
        """All of it, MULTI and EXEC included."""
        return b"*1\r\n$5\r\nMULTI\r\n" + b"".join(self.requests) + b"*1\r\n$4\r\nEXEC\r\n"
