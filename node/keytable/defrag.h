/* Active defragmentation: blocks of sparse chunks are moved into fuller ones, and the chunks go back to the system.
 *
 * A pass has four stages, each in bounded steps, between which the table may change as it likes:
 *   COUNT  walks the chunks, and counts those with a free block by class and by how full they are;
 *   MARK   walks them again, and takes the emptiest out of their class's list, as many as the others have room for:
 *          nothing is cut from a chunk that is leaving, and it is given back with its last block;
 *   WALK   goes over all slots, and moves what lies in a leaving chunk: arrays and directories of up to 512 bytes,
 *          chained buckets, entries. One pointer refers to each of them, and is put right;
 *   END    puts chunks that are not empty back into the lists of their classes. Keys that moved behind the walk's back
 *          into what it has left (a slot that shrinks) are all that such a chunk can have; the next pass sees to them.
 *
 * Nothing but where blocks lie is changed: no account, no clock, no order of keys, nothing that a view refers to.
 * A block that can't be moved for want of memory ends the pass, and stays where it is.
 */
#ifndef KT_DEFRAG_H
#define KT_DEFRAG_H

#include "ops.h"

#define KT_LEVELS 16        /* of how full a chunk is */
#define KT_DROP_WORK 64     /* giving 64 KB back takes as long as looking at so many buckets (10 us) */
#define KT_LEAST_GAIN 100   /* a pass gives back at least one chunk of so many, or is not made */

enum { KT_COUNT, KT_MARK, KT_WALK, KT_END };

typedef struct {
    uint32_t chunks[KT_LEVELS]; /* with a free block, by how full they are */
    uint64_t live;              /* blocks in those chunks */
    uint32_t leaving;           /* how many of them are to leave */
    uint32_t level, some;       /* all below this level, and some of it */
} kt_census;

typedef struct kt_pass {
    int stage;
    uint32_t slot, bucket; /* of the walk */
    uint64_t total;        /* chunks that were counted, full ones too */
    kt_census classes[KT_CLASSES];
} kt_pass;

static inline uint32_t kt_capacity(uint32_t class8) { return (uint32_t)(KT_CHUNK - KT_HEAD) / (class8 * 8); }

static inline uint32_t kt_level_of(const kt_chunk *c) {
    return (uint32_t)((uint64_t)c->live * KT_LEVELS / kt_capacity(c->class8));
}

/* --- which chunks leave */
/* Call `see` for each chunk with a free block of up to `regions` regions; true while there are more. */
static bool kt_each_open(kt_table *t, kt_pass *p, uint32_t regions, void (*see)(kt_table *, kt_pass *, kt_chunk *)) {
    kt_slab *s = &t->slab;
    while (s->cursor && regions--) {
        kt_region *r = s->cursor;
        s->cursor = r->older;
        uint32_t used = ~r->free;
        for (uint32_t left = used; left; left &= left - 1)
            __builtin_prefetch(r->base + (size_t)__builtin_ctz(left) * KT_CHUNK);
        for (uint32_t left = used; left; left &= left - 1) {
            kt_chunk *c = (kt_chunk *)(r->base + (size_t)__builtin_ctz(left) * KT_CHUNK);
            p->total += p->stage == KT_COUNT;
            if (c->open == KT_OPEN) see(t, p, c);
        }
    }
    return s->cursor != NULL;
}

static void kt_count_chunk(kt_table *t, kt_pass *p, kt_chunk *c) {
    (void)t;
    kt_census *k = &p->classes[c->class8];
    k->chunks[kt_level_of(c)]++;
    k->live += c->live;
}

static void kt_mark_chunk(kt_table *t, kt_pass *p, kt_chunk *c) {
    kt_census *k = &p->classes[c->class8];
    uint32_t level = kt_level_of(c);
    if (!k->leaving || level > k->level || (level == k->level && !k->some)) return;
    k->leaving--;
    if (level == k->level) k->some--;
    kt_close(&t->slab, c);
    if (c->live == 0) {
        kt_drop_chunk(&t->slab, c);
        return;
    }
    c->open = KT_LEAVING;
    kt_link(&t->slab.leaving, c);
}

