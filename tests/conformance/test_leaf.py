"""Every implementation of the leaves of big collections does the same: random operations against a dict or a list.

`check` compares what a leaf keeps count of with its entries; the bytes that it tells of are added up beside it.
"""

import random
import sys
from collections.abc import Callable

import pytest

from node.types.leaf import NOTHING, SCORE, TEXT, Leaf, OrderedLeaf
from node.types.plainleaf import PLACES, PlainLeaf, PlainOrderedLeaf, place_of

LEAVES: dict[str, Callable[[int], Leaf]] = {"plain": PlainLeaf}
ORDERED: dict[str, Callable[[], OrderedLeaf]] = {"plain": PlainOrderedLeaf}
try:
    from node.keytable import table as keytable

    LEAVES["packed"] = keytable.Leaf
    ORDERED["packed"] = keytable.OrderedLeaf
except ImportError:  # the extension is not built
    keytable = None

packed = pytest.mark.skipif(keytable is None, reason="the key table is not built")
KINDS = {"set": NOTHING, "scores": SCORE, "hash": TEXT}
LENGTHS = [0, 1, 5, 20, 100, 253, 254, 255, 511, 512, 513, 2000]


def fail_in(allocations: int) -> None:
    """Have an allocation of the packed leaves fail (-1: none)."""
    if keytable is not None:
        keytable.fail_in(allocations)


def text(rng: random.Random, short: float) -> bytes:
    """Bytes of any length: in the entry with one or two bytes of length, or referred to."""
    return rng.randbytes(rng.randrange(24) if rng.random() < short else rng.choice(LENGTHS))


class Twin:
    """A leaf beside a dict."""

    def __init__(self, make: Callable[[int], Leaf], kind: int, rng: random.Random, number: int, short: float) -> None:
        self.make, self.kind, self.rng, self.short = make, kind, rng, short
        self.leaf = make(kind)
        self.weight = self.leaf.weight()
        self.model: dict[bytes, object] = {}
        self.keys = [text(rng, short) for _ in range(number)]
        self.refused = 0

    def value(self) -> object:
        if self.kind == SCORE:
            return self.rng.choice([0.0, -1.5, float("inf"), self.rng.random()])
        return text(self.rng, self.short) if self.kind == TEXT else None

    def step(self, removals: float, scarce: bool) -> None:
        """One random operation; without memory it leaves everything as it is."""
        key = self.rng.choice(self.keys)
        fail_in(self.rng.randrange(4) if scarce and self.rng.random() < 0.3 else -1)
        try:
            if self.rng.random() < removals:
                done = self.leaf.remove(key)
                fail_in(-1)
                assert (done & 1 == 1) == (key in self.model)
                self.model.pop(key, None)
            else:
                value = self.value()
                done = self.leaf.put(key, value)
                fail_in(-1)
                assert (done & 1 == 1) == (key not in self.model)
                self.model[key] = value
            self.weight += done >> 1
        except MemoryError:
            self.refused += 1
        finally:
            fail_in(-1)
        assert self.leaf.has(key) == (key in self.model)
        assert self.leaf.get(key) == self.model.get(key)

    def check(self) -> None:
        """The leaf holds what the dict holds, and weighs what it said."""
        leaf, model = self.leaf, self.model
        leaf.check()
        assert len(leaf) == len(model)
        assert leaf.weight() == self.weight
        keys = leaf.keys()
        assert sorted(keys) == sorted(model)
        assert sorted(leaf.nth(i) for i in range(len(leaf))) == sorted(model)
        assert all(leaf.get(key) == value for key, value in model.items())
        if self.kind == TEXT:
            assert leaf.values() == [model[key] for key in keys]
            assert leaf.flat() == [word for key in keys for word in (key, model[key])]
        else:
            assert leaf.flat() == keys

    def change_as_a_whole(self, scarce: bool) -> None:
        """Copying, dividing and joining make new leaves of the same entries, or nothing, and leave this as it is."""
        bit = self.rng.randrange(32)
        fail_in(self.rng.randrange(5) if scarce else -1)
        try:
            twin = self.leaf.copy()
            assert twin.weight() == self.leaf.weight()
            low, high = twin.divide(bit)
            both = high.join(low)
        except MemoryError:
            self.refused += 1
            return
        finally:
            fail_in(-1)
        for part in (twin, low, high, both):
            part.check()
        assert all(place_of(key) >> bit & 1 == 0 for key in low.keys())  # noqa: SIM118 - no dict
        assert all(place_of(key) >> bit & 1 == 1 for key in high.keys())  # noqa: SIM118
        assert len(low) + len(high) == len(both) == len(self.model)
        self.leaf = both
        self.weight = both.weight()
        if self.model:  # a change of the parts is not seen in what was made of them
            twin.remove(next(iter(self.model)))
            low.put(b"only here", self.value())


