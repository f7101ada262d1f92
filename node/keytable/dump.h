/* Entries of the RDB format written in place: for a string byte for byte what node/rdb/encode.py writes (write_key).
 *
 * Only strings that lie in their entry are written here (none of them is big as of node/rdb/pieces.py), and with
 * compression none with a key or value so long that it could be compressed: these are left to Python, which has them
 * all in one place.
 */
#ifndef KT_DUMP_H
#define KT_DUMP_H

#include "table.h"
#include "wire.h"

/* Numbers of node/rdb/opcodes.py and node/rdb/encode.py. */
#define KT_RDB_STRING 0
#define KT_RDB_IDLE 248
#define KT_RDB_FREQ 249
#define KT_RDB_EXPIRETIME_MS 252
#define KT_RDB_LENGTH_32 0x80
#define KT_RDB_NUMBER 0xc0          /* + 0, 1, 2: of 1, 2, 4 bytes */
#define KT_RDB_NUMBER_DIGITS 11     /* longer strings are no number of 32 bits */
#define KT_RDB_COMPRESS_FROM 21

/* How entries are written. */
typedef struct {
    int clock;       /* the access clock that is written: 0 none, 1 LRU, 2 LFU */
    uint8_t flag;    /* what KT_LFU has to be in an entry whose clock is of the kind that the table keeps */
    bool compress;
    int64_t seconds; /* since 1970 */
    int64_t minutes;
    int64_t decay;   /* minutes in which a counter loses one; 0: it loses none */
} kt_dump;

/* `mode`: the clock that the table keeps. */
static inline kt_dump kt_dump_how(int clock, int mode, int64_t now_ms, int64_t decay, bool compress) {
    kt_dump d;
    d.clock = mode ? clock : 0;
    d.flag = mode == 2 ? KT_LFU : 0;
    d.compress = compress;
    d.seconds = now_ms / 1000;
    d.minutes = now_ms / 60000;
    d.decay = decay;
    return d;
}

static inline uint8_t *kt_rdb_length(uint8_t *p, uint32_t n) {
    if (n < 64) {
        *p++ = (uint8_t)n;
    } else if (n < 16384) {
        *p++ = (uint8_t)(0x40 | n >> 8);
        *p++ = (uint8_t)n;
    } else {
        *p++ = KT_RDB_LENGTH_32;
        for (int shift = 24; shift >= 0; shift -= 8) *p++ = (uint8_t)(n >> shift);
    }
    return p;
}

static inline uint8_t *kt_rdb_string(uint8_t *p, const uint8_t *data, uint32_t len) {
    int64_t n;
    if (len <= KT_RDB_NUMBER_DIGITS && kt_parse(data, len, &n) && n == (int32_t)n) {
        int log = n == (int8_t)n ? 0 : n == (int16_t)n ? 1 : 2;
        *p++ = (uint8_t)(KT_RDB_NUMBER | log);
        for (int i = 0; i < 1 << log; i++) *p++ = (uint8_t)((uint64_t)n >> 8 * i);
        return p;
    }
    p = kt_rdb_length(p, len);
    memcpy(p, data, len);
    return p + len;
}

/* Have place for `more` bytes; false with MemoryError set. Unlike kt_room it fails when a test wants it to. */
static inline bool kt_dump_room(kt_writer *w, Py_ssize_t more) {
    if (w->capacity - w->len >= more) return true;
    if (kt_fails()) {
        PyErr_NoMemory();
        return false;
    }
    return kt_writer_grow(w, more);
}

/* Write an entry: 1 done, 0 it has to be written by Python, -1 with MemoryError set. */
static inline int kt_dump_entry(PyObject *writer, const uint8_t *e, const kt_dump *d) {
    kt_writer *w = (kt_writer *)writer;
    kt_shape s = kt_shape_of(e);
    if (s.flags & KT_REF) return 0;
    if (d->compress && (s.klen >= KT_RDB_COMPRESS_FROM || s.vlen >= KT_RDB_COMPRESS_FROM)) return 0;
    if (!kt_dump_room(w, (Py_ssize_t)s.klen + s.vlen + 32)) return -1;
    uint8_t *p = (uint8_t *)w->buf + w->len;
    int64_t at = kt_expire(e, s);
    if (at > 0) {
        *p++ = KT_RDB_EXPIRETIME_MS;
        for (int i = 0; i < 8; i++) *p++ = (uint8_t)((uint64_t)at >> 8 * i);
    }
    if (d->clock && (s.flags & KT_LFU) == d->flag) {
        uint32_t clock = kt_clock(e);
        if (d->clock == 1) {
            *p++ = KT_RDB_IDLE;
            p = kt_rdb_length(p, (uint32_t)(d->seconds - clock) & 0xffffff);
        } else {
            int64_t hits = clock & 255;
            if (d->decay) {
                int64_t lost = ((d->minutes - (clock >> 8)) & 0xffff) / d->decay;
                hits = hits > lost ? hits - lost : 0;
            }
            *p++ = KT_RDB_FREQ;
            *p++ = (uint8_t)hits;
        }
    }
    *p++ = KT_RDB_STRING;
    p = kt_rdb_string(p, e + s.at, s.klen);
    p = kt_rdb_string(p, e + s.at + s.klen, s.vlen);
    w->len = (char *)p - w->buf;
    return 1;
}

/* Bytes written so far, and back to so many of them. */
static inline Py_ssize_t kt_written(PyObject *writer) { return ((kt_writer *)writer)->len; }
static inline void kt_cut(PyObject *writer, Py_ssize_t len) { ((kt_writer *)writer)->len = len; }

/* Have the entries of a bucket on their way into the cache. */
static inline void kt_bucket_ahead(const kt_bucket *b) {
    for (int i = 0; i < b->n; i++) __builtin_prefetch(b->entry[i]);
}
#endif
