/* Memory of one key table: blocks of up to 512 bytes in classes of 8 bytes, larger ones from malloc.
 *
 * Blocks of a class are cut from chunks of 64 KB that are aligned to their size, so that a block finds its chunk by
 * its address. Chunks come from regions of 2 MB; a chunk without a block goes back to its region, and a region
 * without a chunk to the system. Blocks of a class that is a multiple of 64 are aligned to 64 bytes.
 *
 * `used` is exact: the sizes of classes, and of larger blocks what malloc makes of them. Every allocation may fail,
 * and returns NULL then; `kt_fail_in` makes one fail on purpose (tests). Built with KT_EVERY_BLOCK_MALLOC, every block
 * is one of malloc's, so that an address sanitizer sees each of them.
 */
#ifndef KT_SLAB_H
#define KT_SLAB_H

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the key table searches tags in words of little-endian order"
#endif

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define KT_CHUNK ((size_t)1 << 16)
#define KT_REGION ((size_t)1 << 21)
#define KT_REGION_CHUNKS ((unsigned)(KT_REGION / KT_CHUNK))
#define KT_SMALL 512 /* largest block of a class */
#define KT_CLASSES (KT_SMALL / 8 + 1)
#define KT_HEAD 64 /* of a chunk */
#define KT_CHUNK_KEYS 32 /* as how many keys work in slices counts a chunk that goes back to the system */

enum { KT_CLOSED, KT_OPEN, KT_LEAVING }; /* a chunk: without a free block, with one, being emptied (defrag.h) */

typedef struct kt_region {
    struct kt_region *next, *prev; /* of those with a free chunk */
    struct kt_region *older, *newer;
    char *base;
    uint32_t free; /* one bit a chunk */
} kt_region;

typedef struct kt_chunk {
    struct kt_chunk *next, *prev; /* of the class, those with a free block; or of those that leave */
    kt_region *region;
    void *free;      /* blocks given back */
    uint32_t fresh;  /* offset of the first block that was never used */
    uint32_t live;   /* blocks in use */
    uint32_t class8; /* bytes of a block / 8 */
    uint32_t open;   /* KT_OPEN: it is in its class's list, KT_LEAVING: in that of those that leave */
} kt_chunk;

typedef struct {
    kt_chunk *classes[KT_CLASSES];
    kt_region *regions; /* with a free chunk */
    kt_region *newest;  /* of all */
    uint64_t used;      /* bytes of blocks in use */
    uint64_t held;      /* bytes taken from the system */
    uint64_t external;  /* blocks that are not in a chunk */
    uint64_t outside;   /* bytes of these */
    kt_chunk *leaving;  /* chunks that defragmentation empties */
    kt_region *cursor;  /* the next region that it looks at */
    struct kt_pass *pass; /* NULL: it is not at work */
} kt_slab;

static int64_t kt_fail_in = -1; /* allocations until one fails; -1: none */

static inline bool kt_fails(void) {
    if (__builtin_expect(kt_fail_in >= 0, 0)) return kt_fail_in-- == 0;
    return false;
}

/* What a block of `size` bytes takes. */
static inline size_t kt_block(size_t size) {
    return size <= KT_SMALL ? (size + 7) & ~(size_t)7 : (size + 23) & ~(size_t)15;
}

static inline kt_chunk *kt_chunk_of(const void *block) {
    return (kt_chunk *)((uintptr_t)block & ~(uintptr_t)(KT_CHUNK - 1));
}

static inline void kt_link(kt_chunk **list, kt_chunk *c) {
    c->prev = NULL;
    c->next = *list;
    if (c->next) c->next->prev = c;
    *list = c;
}

static inline void kt_open(kt_slab *s, kt_chunk *c) {
    kt_link(&s->classes[c->class8], c);
    c->open = KT_OPEN;
}

static inline void kt_close(kt_slab *s, kt_chunk *c) {
    if (c->prev) c->prev->next = c->next;
    else if (c->open == KT_LEAVING) s->leaving = c->next;
    else s->classes[c->class8] = c->next;
    if (c->next) c->next->prev = c->prev;
    c->open = KT_CLOSED;
}

static kt_region *kt_new_region(kt_slab *s) {
    kt_region *r = kt_fails() ? NULL : malloc(sizeof(kt_region));
    if (!r) return NULL;
    char *map = mmap(NULL, KT_REGION * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) {
        free(r);
        return NULL;
    }
    size_t before = (size_t)(-(uintptr_t)map & (KT_REGION - 1));
    if (before) munmap(map, before);
    if (before < KT_REGION) munmap(map + before + KT_REGION, KT_REGION - before);
    r->base = map + before;
    r->free = ~(uint32_t)0;
    r->prev = NULL;
    r->next = s->regions;
    if (r->next) r->next->prev = r;
    s->regions = r;
    r->newer = NULL;
    r->older = s->newest;
    if (r->older) r->older->newer = r;
    s->newest = r;
    return r;
}

static void kt_drop_region(kt_slab *s, kt_region *r) {
    if (r->newer) r->newer->older = r->older;
    else s->newest = r->older;
    if (r->older) r->older->newer = r->newer;
    if (s->cursor == r) s->cursor = r->older;
    munmap(r->base, KT_REGION);
    free(r);
}

