/* The table of one database: 16384 slots, each a table by linear hashing, in buckets of one cache line.
 *
 * A bucket has up to six entries, and a chain of further buckets where its keys are more. A slot grows and shrinks by
 * one bucket at a time: bucket n is divided off from bucket n - 2^L, and put together with it again. Up to KT_SEGMENT
 * buckets lie in one array, more in segments of so many, so that no step copies more than 32 KB.
 *
 * An entry is one block: clock and flags (4 bytes), lengths (1 + 1, or 4 + 4), expiry (8, where it has one), key, and
 * the value's bytes or a reference to a Python object. Nothing but its bucket points to it.
 *
 * Functions return false or NULL when memory is short, and nothing has changed then. The hash of a key is CPython's,
 * seeded for each process. Every caller holds the GIL.
 */
#ifndef KT_TABLE_H
#define KT_TABLE_H

#include <Python.h>

#include "slab.h"

#define KT_SLOTS 16384
#define KT_GRAVES 64 /* slots behind the others that hold what was removed as a whole, until it is freed */
#define KT_GROUP 128 /* slots whose keys are counted together */
#define KT_SEGMENT 512
#define KT_FILL 4 /* keys a bucket on average from which a slot grows */
#define KT_WIDTH 6
#define KT_INLINE 1024 /* longest value that lies in the entry */
#define KT_NEVER INT64_MAX

#define KT_REF 1    /* the value is a reference */
#define KT_EXPIRES 2
#define KT_LONG 4   /* lengths of four bytes */
#define KT_RAW 8    /* a string that was grown in place */
#define KT_TEXT 16  /* a string that only looks like an integer */
#define KT_LFU 32   /* the clock is LFU's */

typedef struct kt_bucket {
    uint8_t n;
    uint8_t vol; /* which of them expire */
    uint8_t tag[KT_WIDTH];
    uint8_t *entry[KT_WIDTH];
    struct kt_bucket *next;
} kt_bucket;

typedef struct {
    kt_bucket *b;
    int64_t due; /* no key of the segment expires before this, ms */
} kt_segment;

typedef struct {
    union {
        kt_bucket *array;
        kt_segment *dir;
    } at;
    uint32_t n;       /* buckets, chained ones left aside */
    uint16_t cap;     /* buckets that the array, or the last segment, has place for */
    uint16_t dir_log; /* the directory has place for 2^this segments */
    uint32_t count; /* keys */
    uint32_t vol;   /* of these, with an expiry */
} kt_slot;

typedef struct kt_table {
    kt_slot *slots; /* NULL before the first key */
    int64_t *due;   /* by slot, NULL before the first expiry */
    uint8_t *frozen; /* by slot, NULL before the first view: number of views */
    uint64_t count, vol; /* what was removed as a whole is not counted here, but in all that follows */
    uint64_t refs; /* entries with a reference */
    uint64_t long_blocks; /* entries that are not in a chunk */
    uint32_t groups[KT_SLOTS / KT_GROUP]; /* keys of each */
    uint32_t vol_groups[KT_SLOTS / KT_GROUP];
    uint32_t views;
    int64_t next_due; /* no key of any slot expires before this */
    /* active expiry: the slot that it is in (-1: none), and the earliest expiry that it leaves there */
    int32_t pass_slot, sweep;
    uint32_t pass_bucket;
    int64_t pass_due, segment_due;
    uint64_t chance;
    kt_slab slab;
    /* defragmentation: blocks that were moved, and that it looked at and left; entries among them */
    uint64_t moved, stayed, keys_moved, keys_stayed;
    /* called before bucket `bucket` of a slot with views is divided; 0: leave it */
    int (*before)(void *context, uint32_t slot, uint32_t bucket);
    void *context;
} kt_table;

_Static_assert(sizeof(kt_bucket) == 64, "a bucket is one cache line");

/* --- entries */
typedef struct {
    uint8_t flags;
    uint32_t klen, vlen; /* vlen is 8 for a reference */
    uint32_t at;         /* where the key begins */
} kt_shape;

