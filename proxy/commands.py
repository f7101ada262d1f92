"""What the proxy answers itself: logins, a client's own state, transactions, subscriptions, all shards at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from mypy_extensions import i64

from cluster.resp.encode import encode_request
from proxy import session as sessions
from proxy import split, texts
from proxy.channels import UNCONFIRMED_MOST, Monitors
from proxy.client import CROSS, NO_SLOT, Client
from proxy.info import InfoMerge
from proxy.pending import Pending
from proxy.routing import Plan
from proxy.session import REPLY_OFF, REPLY_ON, REPLY_SKIP
from proxy.transaction import Transaction
from proxy.waiting import begin_wait

_SHARED: Final = b"its effect would fall on other clients of the same connection"


@final
class FullClient(Client):
    """A client with all of its commands."""

    def local(self, plan: Plan, args: list[bytes], raw: bytes) -> None:
        """Answer one of routing.LOCALS."""
        handler = _HANDLERS.get(plan.name)
        if handler is None:
            handler = _HANDLERS[plan.name.partition(b"|")[0]]
        handler(self, plan, args, raw)

    def login(self, user: bytes, password: bytes) -> bytes:
        """Check a login; the reply is OK or says why not."""
        session = self.session
        access = session.access
        if access.external and not self.hub.allowlist.permits(session.peer_ip):
            self.hub.noted("login refused: address not in the allowlist", session.peer_ip)
            return texts.NOT_ALLOWED
        if not access.admits(user, password):
            self.hub.noted("login refused: wrong password", session.peer_ip)
            return texts.WRONGPASS
        session.authed = True
        self.decoder.trusted = True
        self.refresh()
        return texts.OK

    def speak(self, proto: i64, db: i64) -> None:
        """Use the lanes of a protocol version and database from now on; nothing may be under way."""
        self.session.proto = proto
        self.session.db = db
        self.lanes = self.fleet.lanes(proto, db)
        self.refresh()

    def selected(self, db: int, replies: list[bytes]) -> bytes:
        """A node has answered SELECT."""
        line = self.line
        if line is not None:
            line.drop()
            self.line = None
        if replies[0] == texts.OK:
            self.hub.good_dbs.add(db)
            self.speak(self.session.proto, db)
        return replies[0]


Handler = Callable[[FullClient, Plan, list[bytes], bytes], None]


# --- connection
def _auth(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    if len(args) > 3:
        c.answer(texts.SYNTAX)
        return
    c.answer(c.login(args[1] if len(args) == 3 else b"default", args[-1]))


def _hello(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    if c.hold(plan, args, raw):
        return
    session = c.session
    proto: i64 = session.proto
    if len(args) > 1:
        if not args[1].isdigit() or len(args[1]) > 18:
            c.answer(texts.error(b"ERR Protocol version is not an integer or out of range"))
            return
        proto = int(args[1])
        if proto != 2 and proto != 3:
            c.answer(texts.NOPROTO)
            return
    refusal = _hello_options(c, args)
    if len(refusal) == 0 and not session.authed:
        refusal = texts.HELLO_NOAUTH
    if len(refusal) == 0 and c.channels is not None and proto != session.proto:
        refusal = texts.not_here(b"hello", b"unsubscribe before changing the protocol")
    if len(refusal) > 0:
        c.answer(refusal)
        return
    if proto != session.proto:
        if c.line is not None:
            c.unwatch()
        c.speak(proto, session.db)
    c.answer(sessions.hello_reply(session, c.hub.version()))


def _hello_options(c: FullClient, args: list[bytes]) -> bytes:
    """AUTH and SETNAME of HELLO; an error reply or b""."""
    place = 2
    name: bytes | None = None
    while place < len(args):
        word = args[place].lower()
        if word == b"auth" and place + 2 < len(args):
            said = c.login(args[place + 1], args[place + 2])
            if said != texts.OK:
                return said
            place += 3
        elif word == b"setname" and place + 1 < len(args):
            name = args[place + 1]
            if not sessions.good_name(name):
                return texts.BAD_NAME
            place += 2
        else:
            return texts.error(b"ERR Syntax error in HELLO option '%b'" % args[place])
    if name is not None and c.session.authed:
        c.session.name = name
    return b""


def _quit(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    c.answer(texts.OK)
    c.end()


def _reset(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    if c.hold(plan, args, raw):
        return
    session = c.session
    c.tx = None
    session.multi = -1
    c.unwatch()
    c.drop_channels()
    session.name = b""
    session.reply_mode = REPLY_ON
    c.mute = False
    session.authed = not session.access.required
    c.decoder.trusted = session.authed
    c.speak(2, 0)
    c.answer(texts.RESET)


def _select(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    text = args[1]
    if not (text.isdigit() or (text[:1] == b"-" and text[1:].isdigit())) or len(text) > 9:
        c.answer(texts.NOT_INTEGER)
        return
    db = int(text)
    if db == c.session.db:
        c.answer(texts.OK)
        return
    if not c.fleet.single:
        c.answer(texts.SELECT_SHARDED)
        return
    if c.hold(plan, args, raw):
        return
    if c.line is not None:
        c.answer(texts.not_here(b"select", b"keys are being watched"))
        return
    if db in c.hub.good_dbs:
        c.speak(c.session.proto, db)
        c.answer(texts.OK)
        return
    p = Pending(c, raw, NO_SLOT, True)
    check = Selection(c, db)
    p.check = check
    line = c.new_line(c.fleet.only)
    line.db = 0
    line.keep = True
    c.occupy(p, line)


@final
class Selection:
    """Takes the node's answer to SELECT."""

    def __init__(self, client: FullClient, db: int) -> None:
        self.client = client
        self.db = db

    def __call__(self, reply: bytes) -> bytes:
        """The reply; the client is in the database from then on if it is OK."""
        return self.client.selected(self.db, [reply])


