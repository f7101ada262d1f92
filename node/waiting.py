"""Blocking: sessions are stopped, served when a key has a value, answered when their time is up or somebody says so.

A blocked session's command is kept and executed again when one of its keys holds a value of the right type; it then
finds the value and answers as if it had come at that moment. What is propagated is what it did then (BLPOP as LPOP).
"""

from collections.abc import Callable
from typing import Final

from mypy_extensions import i64

from cluster.slots import key_slot
from node.blocking import Waiter
from node.engine import Engine
from node.errors import CommandError
from node.keyspace import Value
from node.numbers import I64_MAX, LongDouble, NotANumber, parse_long_double
from node.session import REPLY_OFF, Session
from node.timing import log_unblocked

UNBLOCKED: Final = b"UNBLOCKED client unblocked via CLIENT UNBLOCK"
ROLE_CHANGED: Final = b"UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"


def deadline_of(e: Engine, timeout: bytes) -> i64:
    """When a timeout argument (seconds, fractions allowed) is over, Unix ms; 0 for never. Raises CommandError."""
    try:
        seconds = parse_long_double(timeout)
    except NotANumber:
        raise CommandError(b"ERR timeout is not a float or out of range") from None
    if seconds.infinite:
        raise CommandError(b"ERR timeout is out of range" if seconds.mantissa > 0 else b"ERR timeout is negative")
    ms = _milliseconds(seconds)
    if ms > I64_MAX:
        raise CommandError(b"ERR timeout is out of range")
    if ms < 0:
        raise CommandError(b"ERR timeout is negative")
    if ms == 0:
        return 0
    if ms > I64_MAX - e.now_ms:
        raise CommandError(b"ERR timeout is out of range")
    return e.now_ms + i64(ms)


def _milliseconds(seconds: LongDouble) -> int:
    """Rounded up, so that no wait is shorter than asked for; the product first to 64 bits: 0.1 s is 100 ms."""
    scaled = abs(seconds.mantissa) * 1000
    exponent = seconds.exponent
    spare = scaled.bit_length() - 64
    if spare > 0:
        scaled = (scaled + (1 << (spare - 1))) >> spare
        exponent += spare
    if seconds.mantissa < 0:
        scaled = -scaled
    return scaled << exponent if exponent >= 0 else -(-scaled >> -exponent)


def may_block(e: Engine, s: Session) -> bool:
    """False inside EXEC and scripts and for the primary's stream: the command then answers as if its time was up."""
    return not (s.executing or e.in_transaction or s.primary_link)


def null_array(s: Session) -> None:
    """The timeout reply of most commands."""
    s.reply.null_array()


def block(
    e: Engine,
    s: Session,
    args: list[bytes],
    keys: list[bytes],
    kind: bytes,
    deadline: i64,
    answer: Callable[[Session], None] = null_array,
    lasting: bool = True,
) -> None:
    """Stop the session until a key of its database holds a value of type `kind`, or until the deadline (0 = none).

    One that is not `lasting` is also woken when the key is gone or holds another type, to answer an error. The caller
    has found nothing and `may_block`. Without keys only `resume`, `unblock` and the deadline end the wait.
    """
    waiter = Waiter(s, keys, kind, args, deadline, answer, lasting)
    s.blocked = True
    s.waiter = waiter
    e.blocking.add(waiter)
    if not lasting:
        e.observe()


def _release(e: Engine, waiter: Waiter) -> None:
    """End the wait; the session goes on with its next request once the reply is written."""
    e.blocking.remove(waiter)
    if not waiter.lasting:
        e.observe()
    s = waiter.session
    s.blocked = False
    s.waiter = None


def _go_on(s: Session, mark: i64) -> None:
    """Send what was written from `mark` on, unless the client wants no replies, and read its next requests."""
    if s.reply_mode == REPLY_OFF and len(s.reply.out) > mark:
        s.reply.out.truncate(mark)
    conn = s.conn
    if conn is not None and not s.blocked:
        conn.touch()
        conn.resume()


def serve_ready(e: Engine) -> None:
    """Serve the keys that were signalled, and those that this makes ready (BLMOVE), until there are none."""
    blocking = e.blocking
    if blocking.serving:
        return
    blocking.serving = True
    try:
        while len(blocking.ready) > 0:
            dbid, key = blocking.take_ready()
            _serve_key(e, dbid, key, blocking.only_touched(dbid, key))
    finally:
        blocking.serving = False


def _serve_key(e: Engine, dbid: i64, key: bytes, touched: bool) -> None:
    """`touched`: nothing was added for sure; only who has to hear that the key is gone is looked at."""
    store = e.stores[dbid]
    slot = key_slot(key)
    for waiter in e.blocking.waiters_for(dbid, key):
        value = store.peek(slot, key)
        fits = isinstance(value, Value) and value.type_name() == waiter.kind
        if e.blocking.holds(waiter) and (not touched if fits else not waiter.lasting):
            resume(e, waiter.session)


def resume(e: Engine, s: Session) -> None:
    """Execute the command of a blocked session again; it may block once more."""
    waiter = s.waiter
    assert isinstance(waiter, Waiter)
    _release(e, waiter)
    mark: i64 = len(s.reply.out)
    e.executor.call(s, waiter.args)
    again = s.waiter
    if isinstance(again, Waiter) and again.deadline != waiter.deadline:
        e.blocking.remove(again)  # the time counts from when it blocked first
        again.deadline = waiter.deadline
        e.blocking.add(again)
    _go_on(s, mark)


def next_deadline(e: Engine) -> i64:
    """When `expire_due` has something to do, Unix ms; 0 when nobody waits for a limited time."""
    return e.blocking.next_deadline()


def expire_due(e: Engine) -> None:
    """Answer the sessions whose time is up."""
    for waiter in e.blocking.due(e.now_ms):
        if e.blocking.holds(waiter):
            _release(e, waiter)
            mark: i64 = len(waiter.session.reply.out)
            waiter.answer(waiter.session)
            log_unblocked(e, waiter.session, waiter.args, len(waiter.session.reply.out) - mark)
            _go_on(waiter.session, mark)


def unblock(e: Engine, s: Session, error: bytes = b"") -> bool:
    """End a session's wait as if its time was up, or with an error; False when it does not wait."""
    waiter = s.waiter
    if not isinstance(waiter, Waiter):
        return False
    _release(e, waiter)
    mark: i64 = len(s.reply.out)
    if error:
        e.stats.count_error(error)
        s.reply.error(error)
    else:
        waiter.answer(s)
    _go_on(s, mark)
    return True


def drop_waiter(e: Engine, s: Session) -> None:
    """The client is gone."""
    waiter = s.waiter
    if isinstance(waiter, Waiter):
        _release(e, waiter)


def release_all(e: Engine) -> None:
    """This node has become a replica: nobody can be served here any more; as in Valkey the connections are closed."""
    for waiter in e.blocking.waiters():
        s = waiter.session
        unblock(e, s, ROLE_CHANGED)
        conn = s.conn
        if conn is not None:
            conn.close_after_flush()


def redirect_moved(e: Engine) -> None:
    """The slot map has changed: sessions that wait for keys of a slot served elsewhere are sent there."""
    gate = e.gate
    for waiter in e.blocking.waiters():
        if not gate.active or len(waiter.keys) == 0:
            continue
        s = waiter.session
        conn = s.conn
        refusal = gate.refusal(key_slot(waiter.keys[0]), True, s.readonly, conn is not None and conn.tls)
        if refusal is not None:
            unblock(e, s, refusal)
