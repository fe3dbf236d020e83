/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/confhist.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/assert.h"
#include "base/codec.h"

#define FORMAT        1
#define ADDRESS_MAX   255
#define PADDING_BYTES 8

/* A configuration that is lost is a quorum that is wrong: no memory is fatal here. */
static void *must(void *memory)
{
    if (memory == NULL) {
        fatal("remember a configuration: out of memory");
    }
    return memory;
}

static void drop_from(struct confhist *history, size_t keep)
{
    while (history->count > keep) {
        blob_unref(history->items[--history->count].encoded);
    }
}

void confhist_fini(struct confhist *history)
{
    drop_from(history, 0);
    free(history->items);
    *history = (struct confhist){0};
}

void confhist_add(struct confhist *history, uint64_t index, struct bytes encoded)
{
    ASSERT(history->count == 0 || index > confhist_last_index(history));
    if (!ARRAY_MAKE_ROOM(history->items, history->count, history->cap, 8)) {
        must(NULL);
    }
    history->items[history->count++] =
        (struct confhist_item){.index = index, .encoded = must(blob_copy(encoded))};
}

void confhist_truncate(struct confhist *history, uint64_t index)
{
    size_t keep = history->count;
    while (keep > 0 && history->items[keep - 1].index >= index) {
        keep--;
    }
    drop_from(history, keep);
}

void confhist_compact(struct confhist *history, uint64_t index)
{
    const struct confhist_item *first = confhist_at(history, index);
    if (first == NULL) {
        return;
    }
    size_t gone = (size_t)(first - history->items);
    for (size_t i = 0; i < gone; i++) {
        blob_unref(history->items[i].encoded);
    }
    history->count -= gone;
    memmove(history->items, history->items + gone, history->count * sizeof *history->items);
}

void confhist_reset(struct confhist *history, uint64_t index, struct bytes encoded)
{
    drop_from(history, 0);
    confhist_add(history, index, encoded);
}

const struct confhist_item *confhist_at(const struct confhist *history, uint64_t index)
{
    for (size_t i = history->count; i > 0; i--) {
        if (history->items[i - 1].index <= index) {
            return &history->items[i - 1];
        }
    }
    return NULL;
}

struct server_view {
    uint64_t id;
    const char *address;
    uint8_t role;
};

static struct server_view read_server(struct reader *r)
{
    struct server_view server = {.id = read_u64(r)};
    const uint8_t *end = memchr(r->at, 0, reader_left(r));
    if (end == NULL || end - r->at > ADDRESS_MAX) {
        reader_fail(r);
        return server;
    }
    server.address = (const char *)read_bytes(r, (size_t)(end - r->at) + 1).data;
    server.role = read_u8(r);
    if (server.id == 0 || server.role > RAFT_SPARE) {
        reader_fail(r);
    }
    return server;
}

static uint64_t read_count(struct reader *r)
{
    uint8_t format = read_u8(r);
    uint64_t count = read_u64(r);
    if (format != FORMAT || count == 0 || count > MEMBERS_MAX) {
        reader_fail(r);
        return 0;
    }
    return count;
}

enum err configuration_decode(struct bytes encoded, struct raft_configuration *ret)
{
    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    struct reader r = reader_of(encoded);
    uint64_t count = encoded.len > CONFIGURATION_BYTES_MAX ? 0 : read_count(&r);
    for (uint64_t i = 0; i < count && !r.failed; i++) {
        struct server_view server = read_server(&r);
        /* Two members with one id or one address are refused here. */
        if (!r.failed &&
            raft_configuration_add(&configuration, server.id, server.address, server.role) != 0) {
            reader_fail(&r);
        }
    }
    if (r.failed || count == 0 || reader_left(&r) >= PADDING_BYTES) {
        raft_configuration_close(&configuration);
        return ERR_MALFORMED;
    }
    *ret = configuration;
    return OK;
}

void configuration_clean(void *encoded, size_t len)
{
    struct reader r = reader_of(bytes_of(encoded, len));
    uint64_t count = read_count(&r);
    for (uint64_t i = 0; i < count; i++) {
        (void)read_server(&r);
    }
    ASSERT(!r.failed);
    memset((uint8_t *)encoded + len - reader_left(&r), 0, reader_left(&r));
}

struct raft_buffer configuration_encode(const struct raft_configuration *configuration)
{
    struct raft_buffer encoded;
    int rv = raft_configuration_encode(configuration, &encoded);
    ASSERT(rv == 0);
    configuration_clean(encoded.base, encoded.len);
    return encoded;
}

bool configuration_check(struct bytes encoded)
{
    struct raft_configuration configuration;
    if (configuration_decode(encoded, &configuration) != OK) {
        return false;
    }
    raft_configuration_close(&configuration);
    return true;
}
