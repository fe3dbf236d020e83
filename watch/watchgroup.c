/* SPDX-License-Identifier: Apache-2.0 */
#include "watch/watchgroup.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"

void watchgroups_init(struct watchgroups *groups, struct env *env)
{
    *groups = (struct watchgroups){0};
    map_init(&groups->by_key, env_hash_seed(env));
    interval_init(&groups->by_range, env_random_u64(env));
}

void watchgroups_fini(struct watchgroups *groups)
{
    ASSERT(groups->by_key.count == 0);
    ASSERT(groups->by_range.count == 0);
    ASSERT(groups->bytes == 0);
    map_fini(&groups->by_key);
}

static struct watchgroup *find_key(const struct watchgroups *groups, struct bytes key,
                                   uint64_t hash)
{
    struct map_link *link = map_first(&groups->by_key, hash);
    for (; link != NULL; link = map_next(link)) {
        struct watchgroup *group = CONTAINER_OF(link, struct watchgroup, by_key);
        if (bytes_equal(group->key, key)) {
            return group;
        }
    }
    return NULL;
}

static struct watchgroup *find(const struct watchgroups *groups, struct bytes key,
                               struct bytes range_end)
{
    if (range_end.len == 0) {
        return find_key(groups, key, map_hash_bytes(&groups->by_key, key));
    }
    struct interval *interval = interval_find(&groups->by_range, key, range_end);
    return interval == NULL ? NULL : CONTAINER_OF(interval, struct watchgroup, interval);
}

static size_t size_of(struct bytes key, struct bytes range_end)
{
    return sizeof(struct watchgroup) + key.len + range_end.len;
}

size_t watchgroup_cost(const struct watchgroups *groups, struct bytes key, struct bytes range_end)
{
    return find(groups, key, range_end) == NULL ? size_of(key, range_end) : 0;
}

static struct watchgroup *make(struct bytes key, struct bytes range_end)
{
    struct watchgroup *group = malloc(size_of(key, range_end));
    if (group == NULL) {
        return NULL;
    }
    *group = (struct watchgroup){.is_range = range_end.len > 0};
    memcpy(group->data, key.data, key.len);
    group->key = bytes_of(group->data, key.len);
    group->range_end = bytes_of(group->data + key.len, range_end.len);
    if (group->is_range) {
        memcpy(group->data + key.len, range_end.data, range_end.len);
    }
    for (unsigned i = 0; i < CURSORS_MAX; i++) {
        queue_init(&group->members[i]);
    }
    return group;
}

struct watchgroup *watchgroup_get(struct watchgroups *groups, struct bytes key,
                                  struct bytes range_end)
{
    struct watchgroup *group = find(groups, key, range_end);
    if (group != NULL) {
        group->refs++;
        return group;
    }
    group = make(key, range_end);
    if (group == NULL) {
        return NULL;
    }
    if (group->is_range) {
        group->interval.start = group->key;
        group->interval.end = group->range_end;
        interval_insert(&groups->by_range, &group->interval);
    } else if (map_insert(&groups->by_key, &group->by_key,
                          map_hash_bytes(&groups->by_key, group->key)) != OK) {
        free(group);
        return NULL;
    }
    group->refs = 1;
    groups->bytes += size_of(group->key, group->range_end);
    return group;
}

void watchgroup_unref(struct watchgroups *groups, struct watchgroup *group)
{
    ASSERT(group->refs > 0);
    if (--group->refs > 0) {
        return;
    }
    if (group->is_range) {
        interval_remove(&groups->by_range, &group->interval);
    } else {
        map_remove(&groups->by_key, &group->by_key);
    }
    groups->bytes -= size_of(group->key, group->range_end);
    free(group);
}

struct found {
    void (*fn)(struct watchgroup *group, void *ctx);
    void *ctx;
};

static void on_interval(struct interval *interval, void *ctx)
{
    struct found *found = ctx;
    found->fn(CONTAINER_OF(interval, struct watchgroup, interval), found->ctx);
}

void watchgroup_find(const struct watchgroups *groups, struct bytes key,
                     void (*fn)(struct watchgroup *group, void *ctx), void *ctx)
{
    if (groups->by_key.count > 0) {
        struct watchgroup *group = find_key(groups, key, map_hash_bytes(&groups->by_key, key));
        if (group != NULL) {
            fn(group, ctx);
        }
    }
    struct found found = {.fn = fn, .ctx = ctx};
    interval_stab(&groups->by_range, key, on_interval, &found);
}
