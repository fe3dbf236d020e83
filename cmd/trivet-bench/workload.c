/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/trivet-bench/workload.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/codec.h"
#include "base/hash.h"
#include "base/limits.h"

#define PATH_RANGE "/etcdserverpb.KV/Range"
#define PATH_PUT   "/etcdserverpb.KV/Put"
#define PATH_TXN   "/etcdserverpb.KV/Txn"

#define PATH_LEASE_GRANT      "/etcdserverpb.Lease/LeaseGrant"
#define PATH_LEASE_KEEP_ALIVE "/etcdserverpb.Lease/LeaseKeepAlive"
#define LEASE_TTL_S           600 /* longer than a run */

static const char *const kind_names[WORKLOAD_KIND_COUNT] = {
    [WORKLOAD_PUT] = "put",
    [WORKLOAD_RANGE] = "range",
    [WORKLOAD_RANGE_SERIALIZABLE] = "range-serializable",
    [WORKLOAD_TXN] = "txn",
    [WORKLOAD_MIXED] = "mixed",
    [WORKLOAD_RANGE_MANY] = "range-many",
    [WORKLOAD_LOAD] = "load",
    [WORKLOAD_LEASE_GRANT] = "lease-grant",
    [WORKLOAD_LEASE_KEEP_ALIVE] = "lease-keep-alive",
    [WORKLOAD_WATCH_FANOUT] = "watch-fanout",
    [WORKLOAD_WATCH_MANY] = "watch-many",
    [WORKLOAD_WATCH_SLOW] = "watch-slow",
    [WORKLOAD_LEASE_MANY] = "lease-many",
};

enum err workload_kind_parse(const char *name, enum workload_kind *ret)
{
    for (size_t i = 0; i < WORKLOAD_KIND_COUNT; i++) {
        if (strcmp(name, kind_names[i]) == 0) {
            *ret = (enum workload_kind)i;
            return OK;
        }
    }
    return ERR_NOT_FOUND;
}

const char *workload_kind_name(enum workload_kind kind)
{
    return kind_names[kind];
}

static size_t digits_of(uint64_t n)
{
    size_t digits = 1;
    while (n >= 10) {
        n /= 10;
        digits++;
    }
    return digits;
}

/* Not a constant, so that nothing on the way can shrink it. */
static void fill_value(struct workload *workload)
{
    for (size_t i = 0; i < workload->options.value_size; i++) {
        workload->value[i] = (uint8_t)mix64(workload->options.seed + i);
    }
}

enum err workload_init(struct workload *workload, const struct workload_options *options,
                       struct why *why)
{
    *workload = (struct workload){.options = *options, .random = options->seed};
    size_t prefix_len = strlen(options->prefix);
    if (options->keys == 0 || options->key_size > KEY_BYTES_MAX ||
        options->value_size > REQUEST_BYTES_MAX || options->read_percent > 100) {
        why_set(why, "--keys, --key-size, --value-size or --read-percent is out of range");
        return ERR_INVALID;
    }
    if (workload_is_watched(workload) && options->value_size < sizeof(uint64_t)) {
        why_set(why, "--value-size: values that are watched hold a time of 8 bytes");
        return ERR_INVALID;
    }
    if (prefix_len + digits_of(options->keys - 1) > options->key_size) {
        why_set(why, "keys of %" PRIu64 " bytes do not hold prefix '%s' and %" PRIu64 " numbers",
                options->key_size, options->prefix, options->keys);
        return ERR_INVALID;
    }
    workload->value = malloc(options->value_size + 1);
    workload->key = malloc(options->key_size + 1);
    if (workload->value == NULL || workload->key == NULL) {
        workload_fini(workload);
        return ERR_NOMEM;
    }
    memcpy(workload->key, options->prefix, prefix_len);
    fill_value(workload);
    return OK;
}

void workload_fini(struct workload *workload)
{
    free(workload->value);
    free(workload->key);
    buf_fini(&workload->failed_keys);
    *workload = (struct workload){0};
}

void ask_init(struct ask *ask, uint64_t n)
{
    *ask = (struct ask){.own_key = n, .own_revision = -1};
}

void ask_fini(struct ask *ask)
{
    buf_fini(&ask->message);
}

/* The prefix and the number, filled up with zeros to the key's size. */
static struct bytes key_of(struct workload *workload, uint64_t n)
{
    size_t prefix_len = strlen(workload->options.prefix);
    char *end = workload->key + workload->options.key_size;
    for (char *at = end; at > workload->key + prefix_len;) {
        *--at = (char)('0' + n % 10);
        n /= 10;
    }
    return bytes_of(workload->key, workload->options.key_size);
}

bool workload_is_watched(const struct workload *workload)
{
    return workload->options.kind == WORKLOAD_WATCH_FANOUT ||
           workload->options.kind == WORKLOAD_WATCH_MANY ||
           workload->options.kind == WORKLOAD_WATCH_SLOW;
}

