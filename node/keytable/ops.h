/* What changes a table: keys come, change and go, slots grow and shrink; and how keys expire and are drawn by chance. */
#ifndef KT_OPS_H
#define KT_OPS_H

#include "table.h"

/* --- tables */
static void kt_init(kt_table *t, uint64_t seed) {
    memset(t, 0, sizeof *t);
    t->next_due = KT_NEVER;
    t->pass_slot = -1;
    t->chance = seed | 1;
}

static inline uint64_t kt_random(kt_table *t) { /* xorshift64* */
    uint64_t x = t->chance;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    t->chance = x;
    return (x * 0x2545f4914f6cdd1dull) >> 16;
}

/* Something in this bucket is about to change: have the views of the slot take it as it is. */
static inline bool kt_warn(kt_table *t, uint32_t slot, uint32_t bucket) {
    if (__builtin_expect(t->views == 0, 1) || !t->frozen[slot]) return true;
    return t->before(t->context, slot, bucket);
}

static inline bool kt_frozen(const kt_table *t, uint32_t slot) { return t->views && t->frozen[slot]; }

/* Have the tables that the first key, or the first expiry, needs. */
static bool kt_prepare(kt_table *t, bool expires) {
    if (!t->slots && !(t->slots = kt_fails() ? NULL : calloc(KT_SLOTS + KT_GRAVES, sizeof *t->slots))) return false;
    if (!expires || t->due) return true;
    t->due = kt_fails() ? NULL : malloc((KT_SLOTS + KT_GRAVES) * sizeof *t->due);
    if (!t->due) return false;
    for (int i = 0; i < KT_SLOTS + KT_GRAVES; i++) t->due[i] = KT_NEVER;
    return true;
}

static inline void kt_counted(kt_table *t, uint32_t slot, int by, bool vol) {
    kt_slot *s = t->slots + slot;
    s->count += (uint32_t)by;
    if (slot >= KT_SLOTS) {
        if (vol) s->vol += (uint32_t)by;
        return;
    }
    t->count += (uint64_t)(int64_t)by;
    t->groups[slot / KT_GROUP] += (uint32_t)by;
    if (vol) {
        s->vol += (uint32_t)by;
        t->vol += (uint64_t)(int64_t)by;
        t->vol_groups[slot / KT_GROUP] += (uint32_t)by;
    }
}

/* Take all keys of a slot without views away at once; they are freed later. False when there is no place for them. */
static bool kt_condemn(kt_table *t, uint32_t slot) {
    kt_slot *s = t->slots + slot, *grave = t->slots + KT_SLOTS;
    assert(slot < KT_SLOTS && !kt_frozen(t, slot));
    while (grave < t->slots + KT_SLOTS + KT_GRAVES && grave->n) grave++;
    if (grave == t->slots + KT_SLOTS + KT_GRAVES) return false;
    *grave = *s;
    memset(s, 0, sizeof *s);
    t->count -= grave->count;
    t->vol -= grave->vol;
    t->groups[slot / KT_GROUP] -= grave->count;
    t->vol_groups[slot / KT_GROUP] -= grave->vol;
    if (t->due) t->due[slot] = KT_NEVER;
    if (t->pass_slot == (int32_t)slot) t->pass_slot = -1;
    return true;
}

static inline void kt_weighed(kt_table *t, kt_shape s, int by) {
    if (s.flags & KT_REF) t->refs += (uint64_t)(int64_t)by;
    if (kt_size(s) > KT_SMALL) t->long_blocks += (uint64_t)(int64_t)by;
}

/* --- expiry: bounds from below of what expires when */
static inline void kt_sooner(int64_t *due, int64_t at) {
    if (at < *due) *due = at;
}

static void kt_arm(kt_table *t, uint32_t slot, uint32_t bucket, int64_t at) {
    kt_slot *s = t->slots + slot;
    kt_sooner(&t->due[slot], at);
    kt_sooner(&t->next_due, at);
    if (s->n > KT_SEGMENT) kt_sooner(&s->at.dir[bucket / KT_SEGMENT].due, at);
    if (t->pass_slot == (int32_t)slot) {
        kt_sooner(&t->pass_due, at);
        kt_sooner(&t->segment_due, at);
    }
}

