"""Sorted sets: the commands that wait for a member. What they propagate is the command that did the work."""

from cluster.slots import key_slot
from node.commands.zset_common import PopRequest, pop, pop_first_filled
from node.engine import Engine, Handler
from node.numbers import format_double
from node.session import Session
from node.waiting import block, deadline_of, may_block


def _pop(e: Engine, s: Session, args: list[bytes], lowest: bool) -> None:
    deadline = deadline_of(e, args[-1])
    keys = args[1:-1]
    members: list[bytes] = []
    scores: list[float] = []
    for key in keys:
        if pop(e, s, key_slot(key), key, lowest, 1, members, scores):
            s.reply.array(3)
            s.reply.bulk(key)
            s.reply.bulk(members[0])
            s.reply.double(format_double(scores[0]))
            e.replace_with([b"ZPOPMIN" if lowest else b"ZPOPMAX", key])
            return
    if may_block(e, s):
        block(e, s, args, keys, b"zset", deadline)
    else:
        s.reply.null_array()


def bzpopmin(e: Engine, s: Session, args: list[bytes]) -> None:
    """BZPOPMIN key [key ...] timeout."""
    _pop(e, s, args, True)


def bzpopmax(e: Engine, s: Session, args: list[bytes]) -> None:
    """BZPOPMAX key [key ...] timeout."""
    _pop(e, s, args, False)


def bzmpop(e: Engine, s: Session, args: list[bytes]) -> None:
    """BZMPOP timeout numkeys key [key ...] MIN|MAX [COUNT count]."""
    request = PopRequest(args, 2)
    deadline = deadline_of(e, args[1])
    if pop_first_filled(e, s, request):
        return
    if may_block(e, s):
        block(e, s, args, request.keys, b"zset", deadline)
    else:
        s.reply.null_array()


HANDLERS: dict[bytes, Handler] = {
    b"bzpopmin": bzpopmin,
    b"bzpopmax": bzpopmax,
    b"bzmpop": bzmpop,
}