struct bytes workload_watched_key(struct workload *workload, uint64_t n)
{
    return key_of(workload,
                  workload->options.kind == WORKLOAD_WATCH_FANOUT ? 0 : n % workload->options.keys);
}

static uint64_t next_random(struct workload *workload)
{
    return mix64(workload->random++);
}

static struct bytes value_of(struct workload *workload)
{
    /* each write another one */
    if (workload->options.value_size >= sizeof(uint64_t)) {
        put_u64(workload->value,
                workload_is_watched(workload) ? workload->due_ns : next_random(workload));
    }
    return bytes_of(workload->value, workload->options.value_size);
}

static void ask_put(struct workload *workload, struct ask *ask, uint64_t key)
{
    ask->kind = WIRE_PUT;
    ask->path = PATH_PUT;
    wire_put(&ask->message, key_of(workload, key), value_of(workload));
}

static void ask_range(struct workload *workload, struct ask *ask, uint64_t key, bool linearizable)
{
    ask->kind = WIRE_RANGE;
    ask->path = PATH_RANGE;
    ask->linearizable = linearizable;
    wire_range(&ask->message, key_of(workload, key), bytes_of(NULL, 0), 0, !linearizable);
}

/* From a random key on, all with the prefix. */
static void ask_range_many(struct workload *workload, struct ask *ask)
{
    uint64_t keys = workload->options.keys;
    uint64_t limit = workload->options.limit;
    uint64_t first = keys > limit ? next_random(workload) % (keys - limit + 1) : 0;
    ask->kind = WIRE_RANGE;
    ask->path = PATH_RANGE;
    ask->linearizable = true;
    CLEANUP(freep) char *end = strdup(workload->options.prefix);
    if (end == NULL) {
        fatal("out of memory");
    }
    size_t len = strlen(end);
    struct bytes range_end = bytes_of("\0", 1);
    if (len > 0) {
        end[len - 1]++;
        range_end = bytes_of(end, len);
    }
    wire_range(&ask->message, key_of(workload, first), range_end, (int64_t)limit, false);
}

static void ask_txn(struct workload *workload, struct ask *ask)
{
    if (ask->own_revision < 0) {
        ask_range(workload, ask, ask->own_key, true);
        return;
    }
    ask->kind = WIRE_TXN;
    ask->path = PATH_TXN;
    wire_compare_and_swap(&ask->message, key_of(workload, ask->own_key), ask->own_revision,
                          value_of(workload));
}

static bool ask_load(struct workload *workload, struct ask *ask)
{
    struct buf *failed = &workload->failed_keys;
    if (failed->len > 0) {
        failed->len -= sizeof ask->load_key;
        memcpy(&ask->load_key, failed->data + failed->len, sizeof ask->load_key);
    } else if (workload->next_key < workload->options.keys) {
        ask->load_key = workload->next_key++;
    } else {
        return false;
    }
    ask_put(workload, ask, ask->load_key);
    return true;
}

static void ask_lease_grant(struct ask *ask)
{
    ask->kind = WIRE_LEASE_GRANT;
    ask->path = PATH_LEASE_GRANT;
    wire_lease_grant(&ask->message, LEASE_TTL_S);
}

static void ask_lease_keep_alive(struct ask *ask)
{
    if (ask->own_lease == 0) {
        ask_lease_grant(ask);
        return;
    }
    ask->kind = WIRE_LEASE_KEEP_ALIVE;
    ask->path = PATH_LEASE_KEEP_ALIVE;
    ask->stream = true;
    wire_lease_keep_alive(&ask->message, ask->own_lease);
}

bool workload_next(struct workload *workload, struct ask *ask)
{
    const struct workload_options *options = &workload->options;
    buf_clear(&ask->message);
    ask->floor = workload->acked_revision;
    ask->stream = false;
    switch (options->kind) {
    case WORKLOAD_WATCH_FANOUT:
        ask_put(workload, ask, 0);
        break;
    case WORKLOAD_PUT:
    case WORKLOAD_WATCH_MANY:
    case WORKLOAD_WATCH_SLOW:
        ask_put(workload, ask, next_random(workload) % options->keys);
        break;
    case WORKLOAD_RANGE:
    case WORKLOAD_RANGE_SERIALIZABLE:
        ask_range(workload, ask, next_random(workload) % options->keys,
                  options->kind == WORKLOAD_RANGE);
        break;
    case WORKLOAD_TXN:
        ask_txn(workload, ask);
        break;
    case WORKLOAD_MIXED:
        if (next_random(workload) % 100 < options->read_percent) {
            ask_range(workload, ask, next_random(workload) % options->keys, true);
        } else {
            ask_put(workload, ask, next_random(workload) % options->keys);
        }
        break;
    case WORKLOAD_RANGE_MANY:
        ask_range_many(workload, ask);
        break;
    case WORKLOAD_LOAD:
        if (!ask_load(workload, ask)) {
            return false;
        }
        break;
    case WORKLOAD_LEASE_GRANT:
        ask_lease_grant(ask);
        break;
    case WORKLOAD_LEASE_KEEP_ALIVE:
        ask_lease_keep_alive(ask);
        break;
    case WORKLOAD_LEASE_MANY: /* has clients of its own: lifetimes.c */
    case WORKLOAD_KIND_COUNT:
        break;
    }
    if (!buf_ok(&ask->message)) {
        fatal("out of memory");
    }
    return true;
}

