/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/hashrows.h"

enum err hashrows_collect(void *ctx, const struct backend_row *rows, size_t count)
{
    struct hashrows *h = ctx;
    for (size_t i = 0; i < count; i++) {
        revision_t prev_rev = rows[i].header.prev_rev;
        if (prev_rev != 0 && revision_main(prev_rev) <= h->compacted) {
            bool removed = revision_main(rows[i].rev) <= h->compacted;
            TRY(superseded_add(removed ? &h->removed : &h->later, prev_rev));
        }
    }
    return OK;
}

static bool counts(struct hashrows *h, const struct backend_row *row)
{
    bool ends = row->header.tombstone || row->header.version > 1;
    if (revision_main(row->rev) > h->compacted) {
        /* Every put makes a key alive, a successor ends what it supersedes. */
        h->alive += !row->header.tombstone - ends;
        return true;
    }
    if (row->header.tombstone || superseded_has(&h->removed, row->rev)) {
        return false;
    }
    h->alive++;
    return !superseded_has(&h->later, row->rev);
}

/* Sorting takes long, so it is done by whoever reads. */
static void seal(struct hashrows *h)
{
    if (!h->sealed) {
        superseded_seal(&h->removed);
        superseded_seal(&h->later);
        h->sealed = true;
    }
}

enum err hashrows_add(void *ctx, const struct backend_row *rows, size_t count)
{
    struct hashrows *h = ctx;
    seal(h);
    for (size_t i = 0; i < count; i++) {
        h->ends_there |= rows[i].header.tombstone && revision_main(rows[i].rev) == h->revision;
        if (counts(h, &rows[i])) {
            hashkv_add(&h->hash, rows[i].rev, &rows[i].header, rows[i].value);
        }
    }
    return OK;
}

void hashrows_give(struct hashrows *h, revision_t *revs, size_t count)
{
    h->removed = (struct superseded){.revs = revs, .count = count, .cap = count};
}

void hashrows_begin(struct hashrows *h)
{
    superseded_rewind(&h->removed);
    superseded_rewind(&h->later);
    hashkv_init(&h->hash);
    h->alive = 0;
}

bool hashrows_again(struct hashrows *h)
{
    if (h->alive != 0 || h->later.count == 0) {
        return false;
    }
    superseded_fini(&h->later);
    return true;
}

void hashrows_fini(struct hashrows *h)
{
    superseded_fini(&h->removed);
    superseded_fini(&h->later);
}