/* --- growing and shrinking */
static void kt_grow(kt_table *t, uint32_t slot) {
    kt_slot *s = t->slots + slot;
    uint32_t n = s->n, level = kt_level(n), low = n - level;
    if (!kt_warn(t, slot, low)) return;
    /* Each entry's key is hashed: have them come all at once. */
    for (kt_bucket *b = kt_bucket_at(s, low); b; b = b->next)
        for (int i = 0; i < b->n; i++) __builtin_prefetch(b->entry[i]);
    /* Chained buckets, as many as the old chain has: more the new one can't need. */
    kt_bucket *spare = NULL;
    for (kt_bucket *b = kt_bucket_at(s, low)->next; b; b = b->next) {
        kt_bucket *more = kt_alloc_buckets(&t->slab, 1);
        if (!more) break;
        more->next = spare;
        spare = more;
        if (!b->next) goto enough;
    }
    if (kt_bucket_at(s, low)->next) goto out;
enough:
    if (!kt_reserve(t, s)) goto out;
    s->n = n + 1;
    kt_bucket *head = kt_bucket_at(s, low), *to = kt_bucket_at(s, n);
    assert(to->n == 0 && !to->next);
    for (kt_bucket *b = head; b; b = b->next) {
        for (int i = b->n - 1; i >= 0; i--) {
            if (!(kt_entry_hash(b->entry[i]) & level)) continue;
            if (to->n == KT_WIDTH) {
                kt_bucket *more = spare;
                assert(more);
                spare = more->next;
                more->next = NULL;
                to->next = more;
                to = more;
            }
            kt_bucket_add(to, b->entry[i], b->tag[i], b->vol >> i & 1);
            kt_bucket_drop(b, i);
        }
    }
    if (s->n > KT_SEGMENT) kt_sooner(&s->at.dir[n / KT_SEGMENT].due, s->at.dir[low / KT_SEGMENT].due);
    if (t->pass_slot == (int32_t)slot && n < t->pass_bucket) { /* keys come into what the pass has left */
        kt_sooner(&t->pass_due, t->due[slot]);
        kt_sooner(&t->segment_due, t->due[slot]);
    }
    kt_compact(t, head);
out:
    while (spare) {
        kt_bucket *next = spare->next;
        kt_free_buckets(&t->slab, spare, 1);
        spare = next;
    }
}

/* Put the last bucket together with the one that it was divided from. */
static bool kt_shrink(kt_table *t, uint32_t slot) {
    kt_slot *s = t->slots + slot;
    uint32_t last = s->n - 1, low = last - kt_level(last);
    assert(s->n > 1);
    kt_bucket *from = kt_bucket_at(s, last), *head = kt_bucket_at(s, low), *end = head;
    int room = KT_WIDTH - head->n;
    while (end->next) {
        end = end->next;
        room += KT_WIDTH - end->n;
    }
    for (kt_bucket *b = from->next; b; b = b->next) room += KT_WIDTH - b->n;
    kt_bucket *more = NULL;
    if (room < from->n && !(more = kt_alloc_buckets(&t->slab, 1))) return false;
    if (t->pass_slot == (int32_t)slot) { /* the pass may have been in `low` already, and not in `last` */
        for (kt_bucket *b = from; b; b = b->next)
            for (int i = 0; i < b->n; i++)
                if (b->vol >> i & 1) kt_arm(t, slot, low, kt_expire(b->entry[i], kt_shape_of(b->entry[i])));
    }
    if (s->n > KT_SEGMENT) kt_sooner(&s->at.dir[low / KT_SEGMENT].due, s->at.dir[last / KT_SEGMENT].due);
    end->next = from->next;
    from->next = NULL;
    if (more) {
        while (end->next) end = end->next;
        end->next = more;
    }
    kt_bucket *to = head;
    while (from->n) {
        while (to->n == KT_WIDTH) to = to->next;
        int i = from->n - 1;
        kt_bucket_add(to, from->entry[i], from->tag[i], from->vol >> i & 1);
        kt_bucket_drop(from, i);
    }
    kt_compact(t, head);
    kt_release(t, s);
    return true;
}

