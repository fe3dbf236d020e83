/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/generation.h"

#include <stdlib.h>

#include "base/assert.h"

/* A word whose top bit is set is a revision: the only one, a put, version 1 of its life. Any other
 * word but 0 points to a history:
 *
 *            first           life          end       cap
 *   revs  . .  6   9†  12  13†  20  21  24  . . . .         † bit 63
 *             └──┬──┘ └──┬───┘ └────┬────┘
 *              a life   a life   the newest life
 *
 * Only the first life can have lost its beginning, so only its creation and the version of
 * revs[first] are stored; in the others a put's version is its place. Compaction moves `first` up.
 *
 * `last` repeats the newest, and what is more than NEAR revisions lies elsewhere, so that a put and
 * a read at head look at the headers alone, which are small and stand close together: to wait for
 * memory costs more than all else that a put does here.
 *
 * Invariants:
 *   1. first < end <= cap, revisions ascend; first <= life < end
 *   2. a tombstone follows a put, or is revs[first]
 *   3. life is the place behind the last tombstone before end - 1, or first
 *   4. last == revs[end - 1] */
#define INLINE    (1ull << 63)
#define TOMBSTONE (1ull << 63)
#define NEAR      2u /* the history is then 56 bytes: a whole chunk of the allocator */

struct history {
    uint64_t last;
    int64_t create_revision; /* of revs[first]'s life; 0 when that is a tombstone */
    int64_t version;         /* of revs[first]; 0 when that is a tombstone */
    uint32_t first;
    uint32_t end;
    uint32_t cap;
    uint32_t life;
    union {
        uint64_t near[NEAR]; /* while cap is NEAR */
        uint64_t *far;
    };
};

static_assert(REVISION_SUB_BITS == 20, "a revision leaves bit 63 free: 43 bits of main are enough");
static_assert(sizeof(void *) == 8, "a pointer fits in a word and leaves bit 63 free");

static struct history *history_of(const struct generations *g)
{
    return (struct history *)(uintptr_t)g->word;
}

static bool is_inline(const struct generations *g)
{
    return (g->word & INLINE) != 0;
}

static void set_history(struct generations *g, struct history *h)
{
    g->word = (uint64_t)(uintptr_t)h;
    ASSERT((g->word & INLINE) == 0);
}

static revision_t rev_of(uint64_t slot)
{
    return slot & ~TOMBSTONE;
}

static bool is_tombstone(uint64_t slot)
{
    return (slot & TOMBSTONE) != 0;
}

static const uint64_t *revs_of(const struct history *h)
{
    return h->cap == NEAR ? h->near : h->far;
}

/* Only of what lies far. */
static void slide_to_front(struct history *h)
{
    memmove(h->far, h->far + h->first, (h->end - h->first) * sizeof h->far[0]);
    h->life -= h->first;
    h->end -= h->first;
    h->first = 0;
}

/* CAP > NEAR. */
static bool resize(struct history *h, uint32_t cap)
{
    uint64_t *far = realloc(h->cap == NEAR ? NULL : h->far, cap * sizeof far[0]);
    if (far == NULL) {
        return false;
    }
    if (h->cap == NEAR) {
        memcpy(far, h->near, sizeof h->near);
    }
    h->far = far;
    h->cap = cap;
    return true;
}

/* What is left fits, and begins at the front. */
static void come_near(struct history *h)
{
    uint64_t *far = h->far;
    ASSERT(h->first == 0 && h->end <= NEAR);
    memcpy(h->near, far, h->end * sizeof far[0]);
    h->cap = NEAR;
    free(far);
}

static void history_free(struct history *h)
{
    if (h != NULL && h->cap != NEAR) {
        free(h->far);
    }
    free(h);
}

static bool make_history(struct generations *g, uint64_t slot, const struct version *first)
{
    struct history *h = malloc(sizeof *h);
    if (h == NULL) {
        return false;
    }
    *h = (struct history){
        .last = slot,
        .create_revision = first->create_revision,
        .version = first->version,
        .end = 1,
        .cap = NEAR,
        .near = {slot},
    };
    set_history(g, h);
    return true;
}

