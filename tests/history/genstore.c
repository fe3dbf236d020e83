/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/genstore.h"

#include "base/assert.h"

void genstore_init(struct genstore *s)
{
    *s = (struct genstore){.revision = 1};
}

void genstore_fini(struct genstore *s)
{
    for (uint32_t i = 0; i < genstore_key_count(s); i++) {
        buf_fini(&((struct genkey *)(void *)s->keys.data)[i].versions);
    }
    numtable_fini(&s->places);
    buf_fini(&s->keys);
    buf_fini(&s->changes);
    for (size_t i = 0; i < s->owners.len / sizeof(struct genowner); i++) {
        buf_fini(&((struct genowner *)(void *)s->owners.data)[i].elements);
    }
    numtable_fini(&s->owner_places);
    buf_fini(&s->owners);
}

size_t genstore_key_count(const struct genstore *s)
{
    return s->keys.len / sizeof(struct genkey);
}

const struct genkey *genstore_key(const struct genstore *s, uint32_t place)
{
    return (const struct genkey *)(const void *)s->keys.data + place;
}

static size_t version_count(const struct genkey *k)
{
    return k->versions.len / sizeof(struct genversion);
}

static const struct genversion *version_of(const struct genkey *k, size_t i)
{
    return (const struct genversion *)(const void *)k->versions.data + i;
}

void genstore_begin(struct genstore *s)
{
    s->changed = false;
}

void genstore_commit(struct genstore *s)
{
    s->revision += s->changed;
    s->changed = false;
}

static void add_version(struct genstore *s, uint32_t symbol, struct genversion version)
{
    uint32_t place = numtable_number(&s->places, symbol);
    ASSERT(place != NUMTABLE_NONE);
    if (place == genstore_key_count(s)) {
        buf_append(&s->keys, &(struct genkey){.symbol = symbol}, sizeof(struct genkey));
    }
    ASSERT(buf_ok(&s->keys));
    struct genkey *key = (struct genkey *)(void *)s->keys.data + place;
    struct genchange change = {
        .revision = version.revision, .key = place, .version = (uint32_t)version_count(key)};
    buf_append(&key->versions, &version, sizeof version);
    buf_append(&s->changes, &change, sizeof change);
    ASSERT(buf_ok(&key->versions));
    ASSERT(buf_ok(&s->changes));
    s->changed = true;
}

void genstore_put(struct genstore *s, uint32_t key, uint32_t value)
{
    int64_t revision = s->revision + 1;
    const struct genversion *before = genstore_at(s, key, revision);
    add_version(
        s, key,
        (struct genversion){.revision = revision,
                            .value = value,
                            .create_revision = before == NULL ? revision : before->create_revision,
                            .version = before == NULL ? 1 : before->version + 1});
}

bool genstore_delete(struct genstore *s, uint32_t key)
{
    if (genstore_at(s, key, s->revision + 1) == NULL) {
        return false;
    }
    add_version(s, key, (struct genversion){.revision = s->revision + 1});
    return true;
}

void genstore_element(struct genstore *s, uint32_t owner, uint32_t element)
{
    uint32_t place = numtable_number(&s->owner_places, owner);
    ASSERT(place != NUMTABLE_NONE);
    if (place == s->owners.len / sizeof(struct genowner)) {
        buf_append(&s->owners, &(struct genowner){0}, sizeof(struct genowner));
    }
    ASSERT(buf_ok(&s->owners));
    struct genowner *o = (struct genowner *)(void *)s->owners.data + place;
    struct genelement e = {.element = element, .revision = s->revision + 1};
    buf_append(&o->elements, &e, sizeof e);
    ASSERT(buf_ok(&o->elements));
}

const struct genversion *genstore_at(const struct genstore *s, uint32_t symbol, int64_t revision)
{
    uint32_t place = numtable_get(&s->places, symbol);
    if (place == NUMTABLE_NONE) {
        return NULL;
    }
    const struct genkey *key = genstore_key(s, place);
    size_t low = 0;
    size_t high = version_count(key);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (version_of(key, middle)->revision <= revision) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    const struct genversion *found = low == 0 ? NULL : version_of(key, low - 1);
    return found != NULL && found->value != HISTORY_NONE ? found : NULL;
}

void genstore_elements(const struct genstore *s, uint32_t owner, int64_t revision, struct buf *ret)
{
    uint32_t place = numtable_get(&s->owner_places, owner);
    if (place == NUMTABLE_NONE) {
        return;
    }
    const struct genowner *o = (const struct genowner *)(const void *)s->owners.data + place;
    const struct genelement *e = (const struct genelement *)(const void *)o->elements.data;
    for (size_t i = 0; i < o->elements.len / sizeof *e && e[i].revision <= revision; i++) {
        buf_append(ret, &e[i].element, sizeof e[i].element);
    }
    ASSERT(buf_ok(ret));
}