/* Choose among what was counted; false when it is not worth a pass. */
static bool kt_choose(kt_pass *p) {
    uint64_t gain = 0;
    for (uint32_t i = 1; i < KT_CLASSES; i++) {
        kt_census *k = &p->classes[i];
        uint64_t open = 0, fill = kt_capacity(i), stay = (k->live + fill - 1) / fill;
        for (int level = 0; level < KT_LEVELS; level++) open += k->chunks[level];
        if (open <= stay) continue;
        k->leaving = (uint32_t)(open - stay);
        gain += k->leaving;
        uint32_t left = k->leaving;
        while (left > k->chunks[k->level]) left -= k->chunks[k->level++];
        k->some = left;
    }
    return gain && gain * KT_LEAST_GAIN >= p->total;
}

/* --- moving */
/* Whether a block of an allocation that was `size` bytes is to move. */
static inline bool kt_leaves(const void *block, size_t size) {
#ifdef KT_EVERY_BLOCK_MALLOC
    (void)block; /* there are no chunks: everything that could lie in one moves, for the sanitizer to see */
    return size <= KT_SMALL;
#else
    return size <= KT_SMALL && kt_chunk_of(block)->open == KT_LEAVING;
#endif
}

static inline bool kt_judge(kt_table *t, const void *block, size_t size) {
    if (kt_leaves(block, size)) return true;
    t->stayed++;
    return false;
}

/* Buckets at another place, or where they are when they need not move; NULL without memory. */
static kt_bucket *kt_move_buckets(kt_table *t, kt_bucket *from, uint32_t n) {
    if (!kt_judge(t, from, (size_t)n * 64)) return from;
    kt_bucket *to = kt_alloc_buckets(&t->slab, n);
    if (!to) return NULL;
    memcpy(to, from, (size_t)n * 64);
    kt_free_buckets(&t->slab, from, n);
    t->moved++;
    return to;
}

/* The arrays of a slot, as far as they are small. */
static bool kt_move_arrays(kt_table *t, kt_slot *s) {
    kt_bucket **array = &s->at.array;
    if (s->n > KT_SEGMENT) {
        size_t size = sizeof(kt_segment) << s->dir_log;
        if (kt_judge(t, s->at.dir, size)) {
            kt_segment *dir = kt_alloc(&t->slab, size);
            if (!dir) return false;
            memcpy(dir, s->at.dir, size);
            kt_free(&t->slab, s->at.dir, size);
            s->at.dir = dir;
            t->moved++;
        }
        array = &s->at.dir[(s->n - 1) / KT_SEGMENT].b; /* the others are full, and too large for a chunk */
    }
    kt_bucket *b = kt_move_buckets(t, *array, s->cap);
    if (!b) return false;
    *array = b;
    return true;
}

static bool kt_move_entry(kt_table *t, uint8_t **place) {
    uint8_t *e = *place;
    size_t size = kt_size(kt_shape_of(e));
    if (!kt_judge(t, e, size)) {
        t->keys_stayed++;
        return true;
    }
    uint8_t *to = kt_alloc(&t->slab, size);
    if (!to) return false;
    memcpy(to, e, size);
    *place = to;
    kt_free(&t->slab, e, size);
    t->moved++;
    t->keys_moved++;
    return true;
}

/* The chain and the entries of a bucket; false without memory. `work` gets what it took. */
static bool kt_move_chain(kt_table *t, kt_bucket *b, int64_t *work) {
    while (true) {
        ++*work;
        for (int i = 0; i < b->n; i++) {
            uint64_t held = t->slab.held;
            uint8_t *e = b->entry[i];
            if (!kt_move_entry(t, &b->entry[i])) return false;
            if (b->entry[i] != e) ++*work;
            if (t->slab.held < held) *work += KT_DROP_WORK;
        }
        if (!b->next) return true;
        kt_bucket *next = kt_move_buckets(t, b->next, 1);
        if (!next) return false;
        b->next = next;
        b = next;
    }
}

static inline void kt_come(const kt_slot *s, uint32_t bucket) {
    if (bucket >= s->n) return;
    const kt_bucket *b = kt_bucket_at(s, bucket);
    for (int i = 0; i < b->n; i++) __builtin_prefetch(b->entry[i]);
}