static bool append(struct generations *g, uint64_t slot)
{
    if (is_inline(g)) {
        revision_t rev = rev_of(g->word);
        struct version only = {.rev = rev, .create_revision = revision_main(rev), .version = 1};
        if (!make_history(g, rev, &only)) {
            return false;
        }
    }
    struct history *h = history_of(g);
    if (h->end == h->cap) {
        if (h->first > h->cap / 2) { /* so it is far: 1 is not more than half of NEAR */
            slide_to_front(h);
        } else {
            ASSERT(h->cap < UINT32_MAX / 2);
            if (!resize(h, h->cap * 2 + 1)) {
                return false;
            }
        }
    }
    uint64_t *revs = h->cap == NEAR ? h->near : h->far;
    revs[h->end++] = slot;
    h->last = slot;
    return true;
}

bool generation_put(struct generations *g, revision_t rev)
{
    ASSERT(rev > generation_last(g) && !is_tombstone(rev));
    if (g->word == 0) {
        g->word = INLINE | rev;
        return true;
    }
    bool alive = generation_alive(g);
    if (!append(g, rev)) {
        return false;
    }
    if (!alive) {
        struct history *h = history_of(g);
        h->life = h->end - 1;
    }
    return true;
}

bool generation_delete(struct generations *g, revision_t rev)
{
    ASSERT(rev > generation_last(g) && !is_tombstone(rev));
    ASSERT(generation_alive(g));
    return append(g, rev | TOMBSTONE);
}

bool generation_resume(struct generations *g, const struct version *first)
{
    ASSERT(g->word == 0);
    if (first->version == 1 && first->create_revision == revision_main(first->rev)) {
        g->word = INLINE | first->rev;
        return true;
    }
    bool tombstone = first->version == 0;
    return make_history(g, tombstone ? first->rev | TOMBSTONE : first->rev, first);
}

static uint64_t last_slot(const struct generations *g)
{
    if (is_inline(g)) {
        return rev_of(g->word);
    }
    const struct history *h = history_of(g);
    return h == NULL ? TOMBSTONE : h->last;
}

revision_t generation_last(const struct generations *g)
{
    return rev_of(last_slot(g));
}

bool generation_alive(const struct generations *g)
{
    return !is_tombstone(last_slot(g));
}

void generation_expect(const struct generations *g)
{
    if (!is_inline(g) && g->word != 0) {
        __builtin_prefetch(history_of(g), 1);
    }
}

void generation_expect_end(const struct generations *g)
{
    if (!is_inline(g) && g->word != 0) {
        const struct history *h = history_of(g);
        if (h->cap != NEAR) {
            __builtin_prefetch(&h->far[h->end], 1);
        }
    }
}

size_t generation_count(const struct generations *g)
{
    if (is_inline(g)) {
        return 1;
    }
    const struct history *h = history_of(g);
    return h == NULL ? 0 : h->end - h->first;
}

/* The place of the last revision with main <= AT, or end when there is none. */
static uint32_t place_at(const struct history *h, int64_t at)
{
    uint32_t low = h->first; /* places below are <= AT */
    uint32_t high = h->end;  /* from here on they are above */
    if (revision_main(rev_of(h->last)) <= at) {
        return h->end - 1;
    }
    const uint64_t *revs = revs_of(h);
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (revision_main(rev_of(revs[mid])) <= at) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low == h->first ? h->end : low - 1;
}

static uint64_t slot_at(const struct history *h, uint32_t place)
{
    return place == h->end - 1 ? h->last : revs_of(h)[place];
}

/* What the put at PLACE is. Outside the newest life its beginning is searched backwards: only reads
 * in the past and compactions come there, and these forget what they have passed. */
static struct version version_at(const struct history *h, uint32_t place)
{
    uint32_t life = place >= h->life ? h->life : place;
    while (life > h->first && life < h->life && !is_tombstone(revs_of(h)[life - 1])) {
        life--;
    }
    struct version v = {.rev = slot_at(h, place)};
    if (life == h->first) {
        v.create_revision = h->create_revision;
        v.version = h->version + (place - h->first);
    } else {
        v.create_revision = revision_main(revs_of(h)[life]);
        v.version = place - life + 1;
    }
    return v;
}

