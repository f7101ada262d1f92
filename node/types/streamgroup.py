"""Consumer groups of a stream: what was delivered to whom and is not acknowledged yet."""

from bisect import bisect_left
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

UNKNOWN_READ: Final = -1  # entries_read of a group whose count can't be told

PENDING_BYTES: Final = 180  # a pending entry: its record, ID, places in the table and in two orders
CONSUMER_BYTES: Final = 330
GROUP_BYTES: Final = 420
_HALF: Final = 256


@final
@mypyc_attr(acyclic=True)
class SortedIds:
    """IDs in order, in chunks of bounded size: insertion, removal and seeking cost O(log n) and a short move."""

    chunks: list[list[int]]
    tops: list[int]  # the highest ID of each chunk
    count: i64

    def __init__(self) -> None:
        self.chunks = []
        self.tops = []
        self.count = 0

    def add(self, id: int) -> None:
        """Add an ID that is not there."""
        self.count += 1
        n: i64 = len(self.chunks)
        if n == 0:
            self.chunks.append([id])
            self.tops.append(id)
            return
        if id > self.tops[n - 1]:
            chunk = self.chunks[n - 1]
            if len(chunk) >= 2 * _HALF:
                self.chunks.append([id])
                self.tops.append(id)
                return
            chunk.append(id)
            self.tops[n - 1] = id
            return
        at: i64 = bisect_left(self.tops, id)
        chunk = self.chunks[at]
        chunk.insert(bisect_left(chunk, id), id)
        if len(chunk) > 2 * _HALF:
            self.chunks[at] = chunk[:_HALF]
            self.tops[at] = chunk[_HALF - 1]
            self.chunks.insert(at + 1, chunk[_HALF:])
            self.tops.insert(at + 1, chunk[len(chunk) - 1])

    def remove(self, id: int) -> None:
        """Take out an ID that is there."""
        at: i64 = bisect_left(self.tops, id)
        chunk = self.chunks[at]
        del chunk[bisect_left(chunk, id)]
        self.count -= 1
        if len(chunk) == 0:
            del self.chunks[at]
            del self.tops[at]
        else:
            self.tops[at] = chunk[len(chunk) - 1]

    def first(self) -> int:
        """The lowest; there must be one."""
        return self.chunks[0][0]

    def last(self) -> int:
        """The highest; there must be one."""
        return self.tops[len(self.tops) - 1]

    def range(self, start: int, end: int, limit: i64) -> list[int]:
        """IDs from start to end, both included, at most `limit` (-1: all)."""
        found: list[int] = []
        at: i64 = bisect_left(self.tops, start)
        while at < len(self.chunks):
            chunk = self.chunks[at]
            i: i64 = bisect_left(chunk, start)
            while i < len(chunk):
                id = chunk[i]
                if id > end or (limit >= 0 and len(found) >= limit):
                    return found
                found.append(id)
                i += 1
            at += 1
        return found

    def copy(self) -> "SortedIds":
        """The same IDs, to be changed on their own."""
        twin = SortedIds()
        twin.chunks = [list(chunk) for chunk in self.chunks]
        twin.tops = list(self.tops)
        twin.count = self.count
        return twin


@final
@mypyc_attr(acyclic=True)
class Consumer:
    """Somebody who reads for a group. Times are Unix ms, -1 for never."""

    name: bytes
    seen_ms: i64  # last attempt to read or claim
    active_ms: i64  # last time that it got something
    pending: SortedIds

    def __init__(self, name: bytes, now_ms: i64) -> None:
        self.name = name
        self.seen_ms = now_ms
        self.active_ms = -1
        self.pending = SortedIds()


@final
@mypyc_attr(acyclic=True)
class Pending:
    """A delivered entry that is not acknowledged (Valkey: NACK)."""

    consumer: Consumer
    delivered_ms: i64
    deliveries: i64

    def __init__(self, consumer: Consumer, delivered_ms: i64, deliveries: i64) -> None:
        self.consumer = consumer
        self.delivered_ms = delivered_ms
        self.deliveries = deliveries


@final
@mypyc_attr(acyclic=True)
class Group:
    """A consumer group; `last_id` is the last ID delivered, `entries_read` how many entries lie before it."""

    last_id: int
    entries_read: i64
    pending: dict[int, Pending]
    order: SortedIds  # the keys of `pending`
    consumers: dict[bytes, Consumer]
    weight: i64  # bytes of consumers' names

    def __init__(self, last_id: int, entries_read: i64) -> None:
        self.last_id = last_id
        self.entries_read = entries_read
        self.pending = {}
        self.order = SortedIds()
        self.consumers = {}
        self.weight = 0

    def used_bytes(self) -> i64:
        """Bytes that the group takes."""
        consumers: i64 = len(self.consumers)
        return GROUP_BYTES + self.weight + consumers * CONSUMER_BYTES + len(self.pending) * PENDING_BYTES

    def add_consumer(self, name: bytes, now_ms: i64) -> Consumer:
        """A new consumer of this name."""
        made = Consumer(name, now_ms)
        self.consumers[name] = made
        self.weight += len(name)
        return made

    def remove_consumer(self, consumer: Consumer) -> i64:
        """Take a consumer out with all that is pending for it; returns how many entries that were."""
        ids = consumer.pending.range(0, (1 << 128) - 1, -1)
        for id in ids:
            del self.pending[id]
            self.order.remove(id)
        del self.consumers[consumer.name]
        self.weight -= len(consumer.name)
        return len(ids)

    def sorted_consumers(self) -> list[Consumer]:
        """Consumers in the order of their names."""
        return [self.consumers[name] for name in sorted(self.consumers)]

    def deliver(self, id: int, consumer: Consumer, now_ms: i64, deliveries: i64) -> Pending:
        """Note a delivery; an entry that is pending for another consumer changes hands."""
        found = self.pending.get(id)
        if found is None:
            found = Pending(consumer, now_ms, deliveries)
            self.pending[id] = found
            self.order.add(id)
            consumer.pending.add(id)
            return found
        self.hand_over(id, found, consumer)
        found.delivered_ms = now_ms
        found.deliveries = deliveries
        return found

    def hand_over(self, id: int, found: Pending, consumer: Consumer) -> None:
        """Give a pending entry to a consumer."""
        if found.consumer is not consumer:
            found.consumer.pending.remove(id)
            found.consumer = consumer
            consumer.pending.add(id)

    def acknowledge(self, id: int) -> bool:
        """The entry is no longer pending; False when it was not."""
        found = self.pending.pop(id, None)
        if found is None:
            return False
        self.order.remove(id)
        found.consumer.pending.remove(id)
        return True

    def copy(self) -> "Group":
        """The same group, to be changed on its own."""
        twin = Group(self.last_id, self.entries_read)
        twin.order = self.order.copy()
        twin.weight = self.weight
        for name, consumer in self.consumers.items():
            other = Consumer(name, consumer.seen_ms)
            other.active_ms = consumer.active_ms
            other.pending = consumer.pending.copy()
            twin.consumers[name] = other
        for id, found in self.pending.items():
            twin.pending[id] = Pending(twin.consumers[found.consumer.name], found.delivered_ms, found.deliveries)
        return twin