def _ping(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    if len(args) > 2:
        c.answer(texts.wrong_arity(b"ping"))
    elif c.channels is not None and c.session.proto == 2:
        c.answer(b"*2\r\n$4\r\npong\r\n" + sessions.bulk(args[1] if len(args) == 2 else b""))
    else:
        c.answer(sessions.bulk(args[1]) if len(args) == 2 else texts.PONG)


def _echo(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    c.answer(sessions.bulk(args[1]))


def _no_cluster(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    c.answer(texts.NO_CLUSTER)


def _shared(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    c.answer(texts.not_here(plan.name, _SHARED))


def _wait(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    if not c.hold(plan, args, raw):
        begin_wait(c, args)


def _config(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    if plan.name == b"config|get" and not c.session.access.external:
        c.forward(plan, raw, NO_SLOT, c.first_shard())
    else:
        c.answer(texts.no_permission(plan.name))


# --- CLIENT
def _client(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    session = c.session
    word = plan.name.partition(b"|")[2]
    hub = c.hub
    _describe(c)
    if word == b"id":
        c.answer(b":%d\r\n" % session.id)
    elif word == b"getname":
        c.answer(sessions.bulk(session.name) if session.name else sessions.null(session.proto))
    elif word == b"setname":
        c.answer(sessions.set_name(session, args[2]))
    elif word == b"setinfo":
        c.answer(sessions.set_info(session, args[2], args[3]))
    elif word == b"info":
        c.answer(sessions.verbatim(session.describe(c.fleet.now) + b"\n", session.proto))
    elif word == b"list":
        c.answer(sessions.client_list(args, list(hub.sessions.values()), session.proto, c.fleet.now))
    elif word == b"kill":
        _kill(c, args)
    elif word == b"reply":
        _reply(c, args[2].lower())
    elif word == b"capa":  # a proxy redirects nobody, so there is nothing to remember
        c.answer(texts.OK)
    elif word in (b"no-evict", b"no-touch"):
        c.answer(sessions.set_switch(args[2]))
    elif word == b"help":
        c.answer(sessions.help_reply(session.proto))
    elif word == b"getredir":
        c.answer(b":-1\r\n")
    elif word == b"trackinginfo":
        c.answer(sessions.tracking_info(session.proto))
    else:
        c.answer(texts.not_here(plan.name, _SHARED))


def _describe(c: FullClient) -> None:
    """Bring what CLIENT LIST shows up to date."""
    c.session.commands = c.commands
    if c.last is not None:
        c.session.last_command = c.last.name


def _kill(c: FullClient, args: list[bytes]) -> None:
    refusal, hit, old_form = sessions.kill_targets(args, list(c.hub.sessions.values()), c.session)
    if refusal:
        c.answer(refusal)
        return
    c.answer(texts.OK if old_form else b":%d\r\n" % len(hit))
    for session in hit:
        peer = c.hub.peers.get(session.id)
        if session is c.session:
            c.end()
        elif peer is not None:
            peer.close()


def _reply(c: FullClient, word: bytes) -> None:
    session = c.session
    if word == b"on":
        session.reply_mode = REPLY_ON
        c.mute = False
        c.answer(texts.OK)
    elif word == b"off":
        session.reply_mode = REPLY_OFF
    elif word == b"skip":
        session.reply_mode = REPLY_SKIP if session.reply_mode == REPLY_ON else session.reply_mode
    else:
        c.answer(texts.SYNTAX)
    c.refresh()


# --- transactions
def _multi(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    if c.tx is not None:
        c.tx.dirty = True
        c.answer(texts.MULTI_NESTED)
        return
    c.tx = Transaction()
    c.session.multi = 0
    c.refresh()
    c.answer(texts.OK)


def _leave(c: FullClient) -> None:
    c.tx = None
    c.session.multi = -1
    c.refresh()


def _exec(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    tx = c.tx
    if tx is None:
        c.answer(texts.EXEC_WITHOUT)
        return
    line = c.line
    if line is not None and not tx.dirty and c.hold(plan, args, raw):
        return
    _leave(c)
    if tx.dirty:
        c.unwatch()
        c.answer(texts.EXECABORT)
    elif line is not None and (line.broken or line.up is None):
        c.unwatch()
        c.answer(b"_\r\n" if c.session.proto == 3 else b"*-1\r\n")
    elif line is None and not tx.requests:
        c.answer(texts.EMPTY_ARRAY)
    elif line is not None and tx.slot >= 0 and c.fleet.owners[tx.slot] != line.shard:
        c.unwatch()
        c.answer(texts.CROSSSLOT)
    else:
        c.execute(tx)


def _discard(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    if c.tx is None:
        c.answer(texts.DISCARD_WITHOUT)
        return
    _leave(c)
    c.unwatch()
    c.answer(texts.OK)


def _watch(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    if c.tx is not None:
        c.tx.dirty = True
        c.answer(texts.WATCH_INSIDE)
        return
    slot = NO_SLOT if c.fleet.single else c.slot_of(plan, args)
    shard = c.fleet.owners[slot] if slot >= 0 else c.first_shard()
    line = c.line
    if slot == CROSS or (line is not None and line.shard != shard):
        c.answer(texts.CROSSSLOT)
        return
    if c.hold(plan, args, raw):
        return
    if line is None or line.broken:
        c.unwatch()
        line = c.new_line(shard)
    p = Pending(c, raw, slot, True)
    line.keep = True
    c.session.watching = True
    p.check = Watched(c)
    c.occupy(p, line)


@final
class Watched:
    """Takes the node's answer to WATCH: from then on the line may not be repaired."""

    def __init__(self, client: FullClient) -> None:
        self.client = client

    def __call__(self, reply: bytes) -> bytes:
        """The reply as it is."""
        line = self.client.line
        if line is not None:
            line.watching = reply == texts.OK
            if not line.watching:
                self.client.unwatch()
        return reply


def _unwatch(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    c.unwatch()
    c.answer(texts.OK)


# --- messages
def _subscription(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    if c.hold(plan, args, raw):
        return
    channels = c.subscriptions()
    c.changing = True
    c.refresh()
    channels.change(plan.name, args[1:])
    c.held = c.held or len(channels.confirmations) > UNCONFIRMED_MOST


def _monitor(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    if c.hold(plan, args, raw):
        return
    if c.monitors is None:
        c.monitors = Monitors(c.fleet, c.session.proto, c.push)
        c.session.monitor = True
    c.answer(texts.OK)


def _pubsub(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    word = plan.name.partition(b"|")[2]
    if word in (b"channels", b"shardchannels"):
        c.everywhere(raw, True, split.united)
    elif word in (b"numsub", b"shardnumsub"):
        c.everywhere(raw, True, split.summed_pairs)
    elif word == b"numpat":
        c.everywhere(raw, True, split.agg_max)
    else:
        c.forward(plan, raw, NO_SLOT, c.first_shard())


# --- all shards
def _scan(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    active = c.fleet.active()
    where = split.read_cursor(args[1], max(len(active), 1))
    if where is None:
        c.answer(texts.BAD_CURSOR)
        return
    number, cursor = where
    request = encode_request([args[0], b"%d" % cursor, *args[2:]])
    c.ask_one(request, active[number] if active else 0, split.NextCursor(number, len(active)))


def _randomkey(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    c.everywhere(raw, True, split.RandomPick(c.hub.draw()))


def _info(c: FullClient, plan: Plan, args: list[bytes], raw: bytes) -> None:
    c.everywhere(raw, True, InfoMerge(c.hub.info(), c.session.proto == 3))


_HANDLERS: Final[dict[bytes, Handler]] = {
    b"auth": _auth,
    b"hello": _hello,
    b"quit": _quit,
    b"reset": _reset,
    b"client": _client,
    b"select": _select,
    b"ping": _ping,
    b"echo": _echo,
    b"multi": _multi,
    b"exec": _exec,
    b"discard": _discard,
    b"watch": _watch,
    b"unwatch": _unwatch,
    b"subscribe": _subscription,
    b"unsubscribe": _subscription,
    b"psubscribe": _subscription,
    b"punsubscribe": _subscription,
    b"ssubscribe": _subscription,
    b"sunsubscribe": _subscription,
    b"monitor": _monitor,
    b"scan": _scan,
    b"randomkey": _randomkey,
    b"info": _info,
    b"pubsub": _pubsub,
    b"wait": _wait,
    b"waitaof": _wait,
    b"script": _shared,
    b"readonly": _no_cluster,
    b"readwrite": _no_cluster,
    b"config": _config,
}
