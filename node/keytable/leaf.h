/* Leaves: some hundred elements of a big hash, set or sorted set, packed into one block of memory.
 *
 * A block is a head, the places of its entries, a tag of one byte for each, and an area that entries are written into
 * one after the other. An entry is [score, 8 bytes] key [value]: no value in a set, a score in a sorted set, both
 * strings in a hash. A string is its length and its bytes; from LF_INLINE bytes on, a reference to a bytes object.
 *
 *   length 0 to 253: 1 byte    to LF_INLINE: 254 and 2 bytes    longer: 255 and a pointer of 8 bytes
 *
 * Of two kinds the entries are found by the tag, 8 bits of CPython's seeded hash, and their number says nothing. Those
 * of LF_ORDER are in the order of (score, key), have no tags, and are found by halving.
 *
 * What an entry leaves behind is a hole in the area; blocks are written anew when they have to grow, or when a quarter
 * of them is of no use, with one eighth to spare. Functions return false or NULL when memory is short, and nothing has
 * changed then. Every caller holds the GIL.
 */
#ifndef KT_LEAF_H
#define KT_LEAF_H

#include <Python.h>

#include "table.h"

#define LF_INLINE 512
#define LF_NARROW 65000 /* bytes of an area whose places are of two bytes */
#define LF_LARGEST ((size_t)1 << 30)

enum { LF_SET = 0, LF_SCORES = 1, LF_HASH = 2, LF_ORDER = 3 };

typedef struct {
    uint32_t size;        /* bytes of the block */
    uint32_t n, room;     /* entries, and places for them */
    uint32_t area;        /* bytes for entries */
    uint32_t end, live;   /* of these, written at some time, and in use */
    uint8_t kind, wide;   /* places are of four bytes */
    uint64_t outside;     /* bytes of the objects that it refers to */
} lf_block;

/* What malloc takes for a block. */
static inline uint32_t lf_taken(const lf_block *l) { return l ? (l->size + 23) & ~(uint32_t)15 : 0; }
/* Bytes that are accounted for: block and objects. */
static inline uint64_t lf_weight(const lf_block *l) { return l ? lf_taken(l) + l->outside : 0; }

static inline uint32_t lf_width(const lf_block *l) { return (l->wide ? 4 : 2) + (l->kind != LF_ORDER); }
static inline uint8_t *lf_places(const lf_block *l) { return (uint8_t *)(l + 1); }
static inline uint8_t *lf_tags(const lf_block *l) { return lf_places(l) + (size_t)l->room * (l->wide ? 4 : 2); }
static inline uint8_t *lf_area(const lf_block *l) { return lf_places(l) + (size_t)l->room * lf_width(l); }

static inline uint32_t lf_place(const lf_block *l, uint32_t i) {
    assert(i < l->room);
    return l->wide ? ((const uint32_t *)lf_places(l))[i] : ((const uint16_t *)lf_places(l))[i];
}

static inline void lf_set_place(lf_block *l, uint32_t i, uint32_t at) {
    assert(i < l->room && at <= l->area);
    if (l->wide) ((uint32_t *)lf_places(l))[i] = at;
    else ((uint16_t *)lf_places(l))[i] = (uint16_t)at;
}

static inline uint8_t *lf_entry(const lf_block *l, uint32_t i) { return lf_area(l) + lf_place(l, i); }

/* --- strings in entries */
typedef struct {
    const char *p;
    size_t len;
    PyObject *ref; /* where it is one */
    uint32_t whole; /* bytes in the entry */
} lf_text;

static inline lf_text lf_read(const uint8_t *at) {
    lf_text t;
    if (at[0] < 254) {
        t.p = (const char *)at + 1;
        t.len = at[0];
        t.ref = NULL;
        t.whole = 1 + at[0];
    } else if (at[0] == 254) {
        uint16_t len;
        memcpy(&len, at + 1, 2);
        t.p = (const char *)at + 3;
        t.len = len;
        t.ref = NULL;
        t.whole = 3u + len;
    } else {
        memcpy(&t.ref, at + 1, sizeof t.ref);
        t.p = PyBytes_AS_STRING(t.ref);
        t.len = (size_t)PyBytes_GET_SIZE(t.ref);
        t.whole = 1 + sizeof t.ref;
    }
    return t;
}

