"""A client's connection: its requests are decoded, routed and sent on; its replies come back in order.

The way of a command: `_serve` decodes it and sends the usual case (one key, nothing unusual about the client) straight
to the lane of its slot. Everything else goes through `_dispatch`: refusals first, then transactions, then by the kind
of its plan. What must not overtake, or be overtaken by, other commands of the client (a change of protocol, a blocking
command, a subscription) is held until all replies before it are written, and the client is not served until it is done.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from mypy_extensions import i64

from cluster.catalog.keys import KeysError, key_positions
from cluster.resp.encode import encode_request
from cluster.resp.errors import ProtocolError
from cluster.resp.requests import RequestDecoder
from cluster.slots import key_slot
from proxy import split, texts
from proxy.channels import CHANGES, Channels, Monitors
from proxy.hub import Hub
from proxy.lanes import Fleet, LaneSet
from proxy.lines import Line
from proxy.pending import BATCH, PART, Join, Peer, Pending
from proxy.routing import ANY, BLOCK, EVERY, KEYED, LOCAL, NO_CLUSTER, REFUSED, SPLIT, Plan, plan_for_strangers
from proxy.session import REPLY_OFF, REPLY_ON, REPLY_SKIP, Access, Session
from proxy.transaction import Transaction

MAX_DUE: Final = 16384  # commands of one client under way
MAX_DUE_BYTES: Final = 4 << 20  # and the size of their requests, beyond the one that exceeds it
HELD_INPUT: Final = 1 << 20  # input kept of a client that is not served at the moment
MAX_BULK: Final = 512 << 20

NO_SLOT: Final = -1
CROSS: Final = -2

_BEFORE_LOGIN: Final = frozenset([b"auth", b"hello", b"quit", b"reset"])
_WHILE_SUBSCRIBED: Final = frozenset(
    [
        b"subscribe", b"unsubscribe", b"psubscribe", b"punsubscribe", b"ssubscribe", b"sunsubscribe",
        b"ping", b"quit", b"reset",
    ]
)  # fmt: skip
_STRANGER: Final = plan_for_strangers()
_ENDS_MULTI: Final = frozenset([b"exec", b"discard", b"multi", b"watch", b"quit", b"reset"])
_CONTAINERS: Final = frozenset([b"acl", b"module"])


class Client(Peer):
    """One client of the proxy; `local` is left to proxy.commands."""

    hub: Hub
    fleet: Fleet
    plans: dict[bytes, Plan]
    session: Session
    decoder: RequestDecoder
    lanes: LaneSet
    slow: bool  # something about the client is unusual: every command goes through `_dispatch`
    held: bool  # not served until what it waits for is done
    changing: bool  # subscriptions change: nothing but more of that is served
    ending: bool  # to be closed once all replies are written
    stalled: bool  # not read until replies have been written or sent
    kept: Plan | None  # the command that waits until all before it are answered
    postponed: bool  # there is one, be it of no plan
    kept_args: list[bytes]
    kept_raw: bytes
    line: Line | None
    tx: Transaction | None
    channels: Channels | None
    left: Channels | None  # without subscriptions, for the next ones
    monitors: Monitors | None
    last: Plan | None
    commands: i64

    def __init__(
        self, hub: Hub, sock: socket.socket, access: Access, addresses: tuple[bytes, bytes, str], tls: bool
    ) -> None:
        super().__init__(hub.fleet.loop, sock, tls)
        self.hub = hub
        self.fleet = hub.fleet
        self.plans = hub.plans
        self.session = Session(hub.next_id(), access, addresses[0], addresses[1], addresses[2], hub.fleet.now)
        self.decoder = RequestDecoder(self.session.authed, MAX_BULK)
        self.lanes = hub.fleet.lanes(2, 0)
        self.slow = False
        self.held = False
        self.changing = False
        self.ending = False
        self.stalled = False
        self.kept = None
        self.postponed = False
        self.kept_args = []
        self.kept_raw = b""
        self.line = None
        self.tx = None
        self.channels = None
        self.left = None
        self.monitors = None
        self.last = None
        self.commands = 0
        self.refresh()

    def refresh(self) -> None:
        """Find out whether anything about the client is unusual."""
        session = self.session
        self.slow = (
            not session.authed
            or self.tx is not None
            or session.reply_mode != REPLY_ON
            or self.changing
            or (self.channels is not None and session.proto == 2)
        )

    # --- in
    def on_data(self, data: bytes) -> None:
        """Take input; serve it unless the client is held."""
        if len(data) > 0:
            self.decoder.feed(data)
            self.session.seen = self.fleet.now
        if self.held:
            if self.decoder.held() > HELD_INPUT:
                self.set_reading(False)
            return
        self._serve()

    def _serve(self) -> None:
        """Decode and dispatch until there is no whole request left, or the client has to wait."""
        decoder = self.decoder
        fleet = self.fleet
        plans = self.plans
        try:
            while not (self.held or self.closed or self.closing or self.ending):
                if self.due > MAX_DUE or self.due_bytes > MAX_DUE_BYTES or self.full():
                    self._stall()
                    return
                if not decoder.next():
                    break
                args = decoder.args
                raw = decoder.buf[decoder.start : decoder.end] if decoder.raw else encode_request(args)
                plan = plans.get(args[0])
                if plan is None:
                    plan = plans.get(args[0].lower())
                self.commands += 1
                if plan is None or self.slow:
                    self._dispatch(plan, args, raw)
                    continue
                self.last = plan
                if fleet.single:
                    if plan.direct:
                        p = Pending(self, raw, NO_SLOT, plan.safe)
                        p.shard = fleet.only
                        self.expect(p)
                        self.lanes.lanes[fleet.only].submit(p)
                        continue
                elif plan.kind == KEYED and len(args) > plan.first:
                    slot = key_slot(args[plan.first])
                    p = Pending(self, raw, slot, plan.safe)
                    self.expect(p)
                    self.lanes.by_slot[slot].submit(p)
                    continue
                self._dispatch(plan, args, raw)
        except ProtocolError as error:
            self.answer(texts.error(b"ERR " + error.text))
            self.end()

    # --- waiting
    def _stall(self) -> None:
        """Neither serve nor read the client until it has taken replies, or they have come."""
        if not self.stalled:
            self.stalled = True
            self.waiting = True
            self.set_reading(False)

    def _go_on(self) -> None:
        """Serve a stalled client again when there is room."""
        if self.stalled and self.due < MAX_DUE // 2 and self.due_bytes <= MAX_DUE_BYTES and not self.full():
            self.stalled = False
            self.waiting = self.held or self.ending
            self.set_reading(True)
            self.again()

    def on_event(self, events: i64) -> None:
        """As Conn.on_event; a socket that has taken output may end a stall. A fault of ours costs this client alone."""
        try:
            super().on_event(events)
        except Exception as error:
            self.hub.noted("a client was closed because of a fault of the proxy", repr(error))
            self.close()
        if self.stalled and not self.closed:
            self._go_on()

    def on_room(self) -> None:
        """Replies were written: go on with what waited for that."""
        if self.head is None:
            if self.ending:
                self.close_after_flush()
                return
            if self.held and not self.changing:
                self.release()
        if self.stalled:
            self._go_on()

    def hold(self, plan: Plan, args: list[bytes], raw: bytes) -> bool:
        """Keep a command until everything before it is answered; False when there is nothing to wait for."""
        if self.head is None:
            return False
        self._postpone(plan, args, raw)
        self.waiting = True
        return True

    def _postpone(self, plan: Plan | None, args: list[bytes], raw: bytes) -> None:
        """Serve a command, and all behind it, later."""
        self.kept = plan
        self.kept_args = args
        self.kept_raw = raw
        self.postponed = True
        self.held = True

    def occupy(self, p: Pending, line: Line) -> None:
        """Run a command on a private connection; the client is not served before its reply."""
        self.expect(p)
        self.line = line
        self.held = True
        self.waiting = True
        self.session.blocked = True
        line.run(p)

    def release(self) -> None:
        """What the client was held for is done."""
        self.held = False
        self.waiting = self.stalled or self.ending
        self.session.blocked = False
        line = self.line
        if line is not None and not self.session.watching:
            self.line = None
        if self.postponed:
            plan = self.kept
            self.kept = None
            self.postponed = False
            self._dispatch(plan, self.kept_args, self.kept_raw)
        if not self.held and not self.closed:
            if not self.stalled:
                self.set_reading(True)
            self.again()

    def end(self) -> None:
        """Close once all replies are written; nothing more is served."""
        self.ending = True
        self.waiting = True
        self.set_reading(False)
        if self.head is None:
            self.close_after_flush()

    # --- out of the usual
    def _dispatch(self, plan: Plan | None, args: list[bytes], raw: bytes) -> None:
        """Refuse, queue, or send on a command by the kind of its plan."""
        if self.changing and (plan is None or plan.name not in CHANGES):
            self._postpone(plan, args, raw)  # its reply comes behind the confirmations
            return
        session = self.session
        if plan is not None and plan.subs and len(args) > 1:
            plan = plan.subs.get(args[1].lower())
        elif plan is None and self.fleet.single and args[0].lower() not in self.plans:
            plan = _STRANGER
        self.mute = session.reply_mode != REPLY_ON
        if session.reply_mode == REPLY_SKIP:
            session.reply_mode = REPLY_ON
            self.refresh()
        refusal = self._refusal(plan, args)
        if len(refusal) > 0:
            if self.tx is not None:
                self.tx.dirty = True
            self.answer(refusal)
        elif plan is not None:
            self.last = plan
            if self.tx is not None and plan.name not in _ENDS_MULTI:
                self.answer(self.tx.queue(plan, raw, self._tx_slot(plan, args), self.fleet.single))
            else:
                self._route(plan, args, raw)
        if session.reply_mode != REPLY_OFF:
            self.mute = False

    def _refusal(self, plan: Plan | None, args: list[bytes]) -> bytes:
        """The error for a command that goes no further, b"" for one that does."""
        session = self.session
        if not session.authed and (plan is None or plan.name not in _BEFORE_LOGIN):
            return texts.NOAUTH
        if plan is None:
            known = self.plans.get(args[0].lower())
            return texts.unknown_subcommand(args) if known is not None else texts.unknown_command(args)
        if not plan.fits(len(args)):
            return texts.wrong_arity(plan.name)
        if plan.kind == REFUSED:
            name = plan.name
            if name in _CONTAINERS and len(args) > 1:
                name += b"|" + args[1].lower()
            return texts.no_permission(name)
        if plan.kind == NO_CLUSTER:
            return texts.NO_CLUSTER
        if self.channels is not None and session.proto == 2 and plan.name not in _WHILE_SUBSCRIBED:
            return texts.only_subscriptions(plan.name)
        return b""

    def _route(self, plan: Plan, args: list[bytes], raw: bytes) -> None:
        kind = plan.kind
        if kind == LOCAL and not (plan.passed and self.fleet.single):
            self.local(plan, args, raw)
            return
        if kind == BLOCK:
            self._block(plan, args, raw)
            return
        if self.fleet.single:
            self.forward(plan, raw, NO_SLOT, self.fleet.only)
            return
        if kind == SPLIT and len(args) > 2:
            self._split(plan, args, raw)
            return
        if kind == EVERY:
            self.everywhere(raw, plan.safe, split.merge_for(plan.policy))
            return
        slot = NO_SLOT if kind == ANY else self.slot_of(plan, args)
        if slot == CROSS:
            self._cross(plan, args)
        else:
            self.forward(plan, raw, slot, self.first_shard())

    def _cross(self, plan: Plan, args: list[bytes]) -> None:
        """Keys of several slots in a command that is not simply cut: refused, but for an MSETEX without condition."""
        parts = split.msetex_parts(args) if plan.name == b"msetex" else []
        if not parts:
            self.answer(texts.CROSSSLOT)
            return
        whole = Pending(self, b"", NO_SLOT, False)
        self.expect(whole)
        join = Join(whole, len(parts), split.merge_for(plan.policy))
        for index, (slot, request) in enumerate(parts):
            self.part(join, index, request, slot, 0, plan.safe)

    def local(self, plan: Plan, args: list[bytes], raw: bytes) -> None:
        """Answer a command that concerns the client itself, or all shards in a way of its own."""
        raise NotImplementedError

    def forward(self, plan: Plan, raw: bytes, slot: i64, shard: i64) -> None:
        """Send a command as it is, to the shard of a slot or to a named shard."""
        p = Pending(self, raw, slot, plan.safe)
        p.shard = shard
        self.expect(p)
        self.fleet.submit(p, self.lanes)

    def first_shard(self) -> i64:
        """The shard that answers for all where any would do."""
        active = self.fleet.active()
        return active[0] if active else 0

    def slot_of(self, plan: Plan, args: list[bytes]) -> i64:
        """The slot of a command's keys: NO_SLOT without keys, CROSS for keys of several slots."""
        if plan.kind == KEYED:
            return key_slot(args[plan.first])
        row = plan.row
        if row is None:
            return NO_SLOT
        try:
            places = key_positions(row, args)
        except KeysError:
            return NO_SLOT  # malformed: the node says what is wrong with it
        slot: i64 = NO_SLOT
        for place in places:
            here = key_slot(args[place])
            if slot != NO_SLOT and here != slot:
                return CROSS
            slot = here
        return slot

    def _tx_slot(self, plan: Plan, args: list[bytes]) -> i64:
        return NO_SLOT if self.fleet.single or plan.kind == LOCAL else self.slot_of(plan, args)

    def _split(self, plan: Plan, args: list[bytes], raw: bytes) -> None:
        """Cut a command of many keys by slot; its reply is put together from those of the parts."""
        step = int(plan.step)
        if (len(args) - 1) % step:
            self.answer(texts.wrong_arity(plan.name))
            return
        parts = split.split_keys(args, step)
        if len(parts) == 1:
            self.forward(plan, raw, parts[0][0], 0)
            return
        merge: split.Merge
        if plan.name == b"mget":
            merge = split.InOrder([places for _, places in parts])
        else:
            merge = split.merge_for(plan.policy)
        whole = Pending(self, b"", NO_SLOT, False)
        self.expect(whole)
        join = Join(whole, len(parts), merge)
        for index, (slot, places) in enumerate(parts):
            self.part(join, index, split.part_request(args, places, step), slot, 0, plan.safe)

    def everywhere(self, raw: bytes, safe: bool, merge: Callable[[list[bytes]], bytes]) -> None:
        """Ask all shards, and merge what they answer."""
        whole = Pending(self, b"", NO_SLOT, False)
        self.expect(whole)
        shards = self.fleet.active() or [0]
        join = Join(whole, len(shards), merge)
        for index, shard in enumerate(shards):
            self.part(join, index, raw, NO_SLOT, shard, safe)

    def ask_all(self, request: bytes, merge: Callable[[list[bytes]], bytes]) -> None:
        """Ask all shards on the proxy's own behalf: `merge` gets the replies, and what it returns goes to nobody."""
        shards = self.fleet.active() or [0]
        join = Join(Pending(None, b"", NO_SLOT, True), len(shards), merge)
        for index, shard in enumerate(shards):
            self.part(join, index, request, NO_SLOT, shard, True)

    def part(self, join: Join, index: int, request: bytes, slot: i64, shard: i64, safe: bool) -> None:
        """Send one part of a command."""
        p = Pending(None, request, slot, safe)
        p.kind = PART
        p.shard = shard
        p.join = join
        p.index = index
        self.fleet.submit(p, self.lanes)

    def ask_one(self, request: bytes, shard: int, merge: Callable[[list[bytes]], bytes]) -> None:
        """Ask one shard, and rewrite its answer."""
        whole = Pending(self, b"", NO_SLOT, True)
        self.expect(whole)
        self.part(Join(whole, 1, merge), 0, request, NO_SLOT, shard, True)

    def _block(self, plan: Plan, args: list[bytes], raw: bytes) -> None:
        """Run a command that may wait on a connection of the client's own."""
        slot = NO_SLOT if self.fleet.single else self.slot_of(plan, args)
        if slot == CROSS:
            self.answer(texts.CROSSSLOT)
            return
        if self.hold(plan, args, raw):
            return
        shard = self.fleet.owners[slot] if slot >= 0 else self.first_shard()
        line = self.new_line(shard)
        line.once = plan is _STRANGER
        self.occupy(Pending(self, raw, slot, plan.safe), line)

    def new_line(self, shard: i64) -> Line:
        """A private connection to a shard; the one that watches keys stays apart."""
        return Line(self.hub.pool, shard, self.session.proto, self.session.db)

    # --- transactions
    def execute(self, tx: Transaction) -> None:
        """Send a whole transaction, on the connection that watches keys if there is one."""
        p = Pending(self, tx.request(), tx.slot, False)
        p.kind = BATCH
        p.parts = len(tx.requests) + 1
        p.swallow = p.parts
        p.shard = self.first_shard()
        line = self.line
        if line is None:
            self.expect(p)
            self.fleet.submit(p, self.lanes)
            return
        self.session.watching = False
        line.keep = False
        self.occupy(p, line)

    def unwatch(self) -> None:
        """Watch nothing any more."""
        line = self.line
        self.session.watching = False
        if line is not None:
            self.line = None
            line.drop()

    # --- subscriptions
    def subscriptions(self) -> Channels:
        """The client's subscriptions, made when first needed."""
        channels = self.channels
        if channels is None:
            channels = self.left
            self.left = None
            if channels is not None and channels.proto != self.session.proto:
                channels.close()
                channels = None
            if channels is None:
                channels = Channels(self.fleet, self.session.proto, self.push, self.settled)
            channels.tick()
            self.channels = channels
            self.hub.subscribers[self.session.id] = channels
        return channels

    def push(self, message: bytes) -> None:
        """Write a message that is no reply; it never falls into the middle of one."""
        self.out.write(message)
        self.touch()

    def settled(self) -> None:
        """All changes of subscriptions are complete."""
        self.changing = False
        channels = self.channels
        session = self.session
        if channels is not None:
            session.channels, session.patterns, session.shard_channels = channels.counts()
            if channels.total() == 0:
                self._leave_channels(channels)
        self.refresh()
        if self.held:
            self.release()

    def _leave_channels(self, channels: Channels) -> None:
        """Nothing is subscribed any more. The connections stay: the next SUBSCRIBE shall take effect before what the
        client asks on another connection thereafter. With one to be made first, a message that was published behind
        that was lost, and a task queue's client waited for it forever.
        """
        if self.left is not None:
            self.left.close()
        self.left = channels
        self.channels = None
        self.hub.subscribers.pop(self.session.id, None)

    def drop_channels(self) -> None:
        """Leave all channels without a word."""
        channels = self.channels
        if self.left is not None:
            self.left.close()
            self.left = None
        self.channels = None
        session = self.session
        session.channels = session.patterns = session.shard_channels = 0
        self.hub.subscribers.pop(session.id, None)
        if channels is not None:
            channels.close()
        if self.monitors is not None:
            self.monitors.close()
            self.monitors = None
            session.monitor = False
        self.refresh()

    # --- end
    def over_limit(self) -> bool:
        """Output limits: hard for everybody, lower for those who get messages without asking."""
        limit = (
            self.hub.pubsub_limit if self.channels is not None or self.monitors is not None else self.hub.output_limit
        )
        return self.unsent_bytes > limit

    def on_close(self) -> None:
        """Give back everything that was the client's own."""
        super().on_close()
        self.held = True
        self.hub.gone(self.session)
        line = self.line
        if line is not None:
            self.line = None
            line.drop()
        self.drop_channels()