/* Free the arrays of a slot without keys. */
static void kt_free_arrays(kt_table *t, kt_slot *s) {
    if (s->n > KT_SEGMENT) {
        uint32_t last = (s->n - 1) / KT_SEGMENT;
        for (uint32_t i = 0; i <= last; i++) kt_free_buckets(&t->slab, s->at.dir[i].b, i == last ? s->cap : KT_SEGMENT);
        kt_free(&t->slab, s->at.dir, sizeof(kt_segment) << s->dir_log);
    } else if (s->n) {
        kt_free_buckets(&t->slab, s->at.array, s->cap);
    }
    s->at.array = NULL;
    s->n = s->cap = 0;
}

static inline void kt_adjust(kt_table *t, uint32_t slot) {
    kt_slot *s = t->slots + slot;
    if (s->count > s->n * KT_FILL) {
        kt_grow(t, slot);
        return;
    }
    if (s->count * 2 >= s->n * KT_FILL || kt_frozen(t, slot)) return;
    if (s->count == 0) {
        kt_free_arrays(t, s);
        if (t->due) t->due[slot] = KT_NEVER;
        if (t->pass_slot == (int32_t)slot) t->pass_slot = -1;
    } else {
        if (s->n > 1) kt_shrink(t, slot);
        if (s->n > 1 && s->count < s->n) kt_shrink(t, slot); /* many were put off while a view was open */
    }
}

/* --- one key */
/* Store a key that is not there. A reference in `value` becomes the table's. */
static uint8_t *kt_insert(kt_table *t, uint32_t slot, uint64_t hash, const char *key, kt_shape shape, int64_t expire,
                          const void *value) {
    bool vol = shape.flags & KT_EXPIRES;
    if (!kt_prepare(t, vol)) return NULL;
    kt_slot *s = t->slots + slot;
    uint8_t *e = kt_alloc(&t->slab, kt_size(shape));
    if (!e) return NULL;
    if (!s->n) {
        if (!kt_reserve(t, s)) goto failed;
        s->n = 1;
    }
    uint32_t bucket = kt_index(hash, s->n);
    if (!kt_warn(t, slot, bucket)) goto failed;
    kt_bucket *b = kt_bucket_at(s, bucket);
    while (b->n == KT_WIDTH) {
        if (!b->next && !(b->next = kt_alloc_buckets(&t->slab, 1))) goto failed;
        b = b->next;
    }
    kt_set_clock(e, 0);
    kt_write_head(e, shape, expire);
    memcpy(e + shape.at, key, shape.klen);
    memcpy(e + shape.at + shape.klen, value, shape.vlen);
    kt_bucket_add(b, e, kt_tag(hash), vol);
    kt_counted(t, slot, 1, vol);
    kt_weighed(t, shape, 1);
    if (vol) kt_arm(t, slot, bucket, expire);
    kt_adjust(t, slot);
    return e;
failed:
    kt_free(&t->slab, e, kt_size(shape));
    if (s->n && !s->count && !kt_frozen(t, slot)) kt_free_arrays(t, s);
    return NULL;
}

/* Give a key another value or another expiry. `value` NULL: the bytes or reference stay, `shape` has their length.
 * A reference that goes is the caller's to drop, one that comes becomes the table's. */
static bool kt_change(kt_table *t, uint32_t slot, kt_place *p, kt_shape shape, int64_t expire, const void *value) {
    uint8_t *old = p->e;
    kt_shape was = kt_shape_of(old);
    assert(was.klen == shape.klen && (value || was.vlen == shape.vlen));
    bool vol = shape.flags & KT_EXPIRES;
    size_t size = kt_size(shape), before = kt_size(was);
    if (!kt_prepare(t, vol) || !kt_warn(t, slot, p->bucket)) return false;
    uint8_t *e = old;
    if (kt_block(size) != kt_block(before)) {
        e = kt_alloc(&t->slab, size);
        if (!e) return false;
        memcpy(e, old, 3);
        memcpy(e + shape.at, old + was.at, shape.klen + (value ? 0 : shape.vlen));
    } else if (shape.at != was.at) {
        memmove(e + shape.at, old + was.at, shape.klen + (value ? 0 : shape.vlen));
    }
    if (value) memcpy(e + shape.at + shape.klen, value, shape.vlen);
    kt_write_head(e, shape, expire);
    kt_weighed(t, was, -1);
    kt_weighed(t, shape, 1);
    if (e != old) {
        p->b->entry[p->i] = p->e = e;
        kt_free(&t->slab, old, before);
    }
    if (vol != !!(was.flags & KT_EXPIRES)) {
        p->b->vol ^= (uint8_t)(1 << p->i);
        kt_slot *s = t->slots + slot;
        int by = vol ? 1 : -1;
        s->vol += (uint32_t)by;
        t->vol += (uint64_t)(int64_t)by;
        t->vol_groups[slot / KT_GROUP] += (uint32_t)by;
    }
    if (vol) kt_arm(t, slot, p->bucket, expire);
    return true;
}