static inline uint32_t lf_text_size(size_t len) {
    return len < 254 ? 1 + (uint32_t)len : len <= LF_INLINE ? 3 + (uint32_t)len : 1 + (uint32_t)sizeof(PyObject *);
}

/* What the object takes that a text refers to. */
static inline uint64_t lf_outside(lf_text t) { return t.ref ? kt_block(t.len + 33) : 0; }

/* Write a string, with a reference of its own where it is one. */
static inline void lf_write(lf_block *l, uint8_t *at, PyObject *text) {
    size_t len = (size_t)PyBytes_GET_SIZE(text);
    if (len < 254) {
        at[0] = (uint8_t)len;
        memcpy(at + 1, PyBytes_AS_STRING(text), len);
    } else if (len <= LF_INLINE) {
        uint16_t narrow = (uint16_t)len;
        at[0] = 254;
        memcpy(at + 1, &narrow, 2);
        memcpy(at + 3, PyBytes_AS_STRING(text), len);
    } else {
        at[0] = 255;
        Py_INCREF(text);
        memcpy(at + 1, &text, sizeof text);
        l->outside += kt_block(len + 33);
    }
}

static inline uint32_t lf_before_key(const lf_block *l) { return l->kind == LF_SCORES || l->kind == LF_ORDER ? 8 : 0; }
static inline lf_text lf_key(const lf_block *l, const uint8_t *e) { return lf_read(e + lf_before_key(l)); }

static inline lf_text lf_value(const lf_block *l, const uint8_t *e) {
    assert(l->kind == LF_HASH);
    return lf_read(e + lf_read(e).whole);
}

static inline double lf_score(const uint8_t *e) {
    double score;
    memcpy(&score, e, 8);
    return score;
}

static inline uint32_t lf_entry_size(const lf_block *l, const uint8_t *e) {
    uint32_t size = lf_before_key(l) + lf_key(l, e).whole;
    return l->kind == LF_HASH ? size + lf_read(e + size).whole : size;
}

static inline uint64_t lf_entry_outside(const lf_block *l, const uint8_t *e) {
    uint64_t bytes = lf_outside(lf_key(l, e));
    return l->kind == LF_HASH ? bytes + lf_outside(lf_value(l, e)) : bytes;
}

/* --- blocks */
/* A block with place for so many entries of so many bytes in all. */
static lf_block *lf_make(int kind, size_t room, size_t area) {
    bool wide = area > LF_NARROW;
    if (area > LF_LARGEST || room > LF_LARGEST / 8) return NULL;
    size_t width = (wide ? 4 : 2) + (kind != LF_ORDER);
    size_t size = ((sizeof(lf_block) + room * width + area + 23) & ~(size_t)15) - 8;
    lf_block *l = kt_fails() ? NULL : malloc(size);
    if (!l) return NULL;
    l->size = (uint32_t)size;
    l->n = 0;
    l->room = (uint32_t)room;
    l->area = (uint32_t)(size - sizeof(lf_block) - room * width);
    l->end = l->live = 0;
    l->kind = (uint8_t)kind;
    l->wide = wide;
    l->outside = 0;
    return l;
}

/* The same with one eighth to spare. */
static inline lf_block *lf_make_roomy(int kind, size_t n, size_t bytes) {
    return lf_make(kind, n + n / 8 + (n > 1), bytes + bytes / 8);
}

/* Add a copy of an entry of another block of the kind at the end of a block that has room for it, and count it. What it
 * refers to gets `more` references. */