static kt_chunk *kt_new_chunk(kt_slab *s, uint32_t class8) {
    kt_region *r = s->regions ? s->regions : kt_new_region(s);
    if (!r) return NULL;
    unsigned i = (unsigned)__builtin_ctz(r->free);
    r->free &= r->free - 1;
    if (!r->free) {
        s->regions = r->next;
        if (r->next) r->next->prev = NULL;
    }
    kt_chunk *c = (kt_chunk *)(r->base + i * KT_CHUNK);
    c->region = r;
    c->free = NULL;
    c->fresh = KT_HEAD;
    c->live = 0;
    c->class8 = class8;
    s->held += KT_CHUNK;
    kt_open(s, c);
    return c;
}

/* Give an unused chunk back to its region; the pages go back to the system when `now`, else they stay for reuse. */
static void kt_drop_chunk(kt_slab *s, kt_chunk *c) {
    kt_region *r = c->region;
    unsigned i = (unsigned)(((char *)c - r->base) / (ptrdiff_t)KT_CHUNK);
    assert(c->live == 0 && i < KT_REGION_CHUNKS && !(r->free >> i & 1));
    s->held -= KT_CHUNK;
    if (!r->free) {
        r->prev = NULL;
        r->next = s->regions;
        if (r->next) r->next->prev = r;
        s->regions = r;
    }
    r->free |= (uint32_t)1 << i;
    if (r->free != ~(uint32_t)0) {
        madvise(c, KT_CHUNK, MADV_DONTNEED);
        return;
    }
    if (r->prev) r->prev->next = r->next;
    else s->regions = r->next;
    if (r->next) r->next->prev = r->prev;
    kt_drop_region(s, r);
}

/* Chunks that went back to the system since `held` bytes were held, in keys. Blocks of one time lie in all chunks by the
 * chance of their hashes, so that where many go, nearly all chunks become empty by the last few. */
static inline uint64_t kt_returned(const kt_slab *s, uint64_t held) {
    return s->held < held ? (held - s->held) / KT_CHUNK * KT_CHUNK_KEYS : 0;
}

static void *kt_alloc(kt_slab *s, size_t size) {
    if (kt_fails()) return NULL;
    assert(size > 0);
#ifdef KT_EVERY_BLOCK_MALLOC
    bool small = false;
#else
    bool small = size <= KT_SMALL;
#endif
    if (!small) {
        /* All of the block may be used: an entry may grow in place within it. malloc takes 8 bytes for itself. */
        void *p = malloc(kt_block(size) - (size <= KT_SMALL ? 0 : 8));
        if (!p) return NULL;
        s->external++;
        s->outside += kt_block(size);
        s->used += kt_block(size);
        return p;
    }
    uint32_t class8 = (uint32_t)((size + 7) >> 3);
    kt_chunk *c = s->classes[class8];
    if (!c && !(c = kt_new_chunk(s, class8))) return NULL;
    void *p = c->free;
    if (p) {
        memcpy(&c->free, p, sizeof(void *));
    } else {
        p = (char *)c + c->fresh;
        c->fresh += class8 * 8;
    }
    c->live++;
    if (!c->free && c->fresh + class8 * 8 > KT_CHUNK) kt_close(s, c);
    s->used += class8 * 8;
    return p;
}

/* `size` is what the block was allocated with, or another size of the same class. */
static void kt_free(kt_slab *s, void *p, size_t size) {
    assert(p && s->used >= kt_block(size));
    s->used -= kt_block(size);
#ifdef KT_EVERY_BLOCK_MALLOC
    bool small = false;
#else
    bool small = size <= KT_SMALL;
#endif
    if (!small) {
        s->external--;
        s->outside -= kt_block(size);
        free(p);
        return;
    }
    kt_chunk *c = kt_chunk_of(p);
    assert(c->class8 == (size + 7) >> 3 && c->live > 0);
    assert(((char *)p - (char *)c - KT_HEAD) % (c->class8 * 8) == 0);
    memcpy(p, &c->free, sizeof(void *));
    c->free = p;
    if (c->open == KT_CLOSED) kt_open(s, c);
    /* The last chunk of a class stays, or a key that comes and goes would map and unmap it each time. */
    if (--c->live == 0 && (c->next || c->prev || c->open == KT_LEAVING)) {
        kt_close(s, c);
        kt_drop_chunk(s, c);
    }
}

/* An array of buckets: 64 bytes each, aligned to 64. */
static void *kt_alloc_buckets(kt_slab *s, size_t n) {
    size_t size = n * 64;
    void *p = NULL;
#ifndef KT_EVERY_BLOCK_MALLOC
    if (size <= KT_SMALL) {
        p = kt_alloc(s, size);
        if (p) memset(p, 0, size);
        return p;
    }
#endif
    if (kt_fails() || posix_memalign(&p, 64, size)) return NULL;
    memset(p, 0, size);
    s->used += size;
    s->outside += size;
    s->external++;
    return p;
}

static void kt_free_buckets(kt_slab *s, void *p, size_t n) {
    size_t size = n * 64;
#ifndef KT_EVERY_BLOCK_MALLOC
    if (size <= KT_SMALL) {
        kt_free(s, p, size);
        return;
    }
#endif
    assert(s->used >= size);
    s->used -= size;
    s->outside -= size;
    s->external--;
    free(p);
}

/* Give back every chunk that is empty but kept for its class. */
static void kt_trim(kt_slab *s) {
    for (unsigned i = 0; i < KT_CLASSES; i++) {
        kt_chunk *c = s->classes[i];
        while (c) {
            kt_chunk *next = c->next;
            if (c->live == 0) {
                kt_close(s, c);
                kt_drop_chunk(s, c);
            }
            c = next;
        }
    }
}

#endif
