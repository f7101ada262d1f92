# cython: language_level=3, binding=False, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: always_allow_keywords=False
"""The compact key table as a Python class: `KeyTable`, the leaf of `node.compact.CompactStore`.

The table itself is C (`table.h`, `ops.h`, memory in `slab.h`); this is where Python objects become bytes in it and
back. Every method takes the slot first. What a method answers is one small integer where that is possible, since that
is what a call from compiled Python can take without making an object.

Values: `bytes` of up to 1024 bytes are copied into their entry; longer ones and containers are kept as references.
"""

from cython cimport no_gc_clear
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject, PyObject_Hash
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_REFCNT, Py_XDECREF
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

import sys

include "core.pxi"

kt_import_writer()
kt_make_crc()

CHECKED = bool(KT_CHECKED)  # built for a sanitizer: every block by itself


def fail_in(int64_t allocations):
    """Have the allocation after so many fail (-1: none); for tests."""
    global kt_fail_in
    kt_fail_in = allocations


def failing():
    """How many allocations are left until one fails, -1 when none will."""
    return kt_fail_in


def trim():
    """Give the system the pages that malloc keeps free in the process's heap; False when there were none.

    Takes some milliseconds for each ten megabytes.
    """
    return kt_trim_heap() != 0


def slot_of(bytes key not None):
    """The hash slot of a key."""
    return kt_slot_of(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))


cdef inline object value_of(const uint8_t *e, kt_shape s):
    if s.flags & KT_REF:
        return <object>kt_object(e, s)
    return PyBytes_FromStringAndSize(<const char *>e + s.at + s.klen, s.vlen)


cdef inline bytes key_of(const uint8_t *e):
    cdef kt_shape s = kt_shape_of(e)
    return PyBytes_FromStringAndSize(<const char *>e + s.at, s.klen)


cdef inline bint is_container(const uint8_t *e, kt_shape s) noexcept:
    return s.flags & KT_REF and not PyBytes_CheckExact(<object>kt_object(e, s))


cdef inline uint64_t string_weight(const uint8_t *e, kt_shape s) noexcept:
    """What the bytes object that an entry refers to takes; 0 for a value in the entry and for a container."""
    if s.flags & KT_REF and PyBytes_CheckExact(<object>kt_object(e, s)):
        return kt_block(<size_t>PyBytes_GET_SIZE(<object>kt_object(e, s)) + 33)
    return 0


