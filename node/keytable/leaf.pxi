# Leaves as Python classes: `Leaf`, a part of a big hash, set or sorted set, and `OrderedLeaf`, a block of a sorted set in
# order. `node.types.leaf` says what each method is for; the memory is that of leaf.h.

from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact, PyFloat_FromDouble
from libc.stdlib cimport malloc, qsort

cdef extern from "leaf.h":
    int LF_SET, LF_SCORES, LF_HASH, LF_ORDER
    ctypedef struct lf_block:
        uint32_t n
        uint8_t kind
    ctypedef struct lf_text:
        const char *p
        size_t len
        PyObject *ref
    uint64_t lf_weight(const lf_block *l)
    uint8_t *lf_entry(const lf_block *l, uint32_t i)
    lf_text lf_key(const lf_block *l, const uint8_t *e)
    lf_text lf_value(const lf_block *l, const uint8_t *e)
    double lf_score(const uint8_t *e)
    int64_t lf_find(const lf_block *l, const char *key, size_t klen, uint64_t hash)
    bint lf_insert(lf_block **at, int kind, uint32_t i, uint64_t hash, object key, double score, PyObject *value)
    bint lf_replace(lf_block **at, uint32_t i, object value)
    void lf_remove(lf_block **at, uint32_t i, uint32_t j)
    void lf_free(lf_block *l)
    lf_block *lf_copy(const lf_block *l)
    lf_block *lf_gather(const lf_block *a, uint32_t i, uint32_t j, const lf_block *b)
    uint64_t lf_entry_hash(const lf_block *l, uint32_t i)
    bint lf_divide(const lf_block *l, int bit, lf_block **low, lf_block **high)
    uint32_t lf_rank(const lf_block *l, double score, const char *key, size_t klen)
    int lf_compare(const lf_block *l, uint32_t i, double score, const char *key, size_t klen)
    bint lf_sound(const lf_block *l)

cdef extern from *:
    """
    typedef struct { uint32_t place, i; } kt_standing;
    static int kt_by_place(const void *a, const void *b) {
        uint32_t x = ((const kt_standing *)a)->place, y = ((const kt_standing *)b)->place;
        return x < y ? -1 : x > y;
    }
    """
    ctypedef struct kt_standing:
        uint32_t place, i
    int kt_by_place(const void *a, const void *b) noexcept nogil

cdef enum:
    LEAF_BYTES = 32  # of the object
    PLACES = 1024  # more than the entries of an ordered leaf: a change of bytes and a place come as one number


cdef inline object text_of(lf_text t):
    if t.ref != NULL:
        return <object>t.ref
    return PyBytes_FromStringAndSize(t.p, <Py_ssize_t>t.len)


cdef inline int need_bytes(object text) except -1:
    if not PyBytes_CheckExact(text):
        raise TypeError("a leaf holds bytes")
    return 0


