# Slots held still for snapshots.

cdef int before_change(void *context, uint32_t slot, uint32_t bucket) noexcept:
    """What the views of a slot need of a bucket is about to change."""
    cdef KeyTable table = <KeyTable>context
    try:
        for address in table.views[slot]:
            (<View><PyObject *><uintptr_t>address).keep(bucket)
    except MemoryError:
        return False
    return True


@no_gc_clear
cdef class View:
    """The keys of a slot as they were when it was frozen, given out in parts.

    Bucket i of the frozen slot is bucket i of the living one until something in it changes: then it is kept here
    before. Its keys stay within the buckets that bucket i is divided into, and the slot does not shrink meanwhile.
    """

    cdef KeyTable table
    cdef uint32_t slot, n
    cdef uint8_t *done  # by bucket: kept, or given out
    cdef dict kept  # bucket -> list of (key, value, expiry)
    cdef dict times  # expiry of keys that were given out

    def __cinit__(self):
        self.kept = {}
        self.times = {}

    def __dealloc__(self):
        self.leave()
        free(self.done)

    cdef void leave(self) noexcept:
        cdef list others
        if not self.n:
            return
        self.n = 0
        others = self.table.views[self.slot]
        others.remove(<uintptr_t><PyObject *>self)
        if not others:
            del self.table.views[self.slot]
        self.table.t.frozen[self.slot] -= 1
        self.table.t.views -= 1
        if not self.table.t.frozen[self.slot]:
            kt_adjust(&self.table.t, self.slot)

    cdef list items(self, uint32_t bucket):
        cdef list out = []
        cdef int i
        cdef kt_shape s
        cdef kt_bucket *b = kt_bucket_at(self.table.t.slots + self.slot, bucket)
        while b != NULL:
            for i in range(b.n):
                s = kt_shape_of(b.entry[i])
                out.append((key_of(b.entry[i]), value_of(b.entry[i], s), kt_expire(b.entry[i], s)))
            b = b.next
        return out

    cdef int keep(self, uint32_t bucket) except -1:
        bucket = kt_index(bucket, self.n)
        if not self.done[bucket >> 3] >> (bucket & 7) & 1:
            self.kept[bucket] = self.items(bucket)
            self.done[bucket >> 3] |= <uint8_t>(1 << (bucket & 7))
        return 0

    def parts(self):
        """Number of parts."""
        return (self.n + PART - 1) // PART

    def index(self, bytes key not None):
        """Which part a key belongs to, be it there or not."""
        return kt_index(<uint64_t>PyObject_Hash(key), self.n) // PART if self.n else 0

    def get(self, bytes key not None):
        """The value of a key of a part that was not taken yet, None when there was none."""
        cdef uint32_t bucket
        cdef kt_place p
        cdef uint64_t hash
        cdef kt_shape s
        if not self.n:
            return None
        bucket = kt_index(<uint64_t>PyObject_Hash(key), self.n)
        if self.done[bucket >> 3] >> (bucket & 7) & 1:
            for name, value, at in self.kept.get(bucket, ()):
                if name == key:
                    if at:
                        self.times[key] = at
                    return value
            return None
        if not self.table.find(self.slot, key, &hash, &p):
            return None
        s = kt_shape_of(p.e)
        if s.flags & KT_EXPIRES:
            self.times[key] = kt_expire(p.e, s)
        return value_of(p.e, s)

    def take(self, uint32_t part):
        """The keys of a part with their values; they are let go of here."""
        cdef dict out = {}
        cdef uint32_t bucket
        self.times = {}
        for bucket in range(part * PART, min(self.n, (part + 1) * PART)):
            if self.done[bucket >> 3] >> (bucket & 7) & 1:
                items = self.kept.pop(bucket, ())
            else:
                items = self.items(bucket)
                self.done[bucket >> 3] |= <uint8_t>(1 << (bucket & 7))
            for name, value, at in items:
                out[name] = value
                if at:
                    self.times[name] = at
        return out

    def dump(self, object w, uint32_t part, set taken not None, dict left not None, int clock, int64_t now_ms,
             int64_t decay, bint compress):
        """Write the strings of a part as KeyTable.dump_slot: how many. The rest goes into the dict; no key of those
        taken is written, they may be among the rest. Nothing has changed when memory is short.
        """
        cdef list rest = []
        cdef dict times = {}
        cdef uint32_t bucket, start = part * PART, stop = min(self.n, (part + 1) * PART)
        cdef int64_t written = 0
        cdef Py_ssize_t before
        cdef set without = taken if taken else None
        cdef kt_dump how = kt_dump_how(clock, self.table.mode, now_ms, decay, compress)
        if not kt_is_writer(w):
            raise TypeError("a BytesWriter is needed")
        before = kt_written(w)
        try:
            for bucket in range(start, stop):
                if self.done[bucket >> 3] >> (bucket & 7) & 1:
                    rest.extend(self.kept.get(bucket, ()))
                else:
                    written += dump_chain(w, kt_bucket_at(self.table.t.slots + self.slot, bucket), &how, without, rest)
            for name, value, at in rest:
                left[name] = value
                if at:
                    times[name] = at
        except BaseException:
            kt_cut(w, before)
            raise
        self.times = times
        for bucket in range(start, stop):
            self.done[bucket >> 3] |= <uint8_t>(1 << (bucket & 7))
            self.kept.pop(bucket, None)
        return written

    def expire_at(self, bytes key not None):
        """When a key that was given out last expires, 0 for never."""
        return self.times.get(key, 0)

    def close(self):
        """Nothing more is wanted: the slot may change as it likes."""
        self.leave()
        self.kept = {}
        self.times = {}