cdef class KeyTable:
    """One database. Not for use by several threads, and not by itself: see `node.compact`."""

    cdef kt_table t
    cdef int64_t now
    cdef uint32_t lru
    cdef int mode
    cdef int64_t lfu_factor, lfu_decay
    cdef bint ignore_expiry, no_touch
    cdef uint64_t strings  # bytes of the strings that are kept by reference
    cdef dict views  # slot -> the addresses of its views, which leave by themselves
    cdef list gone_keys
    cdef list gone_values
    cdef uint32_t drained

    def __cinit__(self, uint64_t seed):
        if not sys.flags.hash_randomization:
            raise RuntimeError("PYTHONHASHSEED=0 makes key hashes predictable: a client could slow down every command")
        kt_init(&self.t, seed)
        self.t.before = before_change
        self.t.context = <void *>self
        self.lfu_factor = 10
        self.lfu_decay = 1
        self.views = {}

    def __dealloc__(self):
        cdef uint32_t slot
        if self.t.slots:
            for slot in range(<uint32_t>KT_SLOTS):
                if self.t.slots[slot].n:
                    empty_slot(&self.t, slot, None)
            for slot in range(<uint32_t>KT_SLOTS, <uint32_t>(KT_SLOTS + KT_GRAVES)):
                self.drain_some(slot, INT64_MAX, None)
        kt_trim(&self.t.slab)
        free(self.t.slab.pass_)
        free(self.t.slots)
        free(self.t.due)
        free(self.t.frozen)

    # --- time
    def at_time(self, int64_t now_ms, int64_t lru, int flags):
        """What time it is; flags: 1 expired keys count as live, 2 access clocks stay."""
        self.now = now_ms
        self.lru = <uint32_t>lru & 0xffffff
        self.ignore_expiry = flags & 1
        self.no_touch = (flags & 2) != 0

    def track_clock(self, int mode, int64_t lfu_factor, int64_t lfu_decay):
        """Which access clock is kept: 0 none (the LRU's, untold), 1 LRU, 2 LFU."""
        self.mode = mode
        self.lfu_factor = lfu_factor
        self.lfu_decay = lfu_decay

    cdef inline bint past(self, const uint8_t *e, kt_shape s) noexcept:
        return s.flags & KT_EXPIRES and kt_expire(e, s) < self.now and not self.ignore_expiry

    cdef inline void touch(self, uint8_t *e, bint fresh) noexcept:
        if self.no_touch:
            return
        if self.mode != LFU:
            kt_set_clock(e, self.lru)
            e[3] = <uint8_t>(e[3] & ~KT_LFU)
        else:
            self.touch_lfu(e, fresh)

    cdef void touch_lfu(self, uint8_t *e, bint fresh) noexcept:
        cdef uint32_t minutes = <uint32_t>(self.now // 60000) & 0xffff
        cdef int64_t counter = LFU_START, lost, excess
        if not fresh and e[3] & KT_LFU:
            counter = kt_clock(e) & 255
            if self.lfu_decay:
                lost = ((minutes - (kt_clock(e) >> 8)) & 0xffff) // self.lfu_decay
                counter = counter - lost if counter > lost else 0
            excess = counter - LFU_START if counter > LFU_START else 0
            if counter < 255 and (kt_random(&self.t) & 0xffffff) * (excess * self.lfu_factor + 1) < 0x1000000:
                counter += 1
        kt_set_clock(e, minutes << 8 | <uint32_t>counter)
        e[3] = <uint8_t>(e[3] | KT_LFU)

    cdef inline bint find(self, uint32_t slot, object key, uint64_t *hash, kt_place *p) except -1:
        if slot >= <uint32_t>KT_SLOTS or not PyBytes_CheckExact(key):
            raise TypeError("a slot and a key of type bytes are needed")
        hash[0] = <uint64_t>PyObject_Hash(key)
        return kt_find(&self.t, slot, PyBytes_AS_STRING(key), <size_t>PyBytes_GET_SIZE(key), hash[0], p)

    cdef int store(self, uint32_t slot, object key, object value, uint64_t hash, kt_place *p, bint there,
                   int64_t expire, uint8_t marks) except -1:
        """Store a value; what was there must not be a container. The access clock is the caller's."""
        cdef kt_shape shape, was
        cdef uint64_t weight = 0
        cdef PyObject *old = NULL
        cdef PyObject *new
        cdef const void *data
        cdef Py_ssize_t klen = PyBytes_GET_SIZE(key), vlen
        cdef bint ref = True
        cdef bint ok
        if PyBytes_CheckExact(value):
            vlen = PyBytes_GET_SIZE(value)
            if vlen <= KT_INLINE:
                ref = False
            else:
                weight = kt_block(<size_t>vlen + 33)
        if klen > LONGEST:
            raise MemoryError("a key as long as this can't be stored")
        if ref:
            new = <PyObject *>value
            data = &new
            shape = kt_make_shape(<uint32_t>klen, sizeof(new), marks | KT_REF, expire != 0)
        else:
            data = PyBytes_AS_STRING(value)
            shape = kt_make_shape(<uint32_t>klen, <uint32_t>vlen, marks, expire != 0)
        if there:
            was = kt_shape_of(p.e)
            shape.flags = <uint8_t>(shape.flags | (was.flags & KT_LFU))
            if was.flags & KT_REF:
                old = kt_object(p.e, was)
            self.strings -= string_weight(p.e, was)
            ok = kt_change(&self.t, slot, p, shape, expire, data)
            if not ok:
                self.strings += string_weight(p.e, was)
        else:
            p.e = kt_insert(&self.t, slot, hash, PyBytes_AS_STRING(key), shape, expire, data)
            ok = p.e != NULL
        if not ok:
            raise MemoryError("no memory for a key")
        if ref:
            Py_INCREF(value)
            self.strings += weight
        if old != NULL:
            Py_XDECREF(old)
        return 0

    cdef int take_out(self, uint32_t slot, kt_place *p) except -1:
        """Remove a key; its reference is dropped."""
        cdef kt_shape s = kt_shape_of(p.e)
        cdef PyObject *old = NULL
        cdef uint64_t weight = string_weight(p.e, s)
        if s.flags & KT_REF:
            old = kt_object(p.e, s)
        if not kt_remove(&self.t, slot, p):
            raise MemoryError("no memory to keep what a snapshot needs")
        self.strings -= weight
        Py_XDECREF(old)
        return 0

    # --- strings
    def get_into(self, object w, uint32_t slot, object key):
        """Write the string as a bulk reply: DONE, MISSING, WRONG_TYPE or EXPIRED; or LARGE, and nothing written."""
        cdef kt_place p
        cdef uint64_t hash
        cdef kt_shape s
        cdef object value
        if not self.find(slot, key, &hash, &p):
            return MISSING
        s = kt_shape_of(p.e)
        if s.flags & KT_EXPIRES and self.past(p.e, s):
            return EXPIRED
        self.touch(p.e, False)
        if not kt_is_writer(w):
            raise TypeError("a BytesWriter is needed")
        if s.flags & KT_REF:
            value = <object>kt_object(p.e, s)
            if not PyBytes_CheckExact(value):
                return WRONG_TYPE
            if PyBytes_GET_SIZE(value) >= BY_REFERENCE:
                return LARGE
            kt_write_bulk(w, PyBytes_AS_STRING(value), <size_t>PyBytes_GET_SIZE(value))
            return DONE
        kt_write_bulk(w, <const char *>p.e + s.at + s.klen, s.vlen)
        return DONE

    def set(self, uint32_t slot, object key, object value):
        """Store a string without expiry: DONE, CREATED, or CONTAINER and nothing done."""
        cdef kt_place p
        cdef uint64_t hash
        cdef kt_shape s
        if not PyBytes_CheckExact(value):
            raise TypeError("a string is of type bytes")
        cdef bint there = self.find(slot, key, &hash, &p)
        if there:
            s = kt_shape_of(p.e)
            if s.flags & KT_REF and is_container(p.e, s):
                return CONTAINER
        self.store(slot, key, value, hash, &p, there, 0, 0)
        self.touch(p.e, not there)
        return DONE if there else CREATED

    def set_until(self, uint32_t slot, object key, object value, int64_t at_ms):
        """Store a string that expires: DONE, CREATED, or CONTAINER and nothing done."""
        cdef kt_place p
        cdef uint64_t hash
        if not PyBytes_CheckExact(value):
            raise TypeError("a string is of type bytes")
        cdef bint there = self.find(slot, key, &hash, &p)
        if there and is_container(p.e, kt_shape_of(p.e)):
            return CONTAINER
        self.store(slot, key, value, hash, &p, there, at_ms, 0)
        self.touch(p.e, not there)
        return DONE if there else CREATED

    def incr_into(self, object w, uint32_t slot, object key, int64_t by):
        """Add to the integer and write the sum: DONE, a code of node.keyspace, or EXPIRED."""
        cdef kt_place p
        cdef uint64_t hash
        cdef kt_shape s
        cdef int64_t number = 0, expire = 0
        cdef char digits[24]
        cdef char *text
        cdef uint32_t size
        if not kt_is_writer(w):
            raise TypeError("a BytesWriter is needed")
        cdef bint there = self.find(slot, key, &hash, &p)
        if there:
            s = kt_shape_of(p.e)
            if self.past(p.e, s):
                return EXPIRED
            if s.flags & KT_REF:
                return NOT_AN_INTEGER if PyBytes_CheckExact(<object>kt_object(p.e, s)) else WRONG_TYPE
            if not kt_parse(p.e + s.at + s.klen, s.vlen, &number):
                return NOT_AN_INTEGER
            expire = kt_expire(p.e, s)
        if kt_add_overflows(number, by, &number):
            return OVERFLOW
        text = kt_digits(digits + 24, number)
        size = <uint32_t>(digits + 24 - text)
        if there and size == s.vlen and not self.t.views:
            memcpy(p.e + s.at + s.klen, text, size)
            p.e[3] = <uint8_t>(p.e[3] & ~(KT_RAW | KT_TEXT))
        else:
            self.store_digits(slot, key, text, size, hash, &p, there, expire)
        self.touch(p.e, not there)
        kt_write_integer(w, text, size)
        return DONE

    cdef int store_digits(self, uint32_t slot, object key, const char *text, uint32_t size, uint64_t hash, kt_place *p,
                          bint there, int64_t expire) except -1:
        cdef Py_ssize_t klen = PyBytes_GET_SIZE(key)
        if klen > LONGEST:
            raise MemoryError("a key as long as this can't be stored")
        cdef kt_shape shape = kt_make_shape(<uint32_t>klen, size, 0, expire != 0)
        cdef bint ok
        if there:
            shape.flags = <uint8_t>(shape.flags | (p.e[3] & KT_LFU))
            ok = kt_change(&self.t, slot, p, shape, expire, text)
        else:
            p.e = kt_insert(&self.t, slot, hash, PyBytes_AS_STRING(key), shape, expire, text)
            ok = p.e != NULL
        if not ok:
            raise MemoryError("no memory for a key")
        return 0

    # --- any type
    def get(self, uint32_t slot, object key):
        """The value, touched; None when missing, False when expired."""
        cdef kt_place p
        cdef uint64_t hash
        cdef kt_shape s
        if not self.find(slot, key, &hash, &p):
            return None
        s = kt_shape_of(p.e)
        if self.past(p.e, s):
            return False
        self.touch(p.e, False)
        return value_of(p.e, s)

    def peek(self, uint32_t slot, object key):
        """The value, not touched; None when missing, False when expired."""
        cdef kt_place p
        cdef uint64_t hash
        cdef kt_shape s
        if not self.find(slot, key, &hash, &p):
            return None
        s = kt_shape_of(p.e)
        if self.past(p.e, s):
            return False
        return value_of(p.e, s)

    def status(self, uint32_t slot, object key):
        """MISSING, EXPIRED or DONE."""
        cdef kt_place p
        cdef uint64_t hash
        if not self.find(slot, key, &hash, &p):
            return MISSING
        return EXPIRED if self.past(p.e, kt_shape_of(p.e)) else DONE

    def touch_key(self, uint32_t slot, object key):
        """Note an access."""
        cdef kt_place p
        cdef uint64_t hash
        if self.find(slot, key, &hash, &p):
            self.touch(p.e, False)

    def put(self, uint32_t slot, object key, object value, bint raw):
        """Store a value of any type, an expiry stays: CREATED, DONE; or nothing done and SAME, EXPIRED, CONTAINER."""
        cdef kt_place p
        cdef uint64_t hash
        cdef kt_shape s
        cdef int64_t expire = 0
        cdef bint there = self.find(slot, key, &hash, &p)
        if there:
            s = kt_shape_of(p.e)
            if self.past(p.e, s):
                return EXPIRED
            if is_container(p.e, s):
                if kt_object(p.e, s) == <PyObject *>value:
                    return SAME
                return CONTAINER
            expire = kt_expire(p.e, s)
        self.store(slot, key, value, hash, &p, there, expire, KT_RAW if raw else 0)
        self.touch(p.e, not there)
        return DONE if there else CREATED

    def patch(self, uint32_t slot, object key, int64_t at, bytes data not None):
        """Write into a string at an offset, zero bytes fill a gap, and mark it as grown in place: its new length.

        -1 and nothing done when there is no string, or when it would become longer than a bytes object can be.
        """
        cdef kt_place p
        cdef uint64_t hash
        cdef kt_shape s
        cdef size_t size, more = <size_t>PyBytes_GET_SIZE(data), total
        cdef char *text
        if not self.find(slot, key, &hash, &p):
            return -1
        s = kt_shape_of(p.e)
        if at < 0 or <size_t>at > <size_t>LONGEST or more > <size_t>LONGEST or self.past(p.e, s) or is_container(p.e, s):
            return -1
        if not kt_warn(&self.t, slot, p.bucket):
            raise MemoryError("no memory to keep what a snapshot needs")
        size = <size_t>PyBytes_GET_SIZE(<object>kt_object(p.e, s)) if s.flags & KT_REF else s.vlen
        total = max(size, <size_t>at + more)
        if s.flags & KT_REF and Py_REFCNT(<object>kt_object(p.e, s)) == 1:
            text = self.grown(&p, s, size, total)
        elif not s.flags & KT_REF and total == size:
            text = <char *>p.e + s.at + s.klen
        else:
            self.store_patched(slot, key, hash, &p, s, size, total, at, data)
            text = NULL
        if text != NULL:
            if <size_t>at > size:
                memset(text + size, 0, <size_t>at - size)
            memcpy(text + at, PyBytes_AS_STRING(data), more)
        p.e[3] = <uint8_t>((p.e[3] & ~KT_TEXT) | KT_RAW)
        self.touch(p.e, False)
        return total

    cdef char *grown(self, kt_place *p, kt_shape s, size_t size, size_t total) except NULL:
        """The text of a bytes object that nobody else refers to, made longer and without a hash."""
        cdef PyObject *text = kt_object(p.e, s)
        cdef uint64_t weight = string_weight(p.e, s)
        if not kt_stretch(&text, <Py_ssize_t>total):
            raise MemoryError("no memory for a longer string")
        memcpy(p.e + s.at + s.klen, &text, sizeof(text))
        self.strings += string_weight(p.e, s)
        self.strings -= weight
        return PyBytes_AS_STRING(<object>text)

    cdef int store_patched(self, uint32_t slot, object key, uint64_t hash, kt_place *p, kt_shape s, size_t size,
                           size_t total, int64_t at, bytes data) except -1:
        """Put a patched copy in the place of a string."""
        cdef object old = value_of(p.e, s)
        cdef object value = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>total)
        cdef char *text = PyBytes_AS_STRING(value)
        memcpy(text, PyBytes_AS_STRING(old), size)
        if <size_t>at > size:
            memset(text + size, 0, <size_t>at - size)
        memcpy(text + at, PyBytes_AS_STRING(data), <size_t>PyBytes_GET_SIZE(data))
        return self.store(slot, key, value, hash, p, True, kt_expire(p.e, s), KT_RAW)

    def remove(self, uint32_t slot, object key, bint any_time):
        """Remove a key: None when missing, True; a container is returned; False and nothing done when it expired."""
        cdef kt_place p
        cdef uint64_t hash
        cdef kt_shape s
        cdef object value = True
        if not self.find(slot, key, &hash, &p):
            return None
        s = kt_shape_of(p.e)
        if not any_time and self.past(p.e, s):
            return False
        if is_container(p.e, s):
            value = <object>kt_object(p.e, s)
        self.take_out(slot, &p)
        return value

    def swap(self, uint32_t slot, object key, object value):
        """Put a value in the place of a container, with its expiry; the container is returned."""
        cdef kt_place p
        cdef uint64_t hash
        cdef kt_shape s
        if not self.find(slot, key, &hash, &p):
            raise KeyError(key)
        s = kt_shape_of(p.e)
        old = value_of(p.e, s)
        self.store(slot, key, value, hash, &p, True, kt_expire(p.e, s), 0)
        self.touch(p.e, False)
        return old

    def mark(self, uint32_t slot, object key, bint raw):
        """Remember that a string was grown in place, or else that it only looks like an integer."""
        cdef kt_place p
        cdef uint64_t hash
        if self.find(slot, key, &hash, &p):
            p.e[3] = <uint8_t>((p.e[3] & ~(KT_RAW | KT_TEXT)) | (KT_RAW if raw else KT_TEXT))

    def marked(self, uint32_t slot, object key):
        """1: grown in place, 2: only looks like an integer, 0: neither, or missing."""
        cdef kt_place p
        cdef uint64_t hash
        if not self.find(slot, key, &hash, &p):
            return 0
        return 1 if p.e[3] & KT_RAW else 2 if p.e[3] & KT_TEXT else 0

    # --- expiry
    def expire_at(self, uint32_t slot, object key):
        """When a key expires, Unix ms; 0 never, -1 missing, EXPIRED."""
        cdef kt_place p
        cdef uint64_t hash
        cdef kt_shape s
        if not self.find(slot, key, &hash, &p):
            return -1
        s = kt_shape_of(p.e)
        return EXPIRED if self.past(p.e, s) else kt_expire(p.e, s)

    def set_expire(self, uint32_t slot, object key, int64_t at_ms):
        """Set or with 0 remove an expiry: MISSING, DONE or EXPIRED."""
        cdef kt_place p
        cdef uint64_t hash
        cdef kt_shape s, to
        if not self.find(slot, key, &hash, &p):
            return MISSING
        s = kt_shape_of(p.e)
        if self.past(p.e, s):
            return EXPIRED
        if at_ms == kt_expire(p.e, s):
            return DONE
        to = kt_make_shape(s.klen, s.vlen, s.flags, at_ms != 0)
        if not kt_change(&self.t, slot, &p, to, at_ms, NULL):
            raise MemoryError("no memory for an expiry")
        return DONE

    def expire_due(self, uint64_t limit, list keys not None, list containers not None):
        """Remove up to `limit` keys that are past, their names into `keys`, their containers into `containers`.

        Returns how much of the limit was used, walking counted in; less than the limit: nothing is left to do.
        """
        self.gone_keys = keys
        self.gone_values = containers
        cdef uint64_t seen = kt_expire_some(&self.t, self.now, limit, expired_one, <void *>self)
        self.gone_keys = None
        self.gone_values = None
        return seen

    # --- clocks and chance
    def clock_of(self, uint32_t slot, object key):
        """The access clock, of the kind that is tracked; -1 when missing, -2 when it is of the other kind."""
        cdef kt_place p
        cdef uint64_t hash
        if not self.find(slot, key, &hash, &p):
            return -1
        return self.clock_in(p.e)

    cdef inline int64_t clock_in(self, const uint8_t *e) noexcept:
        return kt_clock(e) if (e[3] & KT_LFU != 0) == (self.mode == LFU) else -2

    def set_clock(self, uint32_t slot, object key, uint32_t clock):
        """Set the access clock."""
        cdef kt_place p
        cdef uint64_t hash
        if self.find(slot, key, &hash, &p):
            kt_set_clock(p.e, clock & 0xffffff)
            p.e[3] = <uint8_t>((p.e[3] & ~KT_LFU) | (KT_LFU if self.mode == LFU else 0))

    def sample(self, int64_t n, bint volatile):
        """Up to n random keys as (slot, key, clock or -1, expiry)."""
        cdef uint32_t slot
        cdef uint8_t *e
        cdef int64_t clock
        cdef list out = []
        while n > 0:
            e = kt_pick(&self.t, volatile, &slot)
            if e == NULL:
                break
            clock = self.clock_in(e) if self.mode else -1
            out.append((slot, key_of(e), clock if clock >= 0 else -1, kt_expire(e, kt_shape_of(e))))
            n -= 1
        return out

    # --- walking
    def count(self, int slot):
        """Keys of a slot, -1: of all."""
        if slot < 0:
            return self.t.count
        return self.t.slots[slot].count if self.t.slots and slot < KT_SLOTS else 0

    def volatile(self):
        """Keys with an expiry."""
        return self.t.vol

    def used(self):
        """Bytes of entries, buckets and strings kept by reference; containers count themselves."""
        return self.t.slab.used + self.strings

    def held(self):
        """Bytes of the chunks taken from the system for small blocks."""
        return self.t.slab.held

    def small(self):
        """Bytes of the blocks in use in those chunks."""
        return self.t.slab.used - self.t.slab.outside

    # --- defragmentation
    def defragment(self, int64_t work):
        """Begin a pass of it, or go on with it, for about so much work; looking at a bucket is one unit of it.

        1: there is more to do, 0: the pass is over, -1: there was nothing worth moving.
        """
        return kt_defragment(&self.t, work)

    def stop_pass(self):
        """Have a pass that was begun be over after the next steps."""
        kt_stop_pass(&self.t)

    def moved(self):
        """Blocks moved so far, blocks left where they were, entries among the first, and among the second."""
        return self.t.moved, self.t.stayed, self.t.keys_moved, self.t.keys_stayed

    def size_of(self, uint32_t slot, object key):
        """Bytes of one key with a string, of one with a container without it; -1 when missing."""
        cdef kt_place p
        cdef uint64_t hash
        cdef kt_shape s
        if not self.find(slot, key, &hash, &p):
            return -1
        s = kt_shape_of(p.e)
        return kt_block(kt_size(s)) + string_weight(p.e, s) + 16  # the last is its share of a bucket

    cdef int next_occupied(self, int slot) noexcept:
        if not self.t.count:
            return -1
        while slot < KT_SLOTS:
            if not self.t.groups[slot // KT_GROUP]:
                slot = (slot // KT_GROUP + 1) * KT_GROUP
                continue
            if self.t.slots[slot].count:
                return slot
            slot += 1
        return -1

    def occupied_slots(self):
        """The slots that hold a key, ascending."""
        cdef list out = []
        cdef int slot = self.next_occupied(0)
        while slot >= 0:
            out.append(slot)
            slot = self.next_occupied(slot + 1)
        return out

    cdef int add_keys(self, kt_bucket *b, list out, int64_t limit, bint live) except -1:
        cdef int i
        while b != NULL:
            for i in range(b.n):
                if limit >= 0 and len(out) >= limit:
                    return 0
                if not live or not self.past(b.entry[i], kt_shape_of(b.entry[i])):
                    out.append(key_of(b.entry[i]))
            b = b.next
        return 0

    def scan(self, uint64_t cursor, int64_t want, int only):
        """One step of SCAN: the next cursor, 0 after the last bucket, and at least `want` keys where there are any."""
        cdef list out = []
        cdef uint64_t bucket = cursor >> 14
        cdef int here = <int>(cursor & 16383)
        cdef int slot
        cdef kt_slot *s
        cdef uint32_t level, c, bit
        if only >= 0:
            here = only & 16383
        while True:
            slot = here
            if only < 0:
                slot = self.next_occupied(here)
                if slot < 0:
                    return 0, out
                if slot != here:
                    bucket = 0
            elif not self.t.slots or not self.t.slots[slot].count:
                return 0, out
            here = slot
            s = self.t.slots + slot
            level = kt_level(s.n)
            c = <uint32_t>bucket & (level - 1)
            self.add_keys(kt_bucket_at(s, c), out, -1, False)
            if c + level < s.n:
                self.add_keys(kt_bucket_at(s, c + level), out, -1, False)
            bit = level >> 1
            while bit and c & bit:
                c ^= bit
                bit >>= 1
            bucket = c | bit
            if not bucket:
                if only >= 0:
                    return 0, out
                here = self.next_occupied(slot + 1)
                if here < 0:
                    return 0, out
            if <int64_t>len(out) >= want:
                return bucket << 14 | <uint64_t>here, out

    def keys_in(self, uint32_t slot, int64_t limit):
        """Up to `limit` keys of a slot, -1: all."""
        cdef list out = []
        cdef uint32_t i
        cdef kt_slot *s
        if not self.t.slots or slot >= <uint32_t>KT_SLOTS:
            return out
        s = self.t.slots + slot
        for i in range(s.n):
            if limit >= 0 and len(out) >= limit:
                break
            self.add_keys(kt_bucket_at(s, i), out, limit, False)
        return out

    def live_keys(self):
        """Every key that is not expired."""
        cdef list out = []
        cdef uint32_t i
        cdef int slot = self.next_occupied(0)
        while slot >= 0:
            for i in range(self.t.slots[slot].n):
                self.add_keys(kt_bucket_at(self.t.slots + slot, i), out, -1, True)
            slot = self.next_occupied(slot + 1)
        return out

    def items_in(self, uint32_t slot):
        """Every key of a slot as (key, value, expiry)."""
        cdef list out = []
        cdef uint32_t i
        cdef int k
        cdef kt_bucket *b
        cdef kt_shape s
        if not self.t.slots or slot >= <uint32_t>KT_SLOTS:
            return out
        for i in range(self.t.slots[slot].n):
            b = kt_bucket_at(self.t.slots + slot, i)
            while b != NULL:
                for k in range(b.n):
                    s = kt_shape_of(b.entry[k])
                    out.append((key_of(b.entry[k]), value_of(b.entry[k], s), kt_expire(b.entry[k], s)))
                b = b.next
        return out

    def dump_slot(self, object w, uint32_t slot, int clock, int64_t now_ms, int64_t decay, bint compress):
        """Write the strings of a slot in the RDB format, as far as that takes no objects: what is left, as of items_in.

        `clock`: which access clock is written; `decay`: as of lfu_decayed. Nothing is written when memory is short.
        """
        cdef list left = []
        cdef kt_dump how = kt_dump_how(clock, self.mode, now_ms, decay, compress)
        if not kt_is_writer(w):
            raise TypeError("a BytesWriter is needed")
        if self.t.slots and slot < <uint32_t>KT_SLOTS:
            dump_all(w, self.t.slots + slot, &how, left)
        return left

    # --- emptying
    def clear_slot(self, uint32_t slot, list containers not None):
        """Remove every key of a slot; its containers go into the list."""
        cdef uint32_t bucket
        if not self.t.slots or slot >= <uint32_t>KT_SLOTS or not self.t.slots[slot].n:
            return
        if self.t.views and self.t.frozen[slot]:
            for bucket in range(self.t.slots[slot].n):
                if not kt_warn(&self.t, slot, bucket):
                    raise MemoryError("no memory to keep what a snapshot needs")
            # the buckets stay until the views are closed
            while self.t.slots[slot].count:
                for key in self.keys_in(slot, 64):
                    value = self.remove(slot, key, True)
                    if value is not True:
                        containers.append(value)
            return
        self.strings -= empty_slot(&self.t, slot, containers)

    def condemn_slot(self, uint32_t slot):
        """Remove every key of a slot in no time, to be freed by `free_condemned`; False when that can't be done."""
        if not self.t.slots or slot >= <uint32_t>KT_SLOTS or (self.t.views and self.t.frozen[slot]):
            return False
        return kt_condemn(&self.t, slot)

    def free_condemned(self, int64_t buckets, list containers not None):
        """Free what so many buckets of condemned slots hold; True when there is more. Containers go into the list."""
        cdef uint32_t slot
        if not self.t.slots:
            return False
        for slot in range(<uint32_t>KT_SLOTS, <uint32_t>(KT_SLOTS + KT_GRAVES)):
            if self.t.slots[slot].n:
                buckets -= self.drain_some(slot, buckets, containers)
                if buckets <= 0:
                    return True
        return False

    def drain(self, int64_t buckets, list containers not None):
        """Free what so many buckets hold, or as many slots or regions; True when there is more.

        For a table that nobody uses any more. Containers go into the list.
        """
        cdef int slot
        if self.t.views:
            return False  # goes with the last view
        while buckets > 0 and self.t.slots and self.drained < <uint32_t>(KT_SLOTS + KT_GRAVES):
            slot = <int>self.drained
            if not self.t.slots[slot].n:
                self.drained += 1
                buckets -= 0 if self.drained & 63 else 1
                continue
            buckets -= self.drain_some(<uint32_t>slot, buckets, containers)
        if self.t.slots and self.drained < <uint32_t>(KT_SLOTS + KT_GRAVES):
            return True
        kt_trim(&self.t.slab)
        return False

    cdef int64_t drain_some(self, uint32_t slot, int64_t limit, list containers):
        """Empty the last buckets of a slot, fewer when chunks go back to the system by it."""
        cdef int64_t done = 0
        cdef uint64_t held
        cdef kt_slot *s = self.t.slots + slot
        while done < limit and s.n:
            held = self.t.slab.held
            self.strings -= empty_last(&self.t, slot, containers)
            done += 1 + <int64_t>kt_returned(&self.t.slab, held) // KT_WIDTH
        return done

    # --- views
    def freeze(self, uint32_t slot):
        """The keys of a slot as they are now."""
        cdef View view = View.__new__(View)
        cdef kt_slot *s
        view.table = self
        view.slot = slot
        if not self.t.slots or slot >= <uint32_t>KT_SLOTS or not self.t.slots[slot].n:
            return view
        s = self.t.slots + slot
        if self.t.frozen == NULL:
            self.t.frozen = <uint8_t *>calloc(KT_SLOTS, 1)
            if self.t.frozen == NULL:
                raise MemoryError("no memory for a snapshot")
        if self.t.frozen[slot] == 255:
            raise MemoryError("too many snapshots of one slot")
        view.done = <uint8_t *>calloc(s.n // 8 + 1, 1)
        if view.done == NULL:
            raise MemoryError("no memory for a snapshot")
        view.n = s.n
        self.views.setdefault(slot, []).append(<uintptr_t><PyObject *>view)
        self.t.frozen[slot] += 1
        self.t.views += 1
        return view

    def viewed(self):
        """Number of open views."""
        return self.t.views

    # --- ahead of use
    def prefetch(self, list keys not None):
        """Have the slots, buckets and entries of these keys on their way into the cache: all slots first, then all
        buckets, so that the memory is waited for once and not by each.
        """
        cdef kt_slot *slots[64]
        cdef kt_bucket *places[64]
        cdef uint64_t hashes[64]
        cdef object key
        cdef kt_slot *s
        cdef kt_bucket *b
        cdef uint8_t tag
        cdef int n = 0, i, k
        if not self.t.slots:
            return
        for key in keys:
            if n == 64 or not PyBytes_CheckExact(key):
                break
            slots[n] = self.t.slots + kt_slot_of(PyBytes_AS_STRING(key), <size_t>PyBytes_GET_SIZE(key))
            kt_prefetch(slots[n])
            hashes[n] = <uint64_t>PyObject_Hash(key)
            n += 1
        for i in range(n):
            s = slots[i]
            places[i] = kt_bucket_at(s, kt_index(hashes[i], s.n)) if s.n else NULL
            if places[i]:
                kt_prefetch(places[i])
        for i in range(n):
            b = places[i]
            if not b:
                continue
            tag = kt_tag(hashes[i])
            for k in range(b.n):
                if b.tag[k] == tag:
                    kt_prefetch(b.entry[k])
                    break

    def check(self):
        """Walk everything and compare it with the counts; raises AssertionError. For tests."""
        cdef int k
        cdef uint32_t slot
        cdef uint32_t i, n, vol
        cdef uint64_t total = 0, all_vol = 0, refs = 0, longer = 0, strings = 0, weight = 0, buried = 0, chained
        cdef kt_bucket *b
        cdef kt_shape s
        cdef kt_slot *place
        assert kt_sound(&self.t.slab)
        if not self.t.slots:
            assert self.t.count == 0 and self.t.slab.used == 0
            return
        for slot in range(<uint32_t>(KT_SLOTS + KT_GRAVES)):
            place = self.t.slots + slot
            n = vol = 0
            weight += kt_weigh_arrays(place)
            for i in range(place.n):
                b = kt_bucket_at(place, i)
                chained = 0
                while b != NULL:
                    weight += chained
                    chained = 64
                    assert b.n <= 6 and (b.n > 0 or b == kt_bucket_at(place, i)) and b.vol < 1 << b.n
                    for k in range(b.n):
                        s = kt_shape_of(b.entry[k])
                        n += 1
                        weight += kt_block(kt_size(s))
                        assert kt_index(kt_hash(b.entry[k] + s.at, s.klen), place.n) == i
                        assert b.tag[k] == kt_tag(kt_hash(b.entry[k] + s.at, s.klen))
                        assert (b.vol >> k & 1) == (s.flags & KT_EXPIRES != 0)
                        if s.flags & KT_EXPIRES:
                            vol += 1
                            assert slot >= <uint32_t>KT_SLOTS or kt_expire(b.entry[k], s) >= self.t.next_due
                            assert slot >= <uint32_t>KT_SLOTS or kt_expire(b.entry[k], s) >= self.t.due[slot]
                        refs += s.flags & KT_REF != 0
                        longer += kt_size(s) > <size_t>KT_SMALL
                        strings += string_weight(b.entry[k], s)
                    b = b.next
            assert (n, vol) == (place.count, place.vol)
            assert place.n or not place.count
            buried += n if slot >= <uint32_t>KT_SLOTS else 0
            total += 0 if slot >= <uint32_t>KT_SLOTS else n
            all_vol += 0 if slot >= <uint32_t>KT_SLOTS else vol
        assert (total, all_vol, refs, longer) == (self.t.count, self.t.vol, self.t.refs, self.t.long_blocks)
        assert (strings, weight) == (self.strings, self.t.slab.used)
        if self.t.count + buried == 0 and not self.t.views:
            assert self.t.slab.used == 0


cdef uint64_t empty_bucket(kt_table *t, uint32_t slot, kt_bucket *b, list containers):
    """Remove all entries of one bucket (not of its chain); the weight of the strings that they referred to."""
    cdef int i
    cdef kt_shape s
    cdef uint8_t *e
    cdef PyObject *old
    cdef uint64_t weight = 0
    while b.n:
        i = b.n - 1
        e = b.entry[i]
        s = kt_shape_of(e)
        old = NULL
        if s.flags & KT_REF:
            weight += string_weight(e, s)
            old = kt_object(e, s)
            if containers is not None and not PyBytes_CheckExact(<object>old):
                containers.append(<object>old)
        b.n = <uint8_t>i
        b.vol = <uint8_t>(b.vol & ~(1 << i))
        kt_weighed(t, s, -1)
        kt_counted(t, slot, -1, s.flags & KT_EXPIRES != 0)
        kt_free(&t.slab, e, kt_size(s))
        Py_XDECREF(old)
    return weight


cdef uint64_t empty_slot(kt_table *t, uint32_t slot, list containers):
    """Remove all keys and buckets of a slot without views."""
    cdef uint32_t i
    cdef kt_bucket *b
    cdef kt_bucket *next
    cdef uint64_t weight = 0
    cdef kt_slot *s = t.slots + slot
    for i in range(s.n):
        b = kt_bucket_at(s, i)
        weight += empty_bucket(t, slot, b, containers)
        next = b.next
        b.next = NULL
        while next != NULL:
            b = next
            weight += empty_bucket(t, slot, b, containers)
            next = b.next
            kt_free_buckets(&t.slab, b, 1)
    kt_adjust(t, slot)
    return weight


cdef uint64_t empty_last(kt_table *t, uint32_t slot, list containers):
    """Remove the last bucket of a slot, and what is in it."""
    cdef kt_slot *s = t.slots + slot
    cdef kt_bucket *head = kt_bucket_at(s, s.n - 1)
    cdef kt_bucket *b
    cdef uint64_t weight = empty_bucket(t, slot, head, containers)
    while head.next != NULL:
        b = head.next
        weight += empty_bucket(t, slot, b, containers)
        head.next = b.next
        kt_free_buckets(&t.slab, b, 1)
    kt_release(t, s)
    return weight


cdef int expired_one(void *context, uint32_t slot, const uint8_t *e) noexcept:
    """A key is about to go because its time is over."""
    cdef KeyTable table = <KeyTable>context
    cdef kt_shape s = kt_shape_of(e)
    try:
        table.gone_keys.append(key_of(e))
    except MemoryError:
        return False
    if s.flags & KT_REF:
        # The list takes the reference that the entry has; bytes go with it, too.
        try:
            table.gone_values.append(<object>kt_object(e, s))
        except MemoryError:
            table.gone_keys.pop()
            return False
        table.strings -= string_weight(e, s)
        Py_DECREF(<object>kt_object(e, s))
    return True


include "dump.pxi"
include "views.pxi"
include "leaf.pxi"