static inline void lf_carry(lf_block *l, const lf_block *from, uint32_t i, bool more) {
    const uint8_t *e = lf_entry(from, i);
    uint32_t size = lf_entry_size(from, e);
    assert(l->n < l->room && l->end + size <= l->area);
    memcpy(lf_area(l) + l->end, e, size);
    lf_set_place(l, l->n, l->end);
    if (l->kind != LF_ORDER) lf_tags(l)[l->n] = lf_tags(from)[i];
    l->end += size;
    l->live += size;
    l->n++;
    if (from->outside) {
        l->outside += lf_entry_outside(from, e);
        if (more) {
            Py_XINCREF(lf_key(from, e).ref);
            if (from->kind == LF_HASH) Py_XINCREF(lf_value(from, e).ref);
        }
    }
}

/* Write a block anew, with place for one entry more of so many bytes (0: none). */
static bool lf_rewrite(lf_block **at, uint32_t bytes) {
    lf_block *old = *at, *l = lf_make_roomy(old->kind, (size_t)old->n + (bytes > 0), (size_t)old->live + bytes);
    if (!l) return false;
    if (old->end == old->live && old->wide == l->wide) { /* no holes: all at once */
        memcpy(lf_area(l), lf_area(old), old->end);
        memcpy(lf_places(l), lf_places(old), (size_t)old->n * (l->wide ? 4 : 2));
        if (l->kind != LF_ORDER) memcpy(lf_tags(l), lf_tags(old), old->n);
        l->n = old->n;
        l->end = l->live = old->end;
        l->outside = old->outside;
    } else {
        for (uint32_t i = 0; i < old->n; i++) lf_carry(l, old, i, false);
    }
    assert(l->live == old->live && l->outside == old->outside);
    free(old);
    *at = l;
    return true;
}

static inline bool lf_reserve(lf_block **at, int kind, uint32_t bytes, bool entry) {
    lf_block *l = *at;
    if (!l) return (*at = lf_make(kind, 1, bytes)) != NULL;
    if (l->area - l->end >= bytes && l->room - l->n >= entry) return true;
    return lf_rewrite(at, bytes);
}

/* Give memory back when a quarter of a block is of no use; without memory for that, later. */
static inline void lf_tighten(lf_block **at) {
    lf_block *l = *at;
    if (l->n == 0) {
        free(l);
        *at = NULL;
        return;
    }
    size_t need = sizeof *l + (size_t)l->n * lf_width(l) + l->live;
    if (need * 4 < (size_t)l->size * 3 && l->size - need > 64) lf_rewrite(at, 0);
}

/* --- entries */
/* Which entry has this key, -1: none. */
static inline int64_t lf_find(const lf_block *l, const char *key, size_t klen, uint64_t hash) {
    if (!l) return -1;
    const uint8_t *tags = lf_tags(l), *here = tags, *stop = tags + l->n;
    uint32_t skip = lf_before_key(l);
    while (here < stop && (here = memchr(here, kt_tag(hash), (size_t)(stop - here)))) {
        lf_text t = lf_read(lf_entry(l, (uint32_t)(here - tags)) + skip);
        if (t.len == klen && memcmp(t.p, key, klen) == 0) return here - tags;
        here++;
    }
    return -1;
}

/* Add an entry that is not there as number i, at the end where order is none. */
static bool lf_insert(lf_block **at, int kind, uint32_t i, uint64_t hash, PyObject *key, double score, PyObject *value) {
    uint32_t before = kind == LF_SCORES || kind == LF_ORDER ? 8 : 0;
    uint32_t ksize = lf_text_size((size_t)PyBytes_GET_SIZE(key));
    uint32_t size = before + ksize + (kind == LF_HASH ? lf_text_size((size_t)PyBytes_GET_SIZE(value)) : 0);
    if (!lf_reserve(at, kind, size, true)) return false;
    lf_block *l = *at;
    assert(l->kind == kind && i <= l->n);
    uint8_t *e = lf_area(l) + l->end;
    if (before) memcpy(e, &score, 8);
    lf_write(l, e + before, key);
    if (kind == LF_HASH) lf_write(l, e + ksize, value);
    if (i < l->n) {
        size_t width = l->wide ? 4 : 2;
        memmove(lf_places(l) + (i + 1) * width, lf_places(l) + i * width, (l->n - i) * width);
    }
    lf_set_place(l, i, l->end);
    if (kind != LF_ORDER) lf_tags(l)[i] = kt_tag(hash);
    l->n++;
    l->end += size;
    l->live += size;
    return true;
}