cdef class Leaf:
    """Some hundred entries, found by their hash."""

    cdef lf_block *l
    cdef int kind

    def __cinit__(self, int kind):
        if kind < LF_SET or kind > LF_HASH:
            raise ValueError(kind)
        self.kind = kind

    def __dealloc__(self):
        lf_free(self.l)

    def __len__(self):
        return self.l.n if self.l != NULL else 0

    def has(self, object key):
        need_bytes(key)
        return lf_find(self.l, PyBytes_AS_STRING(key), <size_t>PyBytes_GET_SIZE(key), <uint64_t>PyObject_Hash(key)) >= 0

    def get(self, object key):
        need_bytes(key)
        cdef int64_t i = lf_find(
            self.l, PyBytes_AS_STRING(key), <size_t>PyBytes_GET_SIZE(key), <uint64_t>PyObject_Hash(key))
        if i < 0:
            return None
        cdef uint8_t *e = lf_entry(self.l, <uint32_t>i)
        if self.kind == LF_HASH:
            return text_of(lf_value(self.l, e))
        return PyFloat_FromDouble(lf_score(e)) if self.kind == LF_SCORES else None

    def put(self, object key, object value):
        need_bytes(key)
        cdef uint64_t hash = <uint64_t>PyObject_Hash(key)
        cdef int64_t i = lf_find(self.l, PyBytes_AS_STRING(key), <size_t>PyBytes_GET_SIZE(key), hash)
        cdef uint64_t before = lf_weight(self.l)
        cdef double score = 0
        cdef bint ok = True
        if self.kind == LF_HASH:
            need_bytes(value)
        elif self.kind == LF_SCORES:
            if not PyFloat_CheckExact(value):
                raise TypeError("a score is a float")
            score = PyFloat_AS_DOUBLE(value)
        if i < 0:
            ok = lf_insert(&self.l, self.kind, self.l.n if self.l != NULL else 0, hash, key, score, <PyObject *>value)
        elif self.kind == LF_HASH:
            ok = lf_replace(&self.l, <uint32_t>i, value)
        elif self.kind == LF_SCORES:
            memcpy(lf_entry(self.l, <uint32_t>i), &score, sizeof(score))
        if not ok:
            raise MemoryError("no memory for an element")
        return <int64_t>(lf_weight(self.l) - before) * 2 | (i < 0)

    def remove(self, object key):
        need_bytes(key)
        cdef int64_t i = lf_find(
            self.l, PyBytes_AS_STRING(key), <size_t>PyBytes_GET_SIZE(key), <uint64_t>PyObject_Hash(key))
        cdef uint64_t before
        if i < 0:
            return 0
        before = lf_weight(self.l)
        lf_remove(&self.l, <uint32_t>i, <uint32_t>i + 1)
        return <int64_t>(lf_weight(self.l) - before) * 2 | 1

    def nth(self, int64_t i):
        if self.l == NULL or i < 0 or i >= self.l.n:
            raise IndexError(i)
        return text_of(lf_key(self.l, lf_entry(self.l, <uint32_t>i)))

    def keys(self):
        cdef list out = []
        cdef uint32_t i
        for i in range(self.l.n if self.l != NULL else 0):
            out.append(text_of(lf_key(self.l, lf_entry(self.l, i))))
        return out

    def values(self):
        cdef list out = []
        cdef uint32_t i
        for i in range(self.l.n if self.l != NULL and self.kind == LF_HASH else 0):
            out.append(text_of(lf_value(self.l, lf_entry(self.l, i))))
        return out

    def flat(self):
        cdef list out = []
        cdef uint32_t i
        cdef uint8_t *e
        if self.kind != LF_HASH:
            return self.keys()
        for i in range(self.l.n if self.l != NULL else 0):
            e = lf_entry(self.l, i)
            out.append(text_of(lf_key(self.l, e)))
            out.append(text_of(lf_value(self.l, e)))
        return out

    def scan(self, int64_t cursor, int64_t want, list out not None):
        cdef uint32_t i, place, found = 0
        cdef int64_t last
        cdef kt_standing *standing
        if self.l == NULL:
            return 0
        standing = <kt_standing *>malloc(self.l.n * sizeof(kt_standing))
        if standing == NULL:
            raise MemoryError("no memory for a walk")
        try:
            for i in range(self.l.n):
                place = <uint32_t>lf_entry_hash(self.l, i)
                if place >= cursor:
                    standing[found].place = place
                    standing[found].i = i
                    found += 1
            if want < 1:
                want = 1
            if found > want:
                qsort(standing, found, sizeof(kt_standing), kt_by_place)
            for i in range(found):
                if i >= want and standing[i].place != standing[i - 1].place:
                    return <int64_t>standing[i - 1].place + 1
                out.append(text_of(lf_key(self.l, lf_entry(self.l, standing[i].i))))
            return -<int64_t>found
        finally:
            free(standing)

    def divide(self, int bit):
        cdef Leaf low = Leaf(self.kind)
        cdef Leaf high = Leaf(self.kind)
        if self.l != NULL and not lf_divide(self.l, bit, &low.l, &high.l):
            raise MemoryError("no memory to divide a leaf")
        return low, high

    def join(self, Leaf other not None):
        cdef Leaf both = Leaf(self.kind)
        cdef lf_block *first = self.l
        cdef lf_block *second = other.l
        if other.kind != self.kind:
            raise TypeError("leaves of two kinds can't be joined")
        if first == NULL:
            first = second
            second = NULL
        if first != NULL:
            both.l = lf_gather(first, 0, first.n, second)
            if both.l == NULL:
                raise MemoryError("no memory to join leaves")
        return both

    def copy(self):
        cdef Leaf twin = Leaf(self.kind)
        if self.l != NULL:
            twin.l = lf_copy(self.l)
            if twin.l == NULL:
                raise MemoryError("no memory to copy a leaf")
        return twin

    def weight(self):
        return LEAF_BYTES + lf_weight(self.l)

    def check(self):
        assert lf_sound(self.l)


