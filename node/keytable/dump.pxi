# Strings written in the RDB format without objects, for snapshots.

cdef extern from "dump.h":
    ctypedef struct kt_dump:
        pass
    kt_dump kt_dump_how(int clock, int mode, int64_t now_ms, int64_t decay, bint compress) nogil
    int kt_dump_entry(object writer, const uint8_t *e, const kt_dump *d) except -1
    Py_ssize_t kt_written(object writer)
    void kt_cut(object writer, Py_ssize_t len)
    void kt_bucket_ahead(const kt_bucket *b) nogil


cdef int64_t dump_chain(object w, const kt_bucket *b, const kt_dump *how, set taken, list left) except -1:
    """Write the strings of a bucket and of its chain: how many; what needs objects goes into the list as of items_in.

    Keys that are taken (None: there are none) are passed over.
    """
    cdef int i
    cdef int64_t written = 0
    cdef kt_shape s
    cdef const uint8_t *e
    while b != NULL:
        for i in range(b.n):
            e = b.entry[i]
            if taken is not None and key_of(e) in taken:
                continue
            if kt_dump_entry(w, e, how):
                written += 1
                continue
            s = kt_shape_of(e)
            left.append((key_of(e), value_of(e, s), kt_expire(e, s)))
        b = b.next
    return written


cdef int dump_all(object w, const kt_slot *s, const kt_dump *how, list left) except -1:
    """Write the strings of a slot, as dump_chain; nothing is written when memory is short."""
    cdef uint32_t i
    cdef Py_ssize_t before = kt_written(w)
    try:
        for i in range(s.n):
            if i + 1 < s.n:
                kt_bucket_ahead(kt_bucket_at(s, i + 1))
            dump_chain(w, kt_bucket_at(s, i), how, None, left)
    except BaseException:
        kt_cut(w, before)
        raise
    return 0