static inline kt_shape kt_shape_of(const uint8_t *e) {
    kt_shape s;
    s.flags = e[3];
    if (s.flags & KT_LONG) {
        memcpy(&s.klen, e + 4, 4);
        memcpy(&s.vlen, e + 8, 4);
        s.at = 12;
    } else {
        s.klen = e[4];
        s.vlen = e[5];
        s.at = 6;
    }
    if (s.flags & KT_EXPIRES) s.at += 8;
    return s;
}

static inline size_t kt_size(kt_shape s) { return (size_t)s.at + s.klen + s.vlen; }

/* A shape for these lengths; `keep` are the flags KT_REF, KT_RAW, KT_TEXT and KT_LFU. */
static inline kt_shape kt_make_shape(uint32_t klen, uint32_t vlen, uint8_t keep, bool expires) {
    kt_shape s;
    s.klen = klen;
    s.vlen = vlen;
    s.flags = (uint8_t)(keep & ~(KT_LONG | KT_EXPIRES));
    s.at = 6;
    if (klen > 255 || vlen > 255) {
        s.flags |= KT_LONG;
        s.at = 12;
    }
    if (expires) {
        s.flags |= KT_EXPIRES;
        s.at += 8;
    }
    return s;
}

static inline uint32_t kt_clock(const uint8_t *e) { return (uint32_t)e[0] | (uint32_t)e[1] << 8 | (uint32_t)e[2] << 16; }

static inline void kt_set_clock(uint8_t *e, uint32_t clock) {
    e[0] = (uint8_t)clock;
    e[1] = (uint8_t)(clock >> 8);
    e[2] = (uint8_t)(clock >> 16);
}

/* All but clock and key and value. */
static inline void kt_write_head(uint8_t *e, kt_shape s, int64_t expire) {
    e[3] = s.flags;
    if (s.flags & KT_LONG) {
        memcpy(e + 4, &s.klen, 4);
        memcpy(e + 8, &s.vlen, 4);
    } else {
        e[4] = (uint8_t)s.klen;
        e[5] = (uint8_t)s.vlen;
    }
    if (s.flags & KT_EXPIRES) memcpy(e + s.at - 8, &expire, 8);
}

static inline int64_t kt_expire(const uint8_t *e, kt_shape s) {
    int64_t at = 0;
    if (s.flags & KT_EXPIRES) memcpy(&at, e + s.at - 8, 8);
    return at;
}

static inline PyObject *kt_object(const uint8_t *e, kt_shape s) {
    PyObject *o;
    assert(s.flags & KT_REF && s.vlen == sizeof o);
    memcpy(&o, e + s.at + s.klen, sizeof o);
    return o;
}

static inline uint64_t kt_hash(const uint8_t *key, size_t len) {
#if PY_VERSION_HEX >= 0x030e0000
    return (uint64_t)Py_HashBuffer(key, (Py_ssize_t)len);
#else
    return (uint64_t)_Py_HashBytes(key, (Py_ssize_t)len);
#endif
}

static inline uint64_t kt_entry_hash(const uint8_t *e) {
    kt_shape s = kt_shape_of(e);
    return kt_hash(e + s.at, s.klen);
}

static inline uint8_t kt_tag(uint64_t hash) { return (uint8_t)(hash >> 56); }

/* --- buckets */
/* 2^L, the largest power of two that is not above n; n > 0. */
static inline uint32_t kt_level(uint32_t n) { return (uint32_t)1 << (31 - __builtin_clz(n)); }

static inline uint32_t kt_index(uint64_t hash, uint32_t n) {
    uint32_t level = kt_level(n), i = (uint32_t)hash & (level * 2 - 1);
    return i < n ? i : i & (level - 1);
}

static inline kt_bucket *kt_bucket_at(const kt_slot *s, uint32_t i) {
    assert(i < s->n);
    return s->n <= KT_SEGMENT ? s->at.array + i : s->at.dir[i / KT_SEGMENT].b + i % KT_SEGMENT;
}