/* Go on with the walk for about so much work, a bucket being one unit; false when it is at its end, or without memory. */
static bool kt_walk(kt_table *t, kt_pass *p, int64_t work) {
    int64_t done = 0;
    while (done < work) {
        if (p->slot >= KT_SLOTS || !t->slots) return false;
        kt_slot *s = t->slots + p->slot;
        if (p->bucket >= s->n) {
            p->bucket = 0;
            p->slot++;
            if (p->slot % KT_GROUP == 0) {
                while (p->slot < KT_SLOTS && !t->groups[p->slot / KT_GROUP]) p->slot += KT_GROUP;
                done++;
            }
            continue;
        }
        if (p->bucket == 0) {
            done++;
            if (!kt_move_arrays(t, s)) return false;
            kt_come(s, 0);
        }
        kt_come(s, p->bucket + 1);
        if (!kt_move_chain(t, kt_bucket_at(s, p->bucket), &done)) return false;
        p->bucket++;
    }
    return true;
}

/* --- a pass */
/* Whether chunks, lists and accounts agree; walks all regions. For tests. */
static bool kt_sound(const kt_slab *s) {
    uint64_t held = 0, small = 0, open = 0, leaving = 0;
    for (const kt_region *r = s->newest; r; r = r->older) {
        if (!~r->free) return false;
        for (uint32_t left = ~r->free; left; left &= left - 1) {
            const kt_chunk *c = (const kt_chunk *)(r->base + (size_t)__builtin_ctz(left) * KT_CHUNK);
            held += KT_CHUNK;
            small += (uint64_t)c->live * c->class8 * 8;
            open += c->open == KT_OPEN;
            leaving += c->open == KT_LEAVING;
            if (c->region != r || (c->open == KT_CLOSED) != (c->live == kt_capacity(c->class8))) return false;
        }
    }
    for (uint32_t i = 0; i < KT_CLASSES; i++)
        for (const kt_chunk *c = s->classes[i]; c; c = c->next, open--)
            if (c->open != KT_OPEN || c->class8 != i) return false;
    for (const kt_chunk *c = s->leaving; c; c = c->next, leaving--)
        if (c->open != KT_LEAVING || !s->pass || !c->live) return false;
    return held == s->held && small == s->used - s->outside && !open && !leaving;
}

/* Have the pass end with the next steps; what has moved stays where it is. */
static void kt_stop_pass(kt_table *t) {
    if (t->slab.pass) t->slab.pass->stage = KT_END;
}

/* Put some chunks that did not empty back; true when there are more. */
static bool kt_reopen(kt_slab *s, int64_t work) {
    for (; s->leaving && work > 0; work -= 2) {
        kt_chunk *c = s->leaving;
        kt_close(s, c);
        kt_open(s, c);
    }
    return s->leaving != NULL;
}

/* Begin a pass, or go on with it, for about so much work. 1: there is more to do; 0: it is over; -1: there was nothing
 * worth moving, or no memory for a pass. */
static int kt_defragment(kt_table *t, int64_t work) {
    kt_slab *s = &t->slab;
    kt_pass *p = s->pass;
    if (!p) {
        p = kt_fails() ? NULL : calloc(1, sizeof *p);
        if (!p) return -1;
        s->pass = p;
        s->cursor = s->newest;
#ifdef KT_EVERY_BLOCK_MALLOC
        p->stage = KT_WALK;
#endif
    }
    uint32_t regions = (uint32_t)(work / 32 + 1);
    switch (p->stage) {
    case KT_COUNT:
        if (kt_each_open(t, p, regions, kt_count_chunk)) return 1;
        if (!kt_choose(p)) {
            free(p);
            s->pass = NULL;
            return -1;
        }
        s->cursor = s->newest;
        p->stage = KT_MARK;
        return 1;
    case KT_MARK:
        if (!kt_each_open(t, p, regions, kt_mark_chunk)) p->stage = s->leaving ? KT_WALK : KT_END;
        return 1;
    case KT_WALK:
        if (!kt_walk(t, p, work)) p->stage = KT_END;
        return 1;
    default:
        if (kt_reopen(s, work)) return 1;
        free(p);
        s->pass = NULL;
        s->cursor = NULL;
        return 0;
    }
}
#endif
