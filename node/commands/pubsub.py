"""Publish and subscribe: channels, patterns, shard channels, and PUBSUB."""

from node.engine import Engine, Handler
from node.errors import CommandError
from node.match import glob_match
from node.session import KIND_NORMAL, KIND_PUBSUB, Session


def _confirm(s: Session, kind: bytes, name: bytes | None, count: int) -> None:
    """The message that confirms one subscription or its end."""
    s.reply.push(3)
    s.reply.bulk(kind)
    s.reply.bulk_or_null(name)
    s.reply.integer(count)


def _settle(s: Session) -> None:
    """A client with subscriptions is of class pubsub for the output limits."""
    if s.kind == KIND_NORMAL and s.subscriptions() > 0:
        s.kind = KIND_PUBSUB
    elif s.kind == KIND_PUBSUB and s.subscriptions() == 0:
        s.kind = KIND_NORMAL
    s.refresh()


def subscribe(e: Engine, s: Session, args: list[bytes]) -> None:
    """SUBSCRIBE channel [channel ...]."""
    for channel in args[1:]:
        e.pubsub.subscribe(s, channel)
        _confirm(s, b"subscribe", channel, len(s.channels) + len(s.patterns))
    _settle(s)


def psubscribe(e: Engine, s: Session, args: list[bytes]) -> None:
    """PSUBSCRIBE pattern [pattern ...]."""
    for pattern in args[1:]:
        e.pubsub.psubscribe(s, pattern)
        _confirm(s, b"psubscribe", pattern, len(s.channels) + len(s.patterns))
    _settle(s)


def ssubscribe(e: Engine, s: Session, args: list[bytes]) -> None:
    """SSUBSCRIBE shardchannel [shardchannel ...]."""
    for channel in args[1:]:
        e.pubsub.ssubscribe(s, channel)
        _confirm(s, b"ssubscribe", channel, len(s.shard_channels))
    _settle(s)


def unsubscribe(e: Engine, s: Session, args: list[bytes]) -> None:
    """UNSUBSCRIBE [channel ...]."""
    names = args[1:] if len(args) > 1 else list(s.channels)
    for channel in names:
        e.pubsub.unsubscribe(s, channel)
        _confirm(s, b"unsubscribe", channel, len(s.channels) + len(s.patterns))
    if not names:
        _confirm(s, b"unsubscribe", None, len(s.channels) + len(s.patterns))
    _settle(s)


def punsubscribe(e: Engine, s: Session, args: list[bytes]) -> None:
    """PUNSUBSCRIBE [pattern ...]."""
    names = args[1:] if len(args) > 1 else list(s.patterns)
    for pattern in names:
        e.pubsub.punsubscribe(s, pattern)
        _confirm(s, b"punsubscribe", pattern, len(s.channels) + len(s.patterns))
    if not names:
        _confirm(s, b"punsubscribe", None, len(s.channels) + len(s.patterns))
    _settle(s)


def sunsubscribe(e: Engine, s: Session, args: list[bytes]) -> None:
    """SUNSUBSCRIBE [shardchannel ...]."""
    names = args[1:] if len(args) > 1 else list(s.shard_channels)
    for channel in names:
        e.pubsub.sunsubscribe(s, channel)
        _confirm(s, b"sunsubscribe", channel, len(s.shard_channels))
    if not names:
        _confirm(s, b"sunsubscribe", None, len(s.shard_channels))
    _settle(s)


def publish(e: Engine, s: Session, args: list[bytes]) -> None:
    """PUBLISH channel message: also to the subscribers of replicas, by the replication stream."""
    receivers = e.publish(args[1], args[2])
    e.send(args)
    s.reply.integer(receivers)


def spublish(e: Engine, s: Session, args: list[bytes]) -> None:
    """SPUBLISH shardchannel message."""
    receivers = e.pubsub.spublish(args[1], args[2])
    e.send(args)
    s.reply.integer(receivers)


def channels(e: Engine, s: Session, args: list[bytes]) -> None:
    """PUBSUB CHANNELS [pattern]."""
    _matching(s, args, list(e.pubsub.channels))


def shard_channels(e: Engine, s: Session, args: list[bytes]) -> None:
    """PUBSUB SHARDCHANNELS [pattern]."""
    _matching(s, args, list(e.pubsub.shard_channels))


def _matching(s: Session, args: list[bytes], names: list[bytes]) -> None:
    if len(args) > 3:
        raise CommandError(
            b"ERR unknown subcommand or wrong number of arguments for '" + args[1] + b"'. Try PUBSUB HELP."
        )
    s.reply.bulks([name for name in names if len(args) == 2 or glob_match(args[2], name)])


def numsub(e: Engine, s: Session, args: list[bytes]) -> None:
    """PUBSUB NUMSUB [channel ...]."""
    _counts(s, args[2:], {c: len(e.pubsub.channels.get(c, {})) for c in args[2:]})


def shardnumsub(e: Engine, s: Session, args: list[bytes]) -> None:
    """PUBSUB SHARDNUMSUB [shardchannel ...]."""
    _counts(s, args[2:], {c: len(e.pubsub.shard_channels.get(c, {})) for c in args[2:]})


def _counts(s: Session, names: list[bytes], counts: dict[bytes, int]) -> None:
    s.reply.array(2 * len(names))
    for name in names:
        s.reply.bulk(name)
        s.reply.integer(counts[name])


def numpat(e: Engine, s: Session, args: list[bytes]) -> None:
    """PUBSUB NUMPAT."""
    s.reply.integer(len(e.pubsub.patterns))


_HELP = [
    b"PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    b"CHANNELS [<pattern>]",
    b"    Return the currently active channels matching a <pattern> (default: '*').",
    b"NUMPAT",
    b"    Return number of subscriptions to patterns.",
    b"NUMSUB [<channel> ...]",
    b"    Return the number of subscribers for the specified channels, excluding",
    b"    pattern subscriptions(default: no channels).",
    b"SHARDCHANNELS [<pattern>]",
    b"    Return the currently active shard level channels matching a <pattern> (default: '*').",
    b"SHARDNUMSUB [<shardchannel> ...]",
    b"    Return the number of subscribers for the specified shard level channel(s)",
    b"HELP",
    b"    Print this help.",
]


def pubsub_help(e: Engine, s: Session, args: list[bytes]) -> None:
    """PUBSUB HELP."""
    s.reply.simples(_HELP)


HANDLERS: dict[bytes, Handler] = {
    b"subscribe": subscribe,
    b"psubscribe": psubscribe,
    b"ssubscribe": ssubscribe,
    b"unsubscribe": unsubscribe,
    b"punsubscribe": punsubscribe,
    b"sunsubscribe": sunsubscribe,
    b"publish": publish,
    b"spublish": spublish,
    b"pubsub|channels": channels,
    b"pubsub|shardchannels": shard_channels,
    b"pubsub|numsub": numsub,
    b"pubsub|shardnumsub": shardnumsub,
    b"pubsub|numpat": numpat,
    b"pubsub|help": pubsub_help,
}
