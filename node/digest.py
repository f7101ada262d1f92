"""DEBUG DIGEST: one number for the content of a dataset, the same that genuine Valkey computes for the same content.

Elements that have an order are chained (`mix`), those that have none are combined by exclusive or (`join`), so that
two tables with the same content agree whatever their layout. Expiry counts as present or absent, its time does not.
"""

import hashlib
from typing import Final

from node.keyspace import Store
from node.numbers import print_double
from node.types.hash import Hash
from node.types.quicklist import List
from node.types.set import Set
from node.types.stream import Stream
from node.types.streamid import ID_MAX, format_id
from node.types.zset import ZSet

ZERO: Final = b"\0" * 20
_STRING: Final = 0
_LIST: Final = 1
_SET: Final = 2
_ZSET: Final = 3
_HASH: Final = 4
_STREAM: Final = 6


def join(digest: bytes, data: bytes) -> bytes:
    """Combine with the SHA-1 of `data`; order does not matter."""
    other = hashlib.sha1(data, usedforsecurity=False).digest()
    return bytes([a ^ b for a, b in zip(digest, other, strict=True)])


def mix(digest: bytes, data: bytes) -> bytes:
    """Combine with `data` so that order matters."""
    return hashlib.sha1(join(digest, data), usedforsecurity=False).digest()


def _kind(digest: bytes, kind: int) -> bytes:
    return mix(digest, kind.to_bytes(4, "big"))


def value_digest(digest: bytes, value: object, expires: bool) -> bytes:
    """`digest` continued by a value."""
    if isinstance(value, bytes):
        digest = mix(_kind(digest, _STRING), value)
    elif isinstance(value, List):
        digest = _kind(digest, _LIST)
        for item in value.items():
            digest = mix(digest, item)
    elif isinstance(value, Set):
        digest = _kind(digest, _SET)
        for member in value.members():
            digest = join(digest, member)
    elif isinstance(value, Hash):
        digest = _kind(digest, _HASH)
        flat = value.flat()
        for i in range(0, len(flat), 2):
            digest = join(digest, mix(mix(ZERO, flat[i]), flat[i + 1]))
    elif isinstance(value, ZSet):
        digest = _kind(digest, _ZSET)  # scores as Valkey 9 prints them; older ones take 17 digits
        members: list[bytes] = []
        scores: list[float] = []
        value.collect(0, value.count, members, scores)
        for i in range(len(members)):
            digest = join(digest, mix(mix(ZERO, members[i]), print_double(scores[i])))
    elif isinstance(value, Stream):
        digest = _stream_digest(_kind(digest, _STREAM), value)
    return join(digest, b"!!expire!!") if expires else digest


def _stream_digest(digest: bytes, value: Stream) -> bytes:
    """`digest` continued by a stream's entries; groups do not count."""
    ids: list[int] = []
    entries: list[list[bytes]] = []
    value.collect(0, ID_MAX, 0, ids, entries)
    for i in range(len(ids)):
        digest = mix(digest, format_id(ids[i]).replace(b"-", b"."))
        for item in entries[i]:
            digest = mix(digest, item)
    return digest


def _stamp(store: Store, value: object) -> None:
    """Fields of a hash that have expired do not count."""
    if isinstance(value, Hash):
        value.stamp(store.now_ms)


def key_digest(store: Store, slot: int, key: bytes) -> bytes | None:
    """The digest of one key's value, without the key; None when there is no such key."""
    value = store.peek(slot, key)
    _stamp(store, value)
    return None if value is None else value_digest(ZERO, value, store.expire_at(slot, key) > 0)


def dataset_digest(stores: list[Store]) -> bytes:
    """The digest of everything."""
    total = ZERO
    for dbid, store in enumerate(stores):
        if store.count() == 0:
            continue
        total = mix(total, dbid.to_bytes(4, "big"))
        for slot in store.occupied_slots():
            for key, value, expire_at in store.items_in(slot):
                _stamp(store, value)
                total = join(total, value_digest(mix(ZERO, key), value, expire_at > 0))
    return total