/* Another value for entry i of a hash. */
static bool lf_replace(lf_block **at, uint32_t i, PyObject *value) {
    lf_block *l = *at;
    uint8_t *e = lf_entry(l, i);
    uint32_t ksize = lf_read(e).whole, size = lf_text_size((size_t)PyBytes_GET_SIZE(value));
    lf_text old = lf_read(e + ksize);
    PyObject *gone = old.ref;
    uint64_t outside = lf_outside(old);
    if (size > old.whole) { /* to the end; the entry's old place becomes a hole */
        if (!lf_reserve(at, LF_HASH, ksize + size, false)) return false;
        l = *at;
        e = lf_entry(l, i);
        memcpy(lf_area(l) + l->end, e, ksize);
        lf_set_place(l, i, l->end);
        e = lf_area(l) + l->end;
        l->end += ksize + size;
    }
    l->live = l->live + size - old.whole;
    lf_write(l, e + ksize, value);
    l->outside -= outside;
    if (size < old.whole) lf_tighten(at);
    Py_XDECREF(gone);
    return true;
}

/* Let go what an entry refers to. */
static inline void lf_release(const lf_block *l, const uint8_t *e) {
    PyObject *value = l->kind == LF_HASH ? lf_value(l, e).ref : NULL;
    Py_XDECREF(lf_key(l, e).ref);
    Py_XDECREF(value);
}

/* Remove entries i to j; of those without order the last ones take their numbers. */
static void lf_remove(lf_block **at, uint32_t i, uint32_t j) {
    lf_block *l = *at;
    assert(i <= j && j <= l->n);
    size_t width = l->wide ? 4 : 2;
    for (uint32_t k = i; k < j; k++) {
        uint8_t *e = lf_entry(l, k);
        uint32_t size = lf_entry_size(l, e);
        l->live -= size;
        if (lf_place(l, k) + size == l->end) l->end -= size;
        if (l->outside) {
            l->outside -= lf_entry_outside(l, e);
            lf_release(l, e);
        }
    }
    if (l->kind == LF_ORDER) {
        memmove(lf_places(l) + i * width, lf_places(l) + j * width, (l->n - j) * width);
    } else {
        assert(j - i <= 1);
        if (i < j && j < l->n) {
            lf_set_place(l, i, lf_place(l, l->n - 1));
            lf_tags(l)[i] = lf_tags(l)[l->n - 1];
        }
    }
    l->n -= j - i;
    lf_tighten(at);
}

static void lf_free(lf_block *l) {
    if (!l) return;
    if (l->outside)
        for (uint32_t i = 0; i < l->n; i++) lf_release(l, lf_entry(l, i));
    free(l);
}

/* --- whole blocks */
/* A copy of the same size. */
static lf_block *lf_copy(const lf_block *from) {
    lf_block *l = kt_fails() ? NULL : malloc(from->size);
    if (!l) return NULL;
    memcpy(l, from, from->size);
    if (l->outside) {
        for (uint32_t i = 0; i < l->n; i++) {
            const uint8_t *e = lf_entry(l, i);
            Py_XINCREF(lf_key(l, e).ref);
            if (l->kind == LF_HASH) Py_XINCREF(lf_value(l, e).ref);
        }
    }
    return l;
}