@pytest.mark.parametrize("scarce", [False, True], ids=["enough", "scarce"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LEAVES)
def test_random_operations_agree_with_a_dict(name: str, kind: str, scarce: bool) -> None:
    """Growing and shrinking, with short entries and long ones, leaves hold what a dict holds and know their bytes."""
    for seed in range(8):
        rng = random.Random(seed)
        twin = Twin(LEAVES[name], KINDS[kind], rng, rng.choice([3, 40, 150, 400]), rng.choice([0.2, 0.95, 1.0]))
        removals = 0.1
        for i in range(3000):
            if i % 300 == 0:
                removals = rng.choice([0.0, 0.2, 0.5, 0.9])
                twin.check()
                twin.change_as_a_whole(scarce)
                twin.check()
            twin.step(removals, scarce)
        twin.check()
        for key in list(twin.model):
            twin.leaf.remove(key)
        assert len(twin.leaf) == 0
        assert twin.leaf.weight() == LEAVES[name](KINDS[kind]).weight()
        assert (twin.refused > 0) == (scarce and name == "packed")


@pytest.mark.parametrize("name", LEAVES)
def test_a_walk_by_hash_values(name: str) -> None:
    """Steps give the keys of the lowest hash values from a cursor on, each once; the last tells how many there were."""
    rng = random.Random(3)
    for number in (0, 1, 7, 200):
        leaf = LEAVES[name](NOTHING)
        keys = {rng.randbytes(9) for _ in range(number)}
        for key in keys:
            leaf.put(key, None)
        for want in (1, 3, 50, 1000):
            cursor, seen = 0, []
            while True:
                step: list[bytes] = []
                after = leaf.scan(cursor, want, step)
                seen += step
                if after <= 0:
                    assert after == -len(step)
                    break
                assert len(step) >= want
                assert max(place_of(key) for key in step) < after
                cursor = after
            assert sorted(seen) == sorted(keys)
        assert leaf.scan(1 << 32, 10, []) == 0


@packed
def test_small_entries_take_little_more_than_their_bytes() -> None:
    """Of a hundred fields of 12 bytes with values of 8, and of members of 13 bytes, few bytes are of no use."""
    leaf = keytable.Leaf(TEXT)
    for i in range(100):
        leaf.put(b"field:%06d" % i, b"value:%02d" % i)
    assert leaf.weight() < 100 * 29
    leaf = keytable.Leaf(NOTHING)
    for i in range(100):
        leaf.put(b"member:%06d" % i, None)
    assert leaf.weight() < 100 * 20
    for i in range(90):
        leaf.remove(b"member:%06d" % i)
    assert leaf.weight() < 10 * 20 + 120


@packed
def test_long_strings_are_referred_to() -> None:
    """A megabyte is not copied into a leaf, counts while it is there, and is let go of."""
    value = bytes(1 << 20)
    leaf = keytable.Leaf(TEXT)
    done = leaf.put(b"k", value)
    assert leaf.get(b"k") is value
    assert done >> 1 > 1 << 20
    assert leaf.put(b"k", value) == 0
    assert leaf.put(b"k", b"short") >> 1 < -(1 << 20)
    assert leaf.put(value, value) & 1
    assert leaf.copy().get(value) is value
    assert leaf.nth(1) is value
    leaf.remove(value)
    assert leaf.weight() < 200


@packed
def test_references_are_given_back() -> None:
    """Objects that leaves refer to are let go of with the last leaf that holds them, whatever was done meanwhile."""
    rng = random.Random(9)
    keys = [rng.randbytes(600) for _ in range(40)]
    values = [rng.randbytes(700) for _ in range(40)]
    before = [sys.getrefcount(word) for word in keys + values]
    leaves = [keytable.Leaf(TEXT)]
    blocks = [keytable.OrderedLeaf()]
    for i in range(4000):
        leaf, block = rng.choice(leaves), rng.choice(blocks)
        keytable.fail_in(rng.randrange(5) if i % 3 else -1)
        try:
            leaf.put(rng.choice(keys), rng.choice(values))
            leaf.remove(rng.choice(keys))
            member = rng.choice(keys)
            size = len(block)
            if block.rank(1.0, member) == size:
                block.insert(1.0, member)
            block.cut(size // 2, size // 2 + min(size, 1))
            if i % 10 == 0:
                leaves += [leaf.copy(), *leaf.divide(i % 32)]
                leaves.append(leaves[-1].join(leaves[-2]))
                blocks += [block.copy(), block.part(0, len(block) // 2)]
                blocks.append(blocks[-1].join(block.part(len(block) // 2, len(block))))
        except MemoryError:
            pass
        keytable.fail_in(-1)
        del leaves[rng.randrange(1, 9) :: 5], blocks[rng.randrange(1, 9) :: 5]
    for one in (*leaves, *blocks):
        one.check()
    del leaves, blocks, leaf, block, one, member
    assert [sys.getrefcount(word) for word in keys + values] == before


@packed
def test_many_entries_and_wide_places() -> None:
    """A leaf that should have been divided long ago still works: more entries and bytes than two bytes can count."""
    leaf = keytable.Leaf(TEXT)
    for i in range(70_000):
        leaf.put(b"%d" % i, b"v" * (i % 7))
    leaf.check()
    for i in range(0, 70_000, 999):
        assert leaf.get(b"%d" % i) == b"v" * (i % 7)
    low, high = leaf.divide(0)
    low.check()
    high.check()
    for i in range(69_990):
        leaf.remove(b"%d" % i)
    leaf.check()
    assert len(leaf) == 10
    assert leaf.weight() < 600


@packed
def test_wrong_arguments_are_refused() -> None:
    """What is not bytes, or not a value of the kind, never gets into a leaf; numbers out of bounds raise."""
    leaf = keytable.Leaf(TEXT)
    for key, value in (("k", b"v"), (b"k", "v"), (b"k", None), (None, b"v"), (bytearray(b"k"), b"v")):
        with pytest.raises(TypeError):
            leaf.put(key, value)
    with pytest.raises(TypeError):
        keytable.Leaf(SCORE).put(b"k", 1)
    with pytest.raises(TypeError):
        leaf.join(keytable.Leaf(SCORE))
    with pytest.raises(ValueError):
        keytable.Leaf(3)
    for i in (-1, 0, 1 << 40):
        with pytest.raises(IndexError):
            leaf.nth(i)
    leaf.check()


class OrderedTwin:
    """An ordered leaf beside a sorted list."""

    def __init__(self, make: Callable[[], OrderedLeaf], rng: random.Random) -> None:
        self.rng = rng
        self.leaf = make()
        self.weight = self.leaf.weight()
        self.model: list[tuple[float, bytes]] = []
        self.refused = 0

    def element(self) -> tuple[float, bytes]:
        score = self.rng.choice([0.0, -0.0, float("-inf"), float("inf"), float(self.rng.randrange(9))])
        return score, text(self.rng, 0.9)

    def step(self, removals: float) -> None:
        """Add, remove or cut; without memory nothing happens."""
        size = len(self.model)
        if self.rng.random() < removals and size:
            if self.rng.random() < 0.1:
                start = self.rng.randrange(size)
                stop = min(size, start + self.rng.randrange(9))
                self.weight += self.leaf.cut(start, stop)
                del self.model[start:stop]
                return
            at = self.rng.randrange(size)
            done = self.leaf.remove(*self.model.pop(at))
        else:
            element = self.element()
            if element in self.model or size >= 400:
                return
            at = sum(1 for other in self.model if other < element)
            assert self.leaf.rank(*element) == at
            done = self.leaf.insert(*element)
            self.model.insert(at, element)
        assert done & (PLACES - 1) == at
        self.weight += done // PLACES

    def check(self) -> None:
        """Both hold the same in the same order."""
        leaf, model = self.leaf, self.model
        leaf.check()
        assert len(leaf) == len(model)
        assert leaf.weight() == self.weight
        members: list[bytes] = []
        scores: list[float] = []
        leaf.collect(0, len(leaf), members, scores)
        assert list(zip(scores, members, strict=True)) == model
        for bound in (-1.0, 0.0, 4.0, float("inf")):
            assert leaf.rank_after(bound) == sum(score <= bound for score, _ in model)
        if model:
            assert leaf.first_score() == model[0][0]
            assert leaf.starts_by(*model[0])
            assert not leaf.starts_by(float("-inf"), b"") or model[0] == (float("-inf"), b"")
        start = self.rng.randrange(len(model) + 1)
        head, tail = leaf.part(0, start), leaf.part(start, len(model))
        members = []
        tail.collect(0, len(tail), members, None)
        assert members == [member for _, member in model[start:]]
        both = head.join(tail)
        for part in (head, tail, both, leaf.copy()):
            part.check()
        assert len(both) == len(model)
        assert leaf.copy().weight() == leaf.weight()


@pytest.mark.parametrize("name", ORDERED)
def test_random_operations_agree_with_a_sorted_list(name: str) -> None:
    """Ordered leaves are sorted lists of (score, member), and know their bytes."""
    for seed in range(10):
        rng = random.Random(seed)
        twin = OrderedTwin(ORDERED[name], rng)
        for i in range(1500):
            if i % 150 == 0:
                removals = rng.choice([0.1, 0.3, 0.9])
                twin.check()
            twin.step(removals)
        twin.check()
        twin.leaf.cut(0, len(twin.model))
        assert twin.leaf.weight() == ORDERED[name]().weight()


@packed
def test_an_ordered_leaf_without_memory_stays_as_it_is() -> None:
    """Whichever allocation fails, nothing is half done."""
    rng = random.Random(5)
    leaf = keytable.OrderedLeaf()
    refused = added = 0
    for i in range(600):
        keytable.fail_in(rng.randrange(3))
        try:
            leaf.insert(float(i % 50), b"member:%d" % i)
            added += 1
        except MemoryError:
            refused += 1
        try:
            half = leaf.part(0, len(leaf) // 2)
            half.join(leaf.copy())
        except MemoryError:
            refused += 1
        keytable.fail_in(-1)
        leaf.check()
        assert len(leaf) == added
    assert refused > 100


@pytest.mark.parametrize("name", ORDERED)
def test_places_out_of_bounds_are_refused(name: str) -> None:
    """What is not there cannot be cut, collected or removed."""
    leaf = ORDERED[name]()
    leaf.insert(1.0, b"a")
    for start, stop in ((-1, 1), (0, 2), (1, 0)):
        with pytest.raises(IndexError):
            leaf.cut(start, stop)
        with pytest.raises(IndexError):
            leaf.collect(start, stop, [], None)
        with pytest.raises(IndexError):
            leaf.part(start, stop)
    for score, member in ((1.0, b"b"), (2.0, b"a"), (0.0, b"a")):
        with pytest.raises(KeyError):
            leaf.remove(score, member)
    assert len(leaf) == 1