cdef class OrderedLeaf:
    """Some hundred members in the order of (score, member)."""

    cdef lf_block *l

    def __dealloc__(self):
        lf_free(self.l)

    def __len__(self):
        return self.l.n if self.l != NULL else 0

    cdef inline int64_t moved(self, uint64_t before, uint32_t place) noexcept:
        return <int64_t>(lf_weight(self.l) - before) * PLACES + place

    def rank(self, double score, object member):
        need_bytes(member)
        return lf_rank(self.l, score, PyBytes_AS_STRING(member), <size_t>PyBytes_GET_SIZE(member))

    def rank_after(self, double score):
        cdef uint32_t low = 0, high = self.l.n if self.l != NULL else 0, mid
        while low < high:
            mid = (low + high) // 2
            if lf_score(lf_entry(self.l, mid)) <= score:
                low = mid + 1
            else:
                high = mid
        return low

    def first_score(self):
        if self.l == NULL:
            raise IndexError(0)
        return lf_score(lf_entry(self.l, 0))

    def starts_by(self, double score, object member):
        need_bytes(member)
        return self.l != NULL and lf_compare(
            self.l, 0, score, PyBytes_AS_STRING(member), <size_t>PyBytes_GET_SIZE(member)) <= 0

    def insert(self, double score, object member):
        need_bytes(member)
        cdef uint32_t i = lf_rank(self.l, score, PyBytes_AS_STRING(member), <size_t>PyBytes_GET_SIZE(member))
        cdef uint64_t before = lf_weight(self.l)
        if i >= PLACES - 1:
            raise ValueError("a leaf as large as this should have been divided")
        if not lf_insert(&self.l, LF_ORDER, i, 0, member, score, NULL):
            raise MemoryError("no memory for an element")
        return self.moved(before, i)

    def remove(self, double score, object member):
        need_bytes(member)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(member)
        cdef uint32_t i = lf_rank(self.l, score, PyBytes_AS_STRING(member), <size_t>size)
        cdef uint64_t before = lf_weight(self.l)
        if self.l == NULL or i >= self.l.n or lf_compare(self.l, i, score, PyBytes_AS_STRING(member), <size_t>size):
            raise KeyError(member)
        lf_remove(&self.l, i, i + 1)
        return self.moved(before, i)

    cdef int within(self, int64_t start, int64_t stop) except -1:
        if start < 0 or stop < start or stop > (self.l.n if self.l != NULL else 0):
            raise IndexError((start, stop))
        return 0

    def cut(self, int64_t start, int64_t stop):
        cdef uint64_t before = lf_weight(self.l)
        self.within(start, stop)
        if start < stop:
            lf_remove(&self.l, <uint32_t>start, <uint32_t>stop)
        return <int64_t>(lf_weight(self.l) - before)

    def collect(self, int64_t start, int64_t stop, list members, list scores):
        cdef uint32_t i
        cdef uint8_t *e
        self.within(start, stop)
        for i in range(<uint32_t>start, <uint32_t>stop):
            e = lf_entry(self.l, i)
            if members is not None:
                members.append(text_of(lf_key(self.l, e)))
            if scores is not None:
                scores.append(PyFloat_FromDouble(lf_score(e)))

    def part(self, int64_t start, int64_t stop):
        cdef OrderedLeaf some = OrderedLeaf()
        self.within(start, stop)
        if start < stop:
            some.l = lf_gather(self.l, <uint32_t>start, <uint32_t>stop, NULL)
            if some.l == NULL:
                raise MemoryError("no memory to divide a leaf")
        return some

    def join(self, OrderedLeaf other not None):
        cdef OrderedLeaf both = OrderedLeaf()
        if self.l == NULL or other.l == NULL:
            return (other if self.l == NULL else self).copy()
        both.l = lf_gather(self.l, 0, self.l.n, other.l)
        if both.l == NULL:
            raise MemoryError("no memory to join leaves")
        return both

    def copy(self):
        cdef OrderedLeaf twin = OrderedLeaf()
        if self.l != NULL:
            twin.l = lf_copy(self.l)
            if twin.l == NULL:
                raise MemoryError("no memory to copy a leaf")
        return twin

    def weight(self):
        return LEAF_BYTES + lf_weight(self.l)

    def check(self):
        assert lf_sound(self.l)
