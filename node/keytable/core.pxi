# What the C of this package offers, and the numbers that methods answer.

cdef extern from "defrag.h":
    int KT_SLOTS, KT_GRAVES, KT_INLINE, KT_SMALL, KT_GROUP, KT_WIDTH
    int KT_REF, KT_EXPIRES, KT_LONG, KT_RAW, KT_TEXT, KT_LFU
    int64_t kt_fail_in
    ctypedef struct kt_region:
        kt_region *next
    ctypedef struct kt_slab:
        uint64_t used, held, external, outside
        kt_region *regions
        kt_region *newest
        void *pass_ "pass"
    uint64_t kt_returned(const kt_slab *s, uint64_t held)
    ctypedef struct kt_bucket:
        uint8_t n, vol
        uint8_t *entry[6]
        uint8_t tag[6]
        kt_bucket *next
    ctypedef struct kt_slot:
        uint32_t n, count, vol
        uint16_t cap, dir_log
    ctypedef struct kt_table:
        kt_slot *slots
        int64_t *due
        uint8_t *frozen
        uint64_t count, vol, refs, long_blocks
        uint32_t *groups
        uint32_t *vol_groups
        uint32_t views
        int64_t next_due
        int32_t pass_slot, sweep
        uint32_t pass_bucket
        kt_slab slab
        uint64_t moved, stayed, keys_moved, keys_stayed
        int (*before)(void *context, uint32_t slot, uint32_t bucket) noexcept
        void *context
    ctypedef struct kt_shape:
        uint8_t flags
        uint32_t klen, vlen, at
    ctypedef struct kt_place:
        kt_bucket *head
        kt_bucket *b
        int i
        uint8_t *e
        uint32_t bucket
    kt_shape kt_shape_of(const uint8_t *e) nogil
    size_t kt_size(kt_shape s) nogil
    size_t kt_block(size_t size) nogil
    kt_shape kt_make_shape(uint32_t klen, uint32_t vlen, uint8_t keep, bint expires) nogil
    uint32_t kt_clock(const uint8_t *e) nogil
    void kt_set_clock(uint8_t *e, uint32_t clock) nogil
    int64_t kt_expire(const uint8_t *e, kt_shape s) nogil
    PyObject *kt_object(const uint8_t *e, kt_shape s) nogil
    uint64_t kt_hash(const uint8_t *key, size_t len) nogil
    uint32_t kt_level(uint32_t n) nogil
    uint32_t kt_index(uint64_t hash, uint32_t n) nogil
    uint8_t kt_tag(uint64_t hash) nogil
    kt_bucket *kt_bucket_at(const kt_slot *s, uint32_t i) nogil
    bint kt_find(const kt_table *t, uint32_t slot, const char *key, size_t klen, uint64_t hash, kt_place *p)
    void kt_init(kt_table *t, uint64_t seed)
    uint64_t kt_random(kt_table *t)
    bint kt_prepare(kt_table *t, bint expires)
    bint kt_warn(kt_table *t, uint32_t slot, uint32_t bucket)
    uint8_t *kt_insert(kt_table *t, uint32_t slot, uint64_t hash, const char *key, kt_shape shape, int64_t expire,
                       const void *value)
    bint kt_change(kt_table *t, uint32_t slot, kt_place *p, kt_shape shape, int64_t expire, const void *value)
    bint kt_remove(kt_table *t, uint32_t slot, kt_place *p)
    bint kt_condemn(kt_table *t, uint32_t slot)
    void kt_release(kt_table *t, kt_slot *s)
    uint64_t kt_weigh_arrays(const kt_slot *s)
    void kt_counted(kt_table *t, uint32_t slot, int by, bint vol)
    void kt_weighed(kt_table *t, kt_shape s, int by)
    void kt_free_buckets(kt_slab *s, void *p, size_t n)
    void kt_free(kt_slab *s, void *p, size_t size)
    void kt_drop_region(kt_slab *s, kt_region *r)
    void kt_trim(kt_slab *s)
    uint8_t *kt_pick(kt_table *t, bint vol, uint32_t *slot)
    void kt_adjust(kt_table *t, uint32_t slot)
    uint64_t kt_expire_some(kt_table *t, int64_t now, uint64_t limit,
                            int (*gone)(void *context, uint32_t slot, const uint8_t *e) noexcept, void *context)
    int kt_defragment(kt_table *t, int64_t work)
    void kt_stop_pass(kt_table *t)
    bint kt_sound(const kt_slab *s)

cdef extern from "wire.h":
    int kt_import_writer() except -1
    bint kt_is_writer(object w)
    bint kt_write_bulk(object writer, const char *data, size_t len) except False
    bint kt_write_integer(object writer, const char *digits, size_t len) except False
    char *kt_digits(char *end, int64_t value)
    bint kt_parse(const uint8_t *data, size_t len, int64_t *value)
    void kt_make_crc()
    bint kt_stretch(PyObject **text, Py_ssize_t size)
    uint32_t kt_slot_of(const char *key, size_t len)

cdef extern from *:
    """
    #define kt_prefetch(p) __builtin_prefetch(p)
    static inline int kt_add_overflows(int64_t a, int64_t b, int64_t *sum) { return __builtin_add_overflow(a, b, sum); }
    #if defined(__GLIBC__)
    #include <malloc.h>
    #define kt_trim_heap() malloc_trim(0)
    #else
    #define kt_trim_heap() 0
    #endif
    #if defined(KT_EVERY_BLOCK_MALLOC)
    #define KT_CHECKED 1
    #else
    #define KT_CHECKED 0
    #endif
    """
    void kt_prefetch(const void *p) nogil
    bint kt_add_overflows(int64_t a, int64_t b, int64_t *sum) nogil
    int kt_trim_heap()
    bint KT_CHECKED

# The codes of node.keyspace, and some of our own.
cdef enum:
    MISSING = 0
    DONE = 1
    CREATED = 2
    SAME = 3  # the very container is there already
    LARGE = 4
    WRONG_TYPE = -1
    NOT_AN_INTEGER = -2
    OVERFLOW = -3
    EXPIRED = -4  # there, but its time is over: the caller decides
    CONTAINER = -5  # a container stands in the way, and the caller has to take it out first

cdef enum:
    LFU = 2
    LFU_START = 5
    PART = 32  # buckets of a view that are given out together
    LONGEST = 0x7fffff00  # of a key
    BY_REFERENCE = 65536  # as in node.keyspace
