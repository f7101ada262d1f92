"""Lists: the commands that wait for an element. What they propagate is the command that did the work."""

from mypy_extensions import i64

from cluster.slots import key_slot
from node.commands.list_common import PopRequest, end_of_list, list_at, move, pop_first_filled, pop_one
from node.engine import Engine, Handler
from node.session import Session
from node.waiting import block, deadline_of, may_block


def _pop(e: Engine, s: Session, args: list[bytes], left: bool) -> None:
    deadline = deadline_of(e, args[-1])
    keys = args[1:-1]
    for key in keys:
        slot = key_slot(key)
        values = list_at(s, slot, key)
        if values is not None:
            s.reply.array(2)
            s.reply.bulk(key)
            s.reply.bulk(pop_one(e, s, slot, key, values, left))
            e.replace_with([b"LPOP" if left else b"RPOP", key])
            return
    if may_block(e, s):
        block(e, s, args, keys, b"list", deadline)
    else:
        s.reply.null_array()


def blpop(e: Engine, s: Session, args: list[bytes]) -> None:
    """BLPOP key [key ...] timeout."""
    _pop(e, s, args, True)


def brpop(e: Engine, s: Session, args: list[bytes]) -> None:
    """BRPOP key [key ...] timeout."""
    _pop(e, s, args, False)


def blmpop(e: Engine, s: Session, args: list[bytes]) -> None:
    """BLMPOP timeout numkeys key [key ...] LEFT|RIGHT [COUNT count]."""
    request = PopRequest(args, 2)
    deadline = deadline_of(e, args[1])
    if pop_first_filled(e, s, request.keys, request.left, request.count):
        return
    if may_block(e, s):
        block(e, s, args, request.keys, b"list", deadline)
    else:
        s.reply.null_array()


def _move(e: Engine, s: Session, args: list[bytes], from_left: bool, to_left: bool, deadline: i64) -> bool:
    """True when an element was moved; else the session waits or has got its answer."""
    values = list_at(s, e.slot, args[1])
    if values is not None:
        move(e, s, args[1], args[2], values, from_left, to_left)
        return True
    if may_block(e, s):
        block(e, s, args, [args[1]], b"list", deadline)
    else:
        s.reply.null()
    return False


def blmove(e: Engine, s: Session, args: list[bytes]) -> None:
    """BLMOVE source destination LEFT|RIGHT LEFT|RIGHT timeout."""
    from_left = end_of_list(args[3])
    to_left = end_of_list(args[4])
    if _move(e, s, args, from_left, to_left, deadline_of(e, args[5])):
        e.replace_with([b"LMOVE", args[1], args[2], args[3], args[4]])


def brpoplpush(e: Engine, s: Session, args: list[bytes]) -> None:
    """BRPOPLPUSH source destination timeout."""
    if _move(e, s, args, False, True, deadline_of(e, args[3])):
        e.replace_with([b"RPOPLPUSH", args[1], args[2]])


HANDLERS: dict[bytes, Handler] = {
    b"blpop": blpop,
    b"brpop": brpop,
    b"blmpop": blmpop,
    b"blmove": blmove,
    b"brpoplpush": brpoplpush,
}