/* Remove a key; its reference, if it has one, is the caller's. */
static bool kt_remove(kt_table *t, uint32_t slot, kt_place *p) {
    if (!kt_warn(t, slot, p->bucket)) return false;
    kt_shape shape = kt_shape_of(p->e);
    kt_bucket_drop(p->b, p->i);
    if (p->head->next) kt_compact(t, p->head);
    kt_weighed(t, shape, -1);
    kt_counted(t, slot, -1, shape.flags & KT_EXPIRES);
    kt_free(&t->slab, p->e, kt_size(shape));
    kt_adjust(t, slot);
    return true;
}

/* --- chance */
/* The entry at a random place of a slot that has one (of those that expire, with `vol`). */
static uint8_t *kt_pick_in(kt_table *t, kt_slot *s, bool vol) {
    for (int tries = 0; tries < 32; tries++) {
        kt_bucket *head = kt_bucket_at(s, (uint32_t)(kt_random(t) % s->n));
        uint32_t here = 0;
        for (kt_bucket *b = head; b; b = b->next) here += vol ? (uint32_t)__builtin_popcount(b->vol) : b->n;
        if (!here) continue;
        uint32_t place = (uint32_t)(kt_random(t) % (here < 12 ? 12 : here));
        if (place >= here) continue;
        for (kt_bucket *b = head; b; b = b->next)
            for (int i = 0; i < b->n; i++)
                if ((!vol || b->vol >> i & 1) && place-- == 0) return b->entry[i];
    }
    /* Few among many: the next from a random bucket on. */
    uint32_t i = (uint32_t)(kt_random(t) % s->n);
    for (uint32_t seen = 0; seen < s->n; seen++) {
        if (vol && s->n > KT_SEGMENT && s->at.dir[i / KT_SEGMENT].due == KT_NEVER) {
            uint32_t next = (i / KT_SEGMENT + 1) * KT_SEGMENT;
            seen += next - i - 1;
            i = next < s->n ? next : 0;
            continue;
        }
        for (kt_bucket *b = kt_bucket_at(s, i); b; b = b->next)
            for (int k = 0; k < b->n; k++)
                if (!vol || b->vol >> k & 1) return b->entry[k];
        i = i + 1 < s->n ? i + 1 : 0;
    }
    return NULL;
}

/* A random key, each about alike; NULL when there is none. */
static uint8_t *kt_pick(kt_table *t, bool vol, uint32_t *slot) {
    uint64_t total = vol ? t->vol : t->count;
    if (!total) return NULL;
    uint64_t place = kt_random(t) % total;
    const uint32_t *groups = vol ? t->vol_groups : t->groups;
    uint32_t g = 0;
    while (place >= groups[g]) place -= groups[g++];
    assert(g < KT_SLOTS / KT_GROUP);
    kt_slot *s = t->slots + g * KT_GROUP;
    while (place >= (vol ? s->vol : s->count)) place -= vol ? s->vol : s->count, s++;
    *slot = (uint32_t)(s - t->slots);
    return kt_pick_in(t, s, vol);
}

/* --- active expiry */
typedef int (*kt_gone)(void *context, uint32_t slot, const uint8_t *e);