bool generation_find(const struct generations *g, int64_t at, struct version *ret)
{
    if (is_inline(g)) {
        revision_t rev = rev_of(g->word);
        if (revision_main(rev) > at) {
            return false;
        }
        *ret = (struct version){.rev = rev, .create_revision = revision_main(rev), .version = 1};
        return true;
    }
    const struct history *h = history_of(g);
    if (h == NULL) {
        return false;
    }
    uint32_t place = place_at(h, at);
    if (place == h->end || is_tombstone(slot_at(h, place))) {
        return false;
    }
    *ret = version_at(h, place);
    return true;
}

int64_t generation_garbage_at(const struct generations *g)
{
    if (is_inline(g) || g->word == 0) {
        return GENERATION_NO_GARBAGE;
    }
    const struct history *h = history_of(g);
    const uint64_t *revs = revs_of(h);
    uint64_t first = revs[h->first];
    int64_t at = GENERATION_NO_GARBAGE;
    if (h->end - h->first > 1) {
        at = revision_main(rev_of(revs[h->first + 1])); /* superseded */
    }
    if (is_tombstone(first) && revision_main(rev_of(first)) + 1 < at) {
        at = revision_main(rev_of(first)) + 1;
    }
    return at;
}

/* Give back memory that is mostly unused; a key that is as new becomes one word again. */
static void shrink(struct generations *g)
{
    struct history *h = history_of(g);
    uint32_t count = h->end - h->first;
    if (count == 1 && h->version == 1 && h->create_revision == revision_main(rev_of(h->last))) {
        uint64_t word = INLINE | h->last;
        history_free(h);
        g->word = word;
        return;
    }
    if (h->cap == NEAR || count > h->cap / 4) {
        return;
    }
    slide_to_front(h);
    uint32_t cap = NEAR;
    while (cap < count) {
        cap = cap * 2 + 1;
    }
    if (cap == NEAR) {
        come_near(h);
    } else {
        (void)resize(h, cap); /* or it stays as large as it was */
    }
}

void generation_compact(struct generations *g, int64_t at)
{
    if (generation_garbage_at(g) > at) {
        return;
    }
    struct history *h = history_of(g);
    uint32_t keep = place_at(h, at);
    ASSERT(keep != h->end);
    const uint64_t *revs = revs_of(h);
    struct version first = {0};
    if (!is_tombstone(revs[keep])) {
        first = version_at(h, keep);
    } else if (revision_main(rev_of(revs[keep])) < at) {
        keep++;
        if (keep < h->end) {
            first.create_revision = revision_main(revs[keep]);
            first.version = 1;
        }
    }
    if (keep == h->end) {
        generation_fini(g);
        return;
    }
    h->first = keep;
    h->create_revision = first.create_revision;
    h->version = first.version;
    h->life = h->life < keep ? keep : h->life;
    shrink(g);
}

void generation_fini(struct generations *g)
{
    if (!is_inline(g)) {
        history_free(history_of(g));
    }
    g->word = 0;
}

void generation_check(const struct generations *g)
{
    if (is_inline(g) || g->word == 0) {
        return;
    }
    const struct history *h = history_of(g);
    const uint64_t *revs = revs_of(h);
    ASSERT(h->last == revs[h->end - 1]);
    ASSERT(h->first <= h->life && h->life < h->end && h->end <= h->cap);
    uint32_t life = h->first;
    for (uint32_t i = h->first; i < h->end; i++) {
        ASSERT(rev_of(revs[i]) != 0);
        if (i > h->first) {
            ASSERT(rev_of(revs[i - 1]) < rev_of(revs[i]));
            ASSERT(!is_tombstone(revs[i - 1]) || !is_tombstone(revs[i]));
            life = is_tombstone(revs[i - 1]) ? i : life;
        }
    }
    ASSERT(h->life == life);
    bool begins_dead = is_tombstone(revs[h->first]);
    ASSERT(begins_dead == (h->version == 0) && begins_dead == (h->create_revision == 0));
}