typedef struct {
    kt_bucket *head; /* of the chain */
    kt_bucket *b;
    int i;
    uint8_t *e;
    uint32_t bucket;
} kt_place;

static inline int kt_search(const kt_bucket *b, const char *key, size_t klen, uint8_t tag) {
    uint64_t word;
    memcpy(&word, b, 8);
    uint64_t x = (word >> 16) ^ (0x0000010101010101ull * tag); /* bytes that agree become 0; the first is tag[0] */
    uint64_t hit = (x - 0x0000010101010101ull) & ~x & 0x0000808080808080ull;
    while (hit) {
        int i = __builtin_ctzll(hit) >> 3;
        if (i >= b->n) break;
        const uint8_t *e = b->entry[i];
        kt_shape s = kt_shape_of(e);
        if (s.klen == klen && memcmp(e + s.at, key, klen) == 0) return i;
        hit &= hit - 1;
    }
    return -1;
}

static inline bool kt_find(const kt_table *t, uint32_t slot, const char *key, size_t klen, uint64_t hash, kt_place *p) {
    assert(slot < KT_SLOTS);
    if (!t->slots) return false;
    kt_slot *s = t->slots + slot;
    if (!s->n) return false;
    p->bucket = kt_index(hash, s->n);
    p->head = kt_bucket_at(s, p->bucket);
    for (kt_bucket *b = p->head; b; b = b->next) {
        int i = kt_search(b, key, klen, kt_tag(hash));
        if (i >= 0) {
            p->b = b;
            p->i = i;
            p->e = b->entry[i];
            return true;
        }
    }
    return false;
}

static inline void kt_bucket_add(kt_bucket *b, uint8_t *e, uint8_t tag, bool vol) {
    int i = b->n++;
    assert(i < KT_WIDTH);
    b->tag[i] = tag;
    b->entry[i] = e;
    b->vol = (uint8_t)(b->vol | (int)vol << i);
}

/* Remove entry i of a bucket; its last one takes the place. */
static inline void kt_bucket_drop(kt_bucket *b, int i) {
    int last = --b->n;
    assert(i <= last);
    bool vol = b->vol >> last & 1;
    b->tag[i] = b->tag[last];
    b->entry[i] = b->entry[last];
    b->vol = (uint8_t)((b->vol & ~(1 << i) & ~(1 << last)) | ((i == last ? 0 : (int)vol) << i));
    b->entry[last] = NULL;
}

/* Fill the places of a chain from its end, and give back the buckets that this empties. */
static void kt_compact(kt_table *t, kt_bucket *head) {
    while (head->next) {
        kt_bucket *before = head, *last = head->next, *room = head->n < KT_WIDTH ? head : NULL;
        while (last->next) {
            if (!room && last->n < KT_WIDTH) room = last;
            before = last;
            last = last->next;
        }
        while (last->n && room) {
            int i = last->n - 1;
            kt_bucket_add(room, last->entry[i], last->tag[i], last->vol >> i & 1);
            kt_bucket_drop(last, i);
            while (room && room->n == KT_WIDTH) room = room->next == last ? NULL : room->next;
        }
        if (last->n) return;
        before->next = NULL;
        kt_free_buckets(&t->slab, last, 1);
    }
}

/* --- the arrays of a slot */
static inline uint32_t kt_next_cap(uint32_t cap) {
    cap += cap < 8 ? 1 : cap / 8;
    return cap > KT_SEGMENT ? KT_SEGMENT : cap;
}

static bool kt_resize_array(kt_table *t, kt_bucket **array, uint32_t from, uint32_t used, uint32_t to) {
    kt_bucket *b = kt_alloc_buckets(&t->slab, to);
    if (!b) return false;
    if (used) memcpy(b, *array, (size_t)used * 64);
    if (from) kt_free_buckets(&t->slab, *array, from);
    *array = b;
    return true;
}

/* Bytes of a slot's arrays. */
static uint64_t kt_weigh_arrays(const kt_slot *s) {
    if (s->n <= KT_SEGMENT) return (uint64_t)s->cap * 64;
    uint64_t full = (s->n - 1) / KT_SEGMENT;
    return (full * KT_SEGMENT + s->cap) * 64 + kt_block(sizeof(kt_segment) << s->dir_log);
}

