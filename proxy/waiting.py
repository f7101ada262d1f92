"""WAIT on connections that many clients share: asked again and again for a millisecond, instead of once for long.

A node's WAIT counts the replicas that have what its connection wrote. The lane has written everything that the client
has (its earlier commands are all answered when WAIT begins) and what others wrote meanwhile, so a count that it gives
is never too high. But a WAIT that blocks would hold up everybody on the lane; so it is asked with a timeout of one
millisecond, each time prompting the replicas for an acknowledgement, until enough of them have it or the client's own
timeout is over.
"""

from __future__ import annotations

from typing import Final, final

from cluster.resp.encode import encode_request
from proxy import texts
from proxy.client import NO_SLOT, Client
from proxy.pending import Pending
from proxy.skipper import elements
from proxy.split import agg_min

_BRIEFLY: Final = b"1"
_DIGITS: Final = 15


@final
class Waiting:
    """One WAIT or WAITAOF of a client; `needs` are the counts that it asks for, `tick` asks again."""

    def __init__(self, client: Client, args: list[bytes], seconds: float) -> None:
        self.client = client
        self.words = [*args[:-1], _BRIEFLY]
        self.needs = [int(word) for word in args[1:-1]]
        now = client.fleet.now
        self.deadline = now + seconds if seconds > 0 else 0.0
        self.asking = False
        self.whole = Pending(client, b"", NO_SLOT, True)

    def begin(self) -> None:
        """Hold the client until the answer is there, and ask for the first time."""
        client = self.client
        client.hub.waits[client.session.id] = self.tick
        client.expect(self.whole)
        client.held = True
        client.waiting = True
        client.session.blocked = True
        self.tick(client.fleet.now)

    def tick(self, now: float) -> None:
        """Ask all shards, unless an answer is still due."""
        client = self.client
        if client.closed:
            client.hub.waits.pop(client.session.id, None)
        elif not self.asking:
            self.asking = True
            client.ask_all(encode_request(self.words), self.answered)

    def answered(self, replies: list[bytes]) -> bytes:
        """The shards' counts: the answer when they suffice or time is up, else go on."""
        self.asking = False
        merged = agg_min(replies)
        late = self.deadline > 0 and self.client.fleet.now >= self.deadline
        if merged.startswith(b"-") or late or self._enough(merged):
            self.client.hub.waits.pop(self.client.session.id, None)
            self.whole.finish(merged)
        return b""

    def _enough(self, merged: bytes) -> bool:
        counts = [merged] if merged.startswith(b":") else elements(merged)
        return all(int(count[1:-2]) >= need for count, need in zip(counts, self.needs, strict=True))


def begin_wait(client: Client, args: list[bytes]) -> None:
    """Start a WAIT whose arguments are right, answer one whose are not; nothing of the client may be under way."""
    for word in args[1:]:
        if not word.isdigit() or len(word) > _DIGITS:
            negative = word is args[-1] and word[:1] == b"-" and word[1:].isdigit()
            client.answer(b"-ERR timeout is negative\r\n" if negative else texts.NOT_INTEGER)
            return
    Waiting(client, args, int(args[-1]) / 1000).begin()