/* Remove what is past in the bucket that the pass is in; false when `gone` or a view refused. */
static bool kt_expire_bucket(kt_table *t, int64_t now, uint64_t limit, uint64_t *removed, kt_gone gone, void *context) {
    uint32_t slot = (uint32_t)t->pass_slot;
again:;
    kt_slot *s = t->slots + slot;
    if (t->pass_slot < 0 || t->pass_bucket >= s->n) return true;
    kt_place p;
    p.bucket = t->pass_bucket;
    p.head = kt_bucket_at(s, p.bucket);
    for (p.b = p.head; p.b; p.b = p.b->next) {
        if (!p.b->vol) continue;
        for (p.i = 0; p.i < p.b->n; p.i++) {
            if (!(p.b->vol >> p.i & 1)) continue;
            p.e = p.b->entry[p.i];
            int64_t at = kt_expire(p.e, kt_shape_of(p.e));
            if (at >= now) {
                kt_sooner(&t->segment_due, at);
            } else {
                if (*removed >= limit) return false;
                if (!kt_warn(t, slot, p.bucket) || !gone(context, slot, p.e)) return false;
                kt_remove(t, slot, &p); /* the buckets may lie elsewhere now */
                ++*removed;
                goto again;
            }
        }
    }
    return true;
}

/* Leave the segment that the pass is in, and the slot when it was the last one. */
static void kt_pass_on(kt_table *t) {
    kt_slot *s = t->slots + t->pass_slot;
    bool ends = t->pass_bucket >= s->n;
    if (!ends && t->pass_bucket % KT_SEGMENT) return;
    uint32_t segment = (t->pass_bucket - 1) / KT_SEGMENT;
    if (s->n > KT_SEGMENT && segment * KT_SEGMENT < s->n) s->at.dir[segment].due = t->segment_due;
    kt_sooner(&t->pass_due, t->segment_due);
    t->segment_due = KT_NEVER;
    if (ends) {
        t->due[t->pass_slot] = t->pass_due;
        t->pass_slot = -1;
    }
}

/* Pass over segments in which nothing can be past. */
static void kt_pass_over(kt_table *t, int64_t now) {
    kt_slot *s = t->slots + t->pass_slot;
    while (s->n > KT_SEGMENT && t->pass_bucket < s->n && t->pass_bucket % KT_SEGMENT == 0 &&
           s->at.dir[t->pass_bucket / KT_SEGMENT].due >= now) {
        kt_sooner(&t->pass_due, s->at.dir[t->pass_bucket / KT_SEGMENT].due);
        t->pass_bucket += KT_SEGMENT;
        if (t->pass_bucket >= s->n) {
            t->due[t->pass_slot] = t->pass_due;
            t->pass_slot = -1;
            return;
        }
    }
}

/* Remove up to `limit` keys that are past. Returns how many it saw, walking and chunks given back counted in: a call
 * takes bounded time, and answers less than `limit` only when nothing is left to do. */
static uint64_t kt_expire_some(kt_table *t, int64_t now, uint64_t limit, kt_gone gone, void *context) {
    uint64_t seen = 0;
    if (!t->due || t->next_due >= now) return 0;
    while (seen < limit) {
        if (t->pass_slot < 0) {
            while (t->sweep < KT_SLOTS && t->due[t->sweep] >= now) t->sweep++;
            if (t->sweep == KT_SLOTS) {
                t->sweep = 0;
                t->next_due = KT_NEVER;
                for (int i = 0; i < KT_SLOTS; i++) kt_sooner(&t->next_due, t->due[i]);
                if (t->next_due >= now) break;
                continue;
            }
            t->pass_slot = t->sweep;
            t->pass_bucket = 0;
            t->pass_due = t->segment_due = KT_NEVER;
        }
        uint64_t removed = 0, walked = 0, held = t->slab.held;
        while (t->pass_slot >= 0) {
            kt_pass_over(t, now);
            if (t->pass_slot < 0) break;
            if (!kt_expire_bucket(t, now, limit - seen, &removed, gone, context)) return limit;
            if (t->pass_slot < 0) break;
            t->pass_bucket++;
            kt_pass_on(t);
            if (++walked / 32 + seen + kt_returned(&t->slab, held) >= limit) break;
        }
        uint64_t work = (walked + 31) / 32;
        seen += (removed > work ? removed : work ? work : 1) + kt_returned(&t->slab, held);
    }
    return seen;
}
#endif
