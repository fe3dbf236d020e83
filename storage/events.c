/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/store.h"

#include "storage/store_private.h"

/* What happened since a revision, for watchers: from SQLite what has left the ring, then the ring.
 * Whole main revisions: one operation's changes are told together. */

static size_t size_of(const struct record_list *list)
{
    size_t size = 0;
    for (size_t i = 0; i < list->count; i++) {
        size += record_size(list->items[i]);
    }
    return size;
}

static enum err read_ring(const struct ring *ring, int64_t from, int64_t to, size_t max_bytes,
                          struct record_list *ret)
{
    size_t bytes = size_of(ret);
    int64_t last = 0;
    uint64_t place = ring_seek(ring, revision_pack(from, 0));
    for (; place < ring->end; place++) {
        struct record *record = ring_at(ring, place);
        int64_t revision = record_mod_revision(record);
        if (revision > to || (bytes > max_bytes && revision != last)) {
            break;
        }
        if (!record_list_push(ret, record)) {
            return ERR_NOMEM;
        }
        record_ref(record);
        bytes += record_size(record);
        last = revision;
    }
    return OK;
}

/* The main revision of ring.gone may have changes on both sides: SQLite has all of them, as a
 * transaction holds whole entries. */
static enum err read_all(struct store *store, int64_t from, size_t max_bytes,
                         struct record_list *ret)
{
    int64_t gone = revision_main(store->ring.gone);
    if (from <= gone) {
        struct why why = {.text = ""};
        enum err err = backend_read(store->backend, revision_pack(from, 0),
                                    revision_pack(gone, REVISION_SUB_MAX), max_bytes, ret, &why);
        if (err != OK) {
            return store_read_failed(store, "cannot read events", err, &why);
        }
        if (size_of(ret) > max_bytes) {
            return OK;
        }
        from = gone + 1;
    }
    return read_ring(&store->ring, from, INT64_MAX, max_bytes, ret);
}

enum err store_events(struct store *store, int64_t from, size_t max_bytes, struct record_list *ret)
{
    if (from < store->state.compacted_revision) {
        return ERR_COMPACTED;
    }
    struct record_list list = {0};
    enum err err = read_all(store, from < 1 ? 1 : from, max_bytes, &list);
    if (err != OK) {
        record_list_fini(&list);
        return err;
    }
    *ret = list;
    return OK;
}

enum err store_events_recent(struct store *store, int64_t from, int64_t to, size_t max_bytes,
                             struct record_list *ret)
{
    if (from <= revision_main(store->ring.gone)) {
        return ERR_NOT_FOUND;
    }
    struct record_list list = {0};
    enum err err = read_ring(&store->ring, from, to, max_bytes, &list);
    if (err != OK) {
        record_list_fini(&list);
        return err;
    }
    *ret = list;
    return OK;
}