/* A write that was asked for after another was acknowledged has a higher revision; a linearizable
 * read is not older. */
static bool check_revision(struct workload *workload, const struct ask *ask,
                           const struct wire_answer *answer, struct why *why)
{
    int64_t floor = ask->floor;
    bool local =
        (ask->kind == WIRE_RANGE && !ask->linearizable) || ask->kind == WIRE_LEASE_KEEP_ALIVE;
    if (local) {
        floor = 1;
    } else if (ask->kind == WIRE_PUT || ask->kind == WIRE_TXN) {
        floor++;
    }
    if (answer->revision < floor) {
        why_set(why, "%s answered revision %" PRId64 ", expected at least %" PRId64, ask->path,
                answer->revision, floor);
        return false;
    }
    if (answer->revision > workload->acked_revision && !local) {
        workload->acked_revision = answer->revision;
    }
    return true;
}

static bool check_range(struct workload *workload, struct ask *ask,
                        const struct wire_answer *answer, struct why *why)
{
    uint64_t limit = workload->options.kind == WORKLOAD_RANGE_MANY ? workload->options.limit : 1;
    if (limit != 0 && answer->kv_count > limit) {
        why_set(why, "%" PRIu64 " keys where at most %" PRIu64 " were asked for", answer->kv_count,
                limit);
        return false;
    }
    if (answer->kv_count == 0) {
        workload->missing++;
    } else if (answer->mod_revision > answer->revision) {
        why_set(why, "a key of revision %" PRId64 " in a read at %" PRId64, answer->mod_revision,
                answer->revision);
        return false;
    } else if (answer->value_size != workload->options.value_size) {
        why_set(why, "a value of %zu bytes, expected %" PRIu64 " (--value-size)",
                answer->value_size, workload->options.value_size);
        return false;
    }
    if (workload->options.kind == WORKLOAD_TXN) {
        ask->own_revision = answer->mod_revision;
    }
    return true;
}

static bool check_txn(struct ask *ask, const struct wire_answer *answer, struct why *why)
{
    if (!answer->succeeded && !ask->own_unsure) {
        why_set(why, "a compare-and-swap on a key of our own, at its revision %" PRId64 ", failed",
                ask->own_revision);
        return false;
    }
    ask->own_revision = answer->succeeded ? answer->revision : -1;
    ask->own_unsure = ask->own_unsure && !answer->succeeded;
    return true;
}

static bool check_lease(struct ask *ask, const struct wire_answer *answer, struct why *why)
{
    bool granted = ask->kind == WIRE_LEASE_GRANT;
    if (answer->ttl_s != LEASE_TTL_S || answer->lease == 0 ||
        (!granted && answer->lease != ask->own_lease)) {
        why_set(why, "%s answered lease %" PRIx64 " with a TTL of %" PRId64, ask->path,
                (uint64_t)answer->lease, answer->ttl_s);
        return false;
    }
    ask->own_lease = answer->lease;
    return true;
}

bool workload_check(struct workload *workload, struct ask *ask, struct bytes message,
                    struct why *why)
{
    struct wire_answer answer;
    if (wire_read_answer(ask->kind, message, &answer) != OK) {
        why_set(why, "%s: the answer is no valid message", ask->path);
        return false;
    }
    if (!check_revision(workload, ask, &answer, why)) {
        return false;
    }
    switch (ask->kind) {
    case WIRE_RANGE:
        return check_range(workload, ask, &answer, why);
    case WIRE_TXN:
        return check_txn(ask, &answer, why);
    case WIRE_LEASE_GRANT:
    case WIRE_LEASE_KEEP_ALIVE:
        return check_lease(ask, &answer, why);
    case WIRE_PUT:
        break;
    }
    return true;
}

void workload_failed(struct workload *workload, struct ask *ask)
{
    if (ask->kind == WIRE_TXN) {
        ask->own_revision = -1;
        ask->own_unsure = true;
    } else if (workload->options.kind == WORKLOAD_LOAD) {
        buf_append(&workload->failed_keys, &ask->load_key, sizeof ask->load_key);
        if (!buf_ok(&workload->failed_keys)) {
            fatal("out of memory");
        }
    }
}