/* Make place for one more bucket. */
static bool kt_reserve(kt_table *t, kt_slot *s) {
    uint32_t n = s->n;
    if (n < KT_SEGMENT) {
        if (n < s->cap) return true;
        uint16_t cap = (uint16_t)kt_next_cap(s->cap);
        if (!kt_resize_array(t, &s->at.array, s->cap, n, cap)) return false;
        s->cap = cap;
        return true;
    }
    uint32_t segments = (n + KT_SEGMENT - 1) / KT_SEGMENT;
    if (n % KT_SEGMENT) {
        if (n % KT_SEGMENT < s->cap) return true;
        uint16_t cap = (uint16_t)kt_next_cap(s->cap);
        if (!kt_resize_array(t, &s->at.dir[segments - 1].b, s->cap, n % KT_SEGMENT, cap)) return false;
        s->cap = cap;
        return true;
    }
    kt_bucket *b = kt_alloc_buckets(&t->slab, 8);
    if (!b) return false;
    kt_segment *dir = n == KT_SEGMENT ? NULL : s->at.dir;
    if (!dir || segments == (uint32_t)1 << s->dir_log) {
        uint16_t log = dir ? (uint16_t)(s->dir_log + 1) : 1;
        kt_segment *more = kt_alloc(&t->slab, sizeof *more << log);
        if (!more) {
            kt_free_buckets(&t->slab, b, 8);
            return false;
        }
        if (dir) {
            memcpy(more, dir, segments * sizeof *more);
            kt_free(&t->slab, dir, sizeof *more << s->dir_log);
        } else {
            assert(s->cap == KT_SEGMENT);
            more[0].b = s->at.array;
            more[0].due = t->due ? t->due[s - t->slots] : KT_NEVER;
        }
        dir = more;
        s->dir_log = log;
    }
    dir[segments].b = b;
    dir[segments].due = KT_NEVER;
    /* Until n is KT_SEGMENT + 1 the slot has an array: the caller puts n up at once. */
    s->at.dir = dir;
    s->cap = 8;
    return true;
}

/* Take the last bucket, an empty one without a chain, away. */
static void kt_release(kt_table *t, kt_slot *s) {
    uint32_t n = --s->n, segments = n / KT_SEGMENT;
    if (n == 0) {
        kt_free_buckets(&t->slab, s->at.array, s->cap);
        s->at.array = NULL;
        s->cap = 0;
    } else if (n < KT_SEGMENT) {
        uint16_t cap = (uint16_t)kt_next_cap(n);
        if (kt_next_cap(cap) < s->cap && kt_resize_array(t, &s->at.array, s->cap, n, cap)) s->cap = cap;
    } else if (n % KT_SEGMENT == 0) {
        kt_segment *dir = s->at.dir;
        kt_free_buckets(&t->slab, dir[segments].b, s->cap);
        s->cap = KT_SEGMENT; /* a segment that is full has this capacity */
        if (segments == 1) {
            if (t->due && dir[0].due < t->due[s - t->slots]) t->due[s - t->slots] = dir[0].due;
            s->at.array = dir[0].b;
            kt_free(&t->slab, dir, sizeof *dir << s->dir_log);
        } else if (segments * 4 <= (uint32_t)1 << s->dir_log) {
            kt_segment *less = kt_alloc(&t->slab, sizeof *less << (s->dir_log - 1));
            if (less) {
                memcpy(less, dir, segments * sizeof *less);
                kt_free(&t->slab, dir, sizeof *less << s->dir_log);
                s->at.dir = less;
                s->dir_log--;
            }
        }
    } else {
        uint32_t here = n % KT_SEGMENT;
        uint16_t cap = (uint16_t)kt_next_cap(here);
        if (cap >= 8 && kt_next_cap(cap) < s->cap && kt_resize_array(t, &s->at.dir[segments].b, s->cap, here, cap))
            s->cap = cap;
    }
}
#endif
