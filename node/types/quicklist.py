"""Lists: `listpack` encoding while one small node is enough, else `quicklist`, a sequence of nodes of about 8 KB.

The nodes are cut, split and merged where Valkey's are, so that OBJECT ENCODING and DUMP tell the same. Pushing and
popping at the ends is amortised O(1); everything else skips whole nodes by their count. `before_adding` comes before an
addition and `after_removing` after a removal: they change the encoding, by Valkey's thresholds.

A listpack of a few hundred bytes stands in `small` alone, rebuilt at each change, because a node, its buffer and the
list of nodes would take more than the elements.
"""

from typing import Final, cast, final

from mypy_extensions import i64, mypyc_attr

from node.keyspace import Value
from node.types import listpack
from node.types.listnode import LIMITS, Node, mergeable

_SMALL: Final = 512  # bytes that a listpack without node may have
_SMALL_AGAIN: Final = 256  # and when one with a node loses it: less, lest a queue go to and fro
_OBJECT_BYTES: Final = 64  # a List
_NODES_BYTES: Final = 88  # its list of nodes
_NODE_BYTES: Final = 112  # a Node, its bytes object and its place in the list of nodes
_NO_NODES: Final[list[Node]] = []  # of lists in `small`; never changed


@final
@mypyc_attr(acyclic=True)
class List(Value):
    """A list value. `packed` tells the encoding; a packed list has at most one node, and none of the nodes is empty."""

    small: bytes  # the whole listpack of a packed list that has no nodes, else b""
    nodes: list[Node]
    length: i64
    weight: i64  # bytes of all nodes
    packed: bool

    def __init__(self) -> None:
        self.small = listpack.EMPTY
        self.nodes = _NO_NODES
        self.length = 0
        self.weight = 0
        self.packed = True

    # --- small or in nodes

    def _spread(self) -> list[Node]:
        """The nodes, made of `small` if need be."""
        if self.small:
            self.nodes = [Node(self.small, self.length, False)] if self.length > 0 else []
            self.weight = len(self.small) if self.length > 0 else 0
            self.small = b""
        return self.nodes

    def _readable(self) -> list[Node]:
        """The nodes, or what stands for them while the list is small."""
        return [Node(self.small, self.length, False)] if self.small else self.nodes

    def _gather(self) -> None:
        """Do without nodes when one small one is left."""
        nodes = self.nodes
        if not self.packed or self.small or self.weight > _SMALL_AGAIN or len(nodes) > 1:
            return
        self.small = nodes[0].seal() if nodes else listpack.EMPTY
        self.nodes = _NO_NODES
        self.weight = 0

    # --- encoding

    def type_name(self) -> bytes:
        """What TYPE answers."""
        return b"list"

    def encoding(self) -> bytes:
        """What OBJECT ENCODING answers."""
        return b"listpack" if self.packed else b"quicklist"

    def before_adding(self, values: list[bytes], first: i64, last: i64) -> None:
        """Become a quicklist when `values[first]` to `values[last]` would make the listpack too large."""
        if not self.packed:
            return
        size: i64 = len(self.small) if self.small else self.nodes[0].size() if self.nodes else listpack.HEADER
        count: i64 = self.length + last - first + 1
        while first <= last:
            size += len(values[first])
            first += 1
        if LIMITS.exceeded(size, count):
            self._spread()
            self.packed = False

    def after_removing(self) -> None:
        """Become a listpack again when one node, at most half as large as it may be, is left."""
        self._try_packing(2)
        if self.packed and not self.small:
            self._gather()

    def _try_packing(self, share: i64) -> None:
        if self.packed or len(self.nodes) != 1:
            return
        node = self.nodes[0]
        if not node.plain and LIMITS.small_again(node.size(), node.count, share):
            self.packed = True

    # --- ends

    def push_left(self, value: bytes) -> None:
        """Add an element at the head."""
        if self.small:
            if len(self.small) + len(value) < _SMALL:
                self.small = listpack.prepend(self.small, value)
                self.length += 1
                return
            self._spread()
        self.length += 1
        if self.nodes:
            head = self.nodes[0]
            if self.packed or head.accepts(len(value)):
                self.weight += head.push_left(value)
                return
            head.seal()  # an inner node need not keep room to grow
        node = _node_of(value)
        self.weight += node.size()
        self.nodes.insert(0, node)

    def push_right(self, value: bytes) -> None:
        """Add an element at the tail."""
        if self.small:
            if len(self.small) + len(value) < _SMALL:
                self.small = listpack.append(self.small, value)
                self.length += 1
                return
            self._spread()
        self.length += 1
        if self.nodes:
            tail = self.nodes[-1]
            if self.packed or tail.accepts(len(value)):
                self.weight += tail.push_right(value)
                return
            tail.seal()
        node = _node_of(value)
        self.weight += node.size()
        self.nodes.append(node)

    def pop_left(self) -> bytes:
        """Take out the first element; the list must not be empty."""
        small = self.small
        if small:
            self.length -= 1
            self.small = listpack.delete(small, listpack.FIRST)
            return listpack.at(small, listpack.FIRST)
        node = self.nodes[0]
        size = node.size()
        value = node.pop_left()
        self.length -= 1
        if node.count == 0:
            self.nodes.pop(0)
            self.weight -= size
        else:
            self.weight -= size - node.size()
        return value

    def pop_right(self) -> bytes:
        """Take out the last element; the list must not be empty."""
        small = self.small
        if small:
            last = listpack.previous(small, listpack.end(small))
            self.length -= 1
            self.small = listpack.delete(small, last)
            return listpack.at(small, last)
        node = self.nodes[-1]
        size = node.size()
        value = node.pop_right()
        self.length -= 1
        if node.count == 0:
            self.nodes.pop()
            self.weight -= size
        else:
            self.weight -= size - node.size()
        return value

    def pop(self, left: bool) -> bytes:
        """Take out the first or the last element."""
        return self.pop_left() if left else self.pop_right()

    def push(self, value: bytes, left: bool) -> None:
        """Add an element at the head or at the tail."""
        if left:
            self.push_left(value)
        else:
            self.push_right(value)

    # --- by index

    def _node_at(self, nodes: list[Node], index: i64) -> tuple[i64, i64]:
        """Which node holds the element with this index (within bounds), and the index inside it."""
        at: i64 = 0
        if index * 2 <= self.length:
            while index >= nodes[at].count:
                index -= nodes[at].count
                at += 1
            return at, index
        at = len(nodes) - 1
        before: i64 = self.length - nodes[at].count
        while index < before:
            at -= 1
            before -= nodes[at].count
        return at, index - before

    def element(self, index: i64) -> bytes | None:
        """The element at an index (negative: from the tail), None when out of range."""
        if index < 0:
            index += self.length
        if index < 0 or index >= self.length:
            return None
        small = self.small
        if small:
            return listpack.at(small, listpack.seek(small, index))
        at, inner = self._node_at(self.nodes, index)
        return self.nodes[at].element(inner)

    def slice(self, start: i64, stop: i64) -> list[bytes]:
        """The elements with index start to stop (exclusive), both within bounds."""
        items: list[bytes] = []
        if start >= stop:
            return items
        nodes = self._readable()
        at, inner = self._node_at(nodes, start)
        todo: i64 = stop - start
        while todo > 0:
            node = nodes[at]
            end: i64 = node.count if node.count - inner < todo else inner + todo
            node.collect(inner, end, items)
            todo -= end - inner
            inner = 0
            at += 1
        return items

    def set(self, index: i64, value: bytes) -> bool:
        """Replace the element at an index (negative: from the tail); False when out of range."""
        if index < 0:
            index += self.length
        if index < 0 or index >= self.length:
            return False
        at, inner = self._node_at(self._spread(), index)
        node = self.nodes[at]
        large = LIMITS.is_large(len(value))
        if self.packed or node.plain == large:  # a node may outgrow the limit by this, as Valkey's do
            before = node.size()
            node.replace(inner, value)
            self.weight += node.size() - before
            self._gather()
            return True
        if node.plain:
            self._insert(at, 0, value, True)
            self.length -= 1
            self._drop_replaced(node)
        else:
            self._replace_apart(at, inner, value)
        self._weigh()
        return True

    def _drop_replaced(self, node: Node) -> None:
        self.nodes = [other for other in self.nodes if other is not node]

    def _replace_apart(self, at: i64, inner: i64, value: bytes) -> None:
        """Replace an element by a large one, which gets a node between the two parts of the old one."""
        node = self.nodes[at]
        rest = node.split(inner + 1)
        self.nodes.insert(at + 1, _node_of(value))
        if rest.count > 0:
            self.nodes.insert(at + 2, rest)
        node.delete(inner, 1)
        if node.count == 0:
            self.nodes.pop(at)
        else:
            self._merge_around(at + 1)

    # --- by value

    def insert(self, pivot: bytes, value: bytes, after: bool) -> bool:
        """Add an element before or after the first one equal to `pivot`; False when there is none."""
        entry = listpack.entry(pivot)
        at: i64 = 0
        count: i64 = len(self._spread())
        while at < count:
            found = self.nodes[at].matches(pivot, entry)
            if found:
                node = self.nodes[at]
                before = node.size()
                inside = self.packed or node.accepts(len(value))
                self._insert(at, found[0], value, after)
                if inside:
                    self.weight += node.size() - before
                    self._gather()
                else:
                    self._weigh()
                return True
            at += 1
        self._gather()
        return False

    def _insert(self, at: i64, inner: i64, value: bytes, after: bool) -> None:
        self.length += 1
        nodes = self.nodes
        node = nodes[at]
        size: i64 = len(value)
        place: i64 = inner + 1 if after else inner
        if self.packed or node.accepts(size):
            node.insert(place, value)
            return
        edge = place == 0 or place == node.count
        if not edge and not node.plain:
            rest = node.split(place)
            nodes.insert(at + 1, rest)
            if LIMITS.is_large(size):
                nodes.insert(at + 1, _node_of(value))
            elif after:
                rest.push_left(value)
                self._merge_around(at)
            else:
                node.push_right(value)
                self._merge_around(at + 1)
            return
        if after and at + 1 < len(nodes) and nodes[at + 1].accepts(size):
            nodes[at + 1].push_left(value)
        elif not after and at > 0 and nodes[at - 1].accepts(size):
            nodes[at - 1].push_right(value)
        else:
            nodes.insert(at + 1 if after else at, _node_of(value))

    def _merge_around(self, center: i64) -> None:
        """Merge neighbours of a node that was cut, in Valkey's order: the outer pairs first, then the node."""
        nodes = self.nodes
        if center >= 2 and mergeable(nodes[center - 2], nodes[center - 1]):
            self._merge(center - 2)
            center -= 1
        if center + 2 < len(nodes) and mergeable(nodes[center + 1], nodes[center + 2]):
            self._merge(center + 1)
        if center >= 1 and mergeable(nodes[center - 1], nodes[center]):
            self._merge(center - 1)
            center -= 1
        if center + 1 < len(nodes) and mergeable(nodes[center], nodes[center + 1]):
            self._merge(center)

    def _merge(self, at: i64) -> None:
        self.nodes[at].join(self.nodes[at + 1])
        self.nodes.pop(at + 1)

    def remove(self, value: bytes, limit: i64) -> i64:
        """Remove elements equal to `value`: the first `limit`, the last `-limit`, or with 0 all; returns how many."""
        entry = listpack.entry(value)
        backwards = limit < 0
        left: i64 = self.length if limit == 0 else (-limit if backwards else limit)
        removed: i64 = 0
        self._spread()
        at: i64 = len(self.nodes) - 1 if backwards else 0
        while left > 0 and 0 <= at < len(self.nodes):
            node = self.nodes[at]
            found = node.matches(value, entry)
            if len(found) > left:
                found = found[-left:] if backwards else found[:left]
            before = node.size()
            i: i64 = len(found) - 1
            while i >= 0:
                node.delete(found[i], 1)
                i -= 1
            self.weight -= before - (node.size() if node.count > 0 else 0)
            removed += len(found)
            left -= len(found)
            if node.count == 0:
                self.nodes.pop(at)
                if not backwards:
                    continue
            at += -1 if backwards else 1
        self.length -= removed
        self._gather()
        return removed

    def positions(self, value: bytes, rank: i64, count: i64, maxlen: i64) -> list[int]:
        """Indexes of elements equal to `value` as LPOS wants them.

        `rank` (not 0) is the match to start with, negative from the tail; at most `count` (0 = all) are returned; only
        `maxlen` (0 = all) elements are compared.
        """
        entry = listpack.entry(value)
        backwards = rank < 0
        skipping: i64 = -rank - 1 if backwards else rank - 1
        if maxlen == 0 or maxlen > self.length:
            maxlen = self.length
        result: list[int] = []
        nodes = self._readable()
        at: i64 = len(nodes) - 1 if backwards else 0
        seen: i64 = 0  # elements in the nodes passed
        while seen < maxlen:
            node = nodes[at]
            base: i64 = self.length - seen - node.count if backwards else seen
            found = node.matches(value, entry)
            if backwards:
                found.reverse()
            for inner in found:
                index: i64 = base + i64(inner)
                if (self.length - 1 - index if backwards else index) >= maxlen:
                    return result
                if skipping > 0:
                    skipping -= 1
                    continue
                result.append(index)
                if len(result) == count:
                    return result
            seen += node.count
            at += -1 if backwards else 1
        return result

    def trim(self, start: i64, stop: i64) -> None:
        """Keep the elements with index start to stop (exclusive), both within bounds."""
        if start >= stop:
            self.nodes = []
            self.length = 0
            self.weight = 0
            self.small = b""
            return
        nodes = self._spread()
        back: i64 = self.length - stop
        first: i64 = 0
        while nodes[first].count <= start:
            start -= self._uncount(nodes[first])
            first += 1
        last: i64 = len(nodes)
        while nodes[last - 1].count <= back:
            back -= self._uncount(nodes[last - 1])
            last -= 1
        del nodes[last:]
        del nodes[:first]
        self._cut(nodes[0], 0, start)
        self._cut(nodes[-1], nodes[-1].count - back, back)
        self._gather()

    def _uncount(self, node: Node) -> i64:
        """Account for a node that goes; returns the number of its elements."""
        self.length -= node.count
        self.weight -= node.size()
        return node.count

    def _cut(self, node: Node, first: i64, number: i64) -> None:
        """Remove elements of a node, in which at least one is left."""
        if number > 0:
            before = node.size()
            node.delete(first, number)
            self.weight -= before - node.size()
            self.length -= number

    # --- whole

    def items(self) -> list[bytes]:
        """All elements."""
        return self.slice(0, self.length)

    def dismantle(self, heaps: list[list[object]]) -> None:
        """Give away the nodes."""
        if not self.small and not self.packed:
            heaps.append(cast(list[object], self.nodes))

    def copy(self) -> "List":
        """Return an equal list that can change on its own."""
        twin = List()
        twin.small = self.small
        twin.nodes = [node.copy() for node in self.nodes]
        twin.length = self.length
        twin.weight = self.weight
        twin.packed = self.packed
        return twin

    def used_bytes(self) -> i64:
        """Bytes that the value takes, objects included."""
        small = self.small
        if small:
            return _OBJECT_BYTES + ((len(small) + 48) & -16)
        return _OBJECT_BYTES + _NODES_BYTES + self.weight + _NODE_BYTES * len(self.nodes)

    def _weigh(self) -> None:
        total: i64 = 0
        for node in self.nodes:
            total += node.size()
        self.weight = total
        self._gather()

    def to_nodes(self) -> list[tuple[bool, bytes]]:
        """The nodes as RDB type LIST_QUICKLIST_2 stores them: whether plain, and the element or the listpack."""
        return [(node.plain, node.seal()) for node in self._readable()]


def _node_of(value: bytes) -> Node:
    """A new node with one element, by itself when it is large."""
    if LIMITS.is_large(len(value)):
        return Node(value, 1, True)
    node = Node(None, 0, False)
    node.push_right(value)
    return node


def from_nodes(nodes: list[tuple[bool, bytes]]) -> List:
    """The list of nodes as `to_nodes` gives them; the listpacks must be canonical; empty ones are left out."""
    made = List()
    made._spread()
    made.packed = False
    for plain, data in nodes:
        count: i64 = 1 if plain else listpack.count(data)
        if count > 0:
            made.nodes.append(Node(data, count, plain))
            made.length += count
    made._weigh()
    made._try_packing(1)
    made._gather()
    return made


def growing() -> List:
    """An empty list to be filled by `push_right` and then given to `grown`; it is a quicklist until then."""
    made = List()
    made._spread()
    made.packed = False
    return made


def grown(made: List) -> List:
    """The list from `growing`, now with the encoding that suits its size."""
    made._try_packing(1)
    made._gather()
    return made


def from_items(items: list[bytes]) -> List:
    """The list of these elements."""
    made = growing()
    for item in items:
        made.push_right(item)
    return grown(made)
