/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/hashmemory.h"

#include <stdlib.h>
#include <string.h>

#include "storage/hashjob.h"
#include "storage/store_private.h"

/* A compaction's hash on its way. */
struct pending_hash {
    struct queue link;
    struct store *store;
    struct store_hash_request request;
    struct queue asked; /* struct store_hash_request.refused.link */
};

void hashmemory_init(struct hashmemory *memory)
{
    *memory = (struct hashmemory){.count = 0};
    queue_init(&memory->pending);
}

static void remember(struct hashmemory *memory, const struct store_hash_request *request)
{
    if (memory->count == HASHES_REMEMBERED) {
        memory->count--;
        memmove(&memory->hashes[0], &memory->hashes[1], memory->count * sizeof memory->hashes[0]);
    }
    ASSERT(memory->count == 0 ||
           memory->hashes[memory->count - 1].revision < request->hash_revision);
    memory->hashes[memory->count].hash = request->hash;
    memory->hashes[memory->count].revision = request->hash_revision;
    memory->hashes[memory->count].compact_revision = request->compact_revision;
    memory->count++;
}

/* Those who asked meanwhile hear what came out of it. */
static void on_hashed(struct store_hash_request *request)
{
    struct pending_hash *pending = CONTAINER_OF(request, struct pending_hash, request);
    struct queue asked;
    queue_init(&asked);
    queue_splice(&asked, &pending->asked);
    queue_remove(&pending->link);
    if (request->status == OK) {
        remember(&pending->store->hashmemory, request);
    }
    struct queue *link;
    while ((link = queue_pop_front(&asked)) != NULL) {
        struct store_wait *wait = QUEUE_ELEM(link, struct store_wait, link);
        struct store_hash_request *waiting = CONTAINER_OF(wait, struct store_hash_request, refused);
        waiting->status = request->status;
        waiting->hash = request->hash;
        waiting->hash_revision = request->hash_revision;
        waiting->compact_revision = request->compact_revision;
        waiting->cb(waiting);
    }
    free(pending);
}

void hashmemory_compact(struct store *store, int64_t revision)
{
    bool busy = !queue_empty(&store->hashmemory.pending) || store->replace != NULL;
    if (!store->config.remember_hashes || busy || revision == 0) { /* at 0 is nothing to hash */
        return;
    }
    struct pending_hash *pending = calloc(1, sizeof *pending);
    if (pending == NULL) {
        return;
    }
    pending->store = store;
    pending->request.revision = revision;
    queue_init(&pending->asked);
    queue_push_back(&store->hashmemory.pending, &pending->link);
    hashjob_start(store, &pending->request, HASH_OF_COMPACTION, on_hashed);
}

static void on_remembered(struct store_wait *wait)
{
    struct store_hash_request *request = CONTAINER_OF(wait, struct store_hash_request, refused);
    request->cb(request);
}

static bool find_remembered(struct store *store, struct store_hash_request *request)
{
    const struct hashmemory *memory = &store->hashmemory;
    for (size_t i = 0; i < memory->count; i++) {
        if (memory->hashes[i].revision == request->revision) {
            request->status = OK;
            request->hash = memory->hashes[i].hash;
            request->hash_revision = request->revision;
            request->compact_revision = memory->hashes[i].compact_revision;
            upkeep_commit_wait(store, &request->refused, 0, on_remembered);
            return true;
        }
    }
    return false;
}

bool hashmemory_answers(struct store *store, struct store_hash_request *request)
{
    request->current_revision = store->state.revision;
    if (find_remembered(store, request)) {
        return true;
    }
    QUEUE_FOREACH (link, &store->hashmemory.pending) {
        struct pending_hash *pending = QUEUE_ELEM(link, struct pending_hash, link);
        if (pending->request.revision == request->revision) {
            queue_push_back(&pending->asked, &request->refused.link);
            turn_end(&store->turn, store);
            return true;
        }
    }
    return false;
}