/* A copy of entries i to j of one block, and those of another behind them where there is one; nothing to spare. */
static lf_block *lf_gather(const lf_block *a, uint32_t i, uint32_t j, const lf_block *b) {
    size_t bytes = b ? b->live : 0;
    for (uint32_t k = i; k < j; k++) bytes += lf_entry_size(a, lf_entry(a, k));
    lf_block *l = lf_make(a->kind, (size_t)(j - i) + (b ? b->n : 0), bytes);
    if (!l) return NULL;
    for (uint32_t k = i; k < j; k++) lf_carry(l, a, k, true);
    for (uint32_t k = 0; b && k < b->n; k++) lf_carry(l, b, k, true);
    return l;
}

static inline uint64_t lf_entry_hash(const lf_block *l, uint32_t i) {
    lf_text t = lf_key(l, lf_entry(l, i));
    return t.ref ? (uint64_t)PyObject_Hash(t.ref) : kt_hash((const uint8_t *)t.p, t.len);
}

/* Copies of the entries whose hash has this bit not set, and set; a half without any is NULL. */
static bool lf_divide(const lf_block *from, int bit, lf_block **low, lf_block **high) {
    uint32_t n[2] = {0, 0};
    size_t bytes[2] = {0, 0};
    lf_block *half[2] = {NULL, NULL};
    uint8_t *side = kt_fails() ? NULL : malloc(from->n);
    if (!side) return false;
    for (uint32_t i = 0; i < from->n; i++) {
        side[i] = lf_entry_hash(from, i) >> bit & 1;
        n[side[i]]++;
        bytes[side[i]] += lf_entry_size(from, lf_entry(from, i));
    }
    bool ok = true;
    for (int s = 0; s < 2; s++)
        if (n[s] && !(half[s] = lf_make_roomy(from->kind, n[s], bytes[s]))) ok = false;
    if (ok) {
        for (uint32_t i = 0; i < from->n; i++) lf_carry(half[side[i]], from, i, true);
        *low = half[0];
        *high = half[1];
    } else {
        free(half[0]);
        free(half[1]);
    }
    free(side);
    return ok;
}

/* --- order */
/* How an entry compares with (score, key): below 0 when it comes before. */
static inline int lf_compare(const lf_block *l, uint32_t i, double score, const char *key, size_t klen) {
    const uint8_t *e = lf_entry(l, i);
    double there = lf_score(e);
    if (there != score) return there < score ? -1 : 1;
    lf_text t = lf_read(e + 8);
    int order = memcmp(t.p, key, t.len < klen ? t.len : klen);
    return order ? order : t.len < klen ? -1 : t.len > klen;
}

/* How many entries come before (score, key). */
static inline uint32_t lf_rank(const lf_block *l, double score, const char *key, size_t klen) {
    uint32_t low = 0, high = l ? l->n : 0;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (lf_compare(l, mid, score, key, klen) < 0) low = mid + 1;
        else high = mid;
    }
    return low;
}

/* Whether all that a block keeps count of is right (tests). */
static bool lf_sound(const lf_block *l) {
    if (!l) return true;
    size_t live = 0;
    uint64_t outside = 0;
    if (l->n == 0 || l->n > l->room || l->end > l->area || l->live > l->end) return false;
    if (lf_area(l) + l->area != (uint8_t *)l + l->size) return false;
    for (uint32_t i = 0; i < l->n; i++) {
        const uint8_t *e = lf_entry(l, i);
        live += lf_entry_size(l, e);
        outside += lf_entry_outside(l, e);
        if (lf_place(l, i) + lf_entry_size(l, e) > l->end) return false;
        if (l->kind != LF_ORDER && lf_tags(l)[i] != kt_tag(lf_entry_hash(l, i))) return false;
        if (l->kind == LF_ORDER && i) {
            lf_text t = lf_read(e + 8);
            if (lf_compare(l, i - 1, lf_score(e), t.p, t.len) >= 0) return false;
        }
    }
    return live == l->live && outside == l->outside;
}
#endif
