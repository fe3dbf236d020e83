/* SPDX-License-Identifier: Apache-2.0 */
#include "fsm/cluster.h"

#include <stdlib.h>

#include "base/cleanup.h"

/* Rows of the member table: key = id (8 bytes big-endian, so that the table's order is that of the
 * ids), value = format u8, learner u8, name, peer URLs, client URLs, each list with its count. Rows
 * of the cluster table: "version" -> text. */

#define ROW_FORMAT 1

static const char version_key[] = "version";

struct cluster {
    struct store *store;
    struct cluster_member members[MEMBERS_MAX];
    size_t count;
    const char *version; /* NULL: not decided yet */
    bool unsaved;        /* the first members are in memory alone */
};

static void free_texts(const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free((void *)(uintptr_t)texts[i]);
    }
    free((void *)(uintptr_t)texts);
}

static void member_fini(struct cluster_member *member)
{
    free((void *)(uintptr_t)member->name);
    free_texts(member->peer_urls, member->peer_url_count);
    free_texts(member->client_urls, member->client_url_count);
    *member = (struct cluster_member){0};
}

void cluster_free(struct cluster *cluster)
{
    if (cluster == NULL) {
        return;
    }
    for (size_t i = 0; i < cluster->count; i++) {
        member_fini(&cluster->members[i]);
    }
    free((void *)(uintptr_t)cluster->version);
    free(cluster);
}

/* The place of ID, or where it belongs. */
static size_t place_of(const struct cluster *cluster, uint64_t id)
{
    size_t i = 0;
    while (i < cluster->count && cluster->members[i].id < id) {
        i++;
    }
    return i;
}

/* The member with ID, made when it is new. */
static enum err member_make(struct cluster *cluster, uint64_t id, struct cluster_member **ret)
{
    size_t at = place_of(cluster, id);
    if (at == cluster->count || cluster->members[at].id != id) {
        if (cluster->count == MEMBERS_MAX) {
            return ERR_LIMIT;
        }
        memmove(&cluster->members[at + 1], &cluster->members[at],
                (cluster->count - at) * sizeof *cluster->members);
        cluster->members[at] = (struct cluster_member){.id = id};
        cluster->count++;
    }
    *ret = &cluster->members[at];
    return OK;
}

static enum err copy_text(struct bytes text, const char **ret)
{
    char *copy = malloc(text.len + 1);
    if (copy == NULL) {
        return ERR_NOMEM;
    }
    if (text.len > 0) {
        memcpy(copy, text.data, text.len);
    }
    copy[text.len] = '\0';
    free((void *)(uintptr_t)*ret);
    *ret = copy;
    return OK;
}

static enum err copy_texts(const struct bytes *texts, size_t count, const char *const **ret,
                           size_t *ret_count)
{
    const char **copies = calloc(count + 1, sizeof *copies);
    if (copies == NULL) {
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        enum err err = copy_text(texts[i], &copies[i]);
        if (err != OK) {
            free_texts(copies, i);
            return err;
        }
    }
    free_texts(*ret, *ret_count);
    *ret = copies;
    *ret_count = count;
    return OK;
}

static void write_texts(struct buf *buf, const char *const *texts, size_t count)
{
    write_varint(buf, count);
    for (size_t i = 0; i < count; i++) {
        write_var_bytes(buf, bytes_of_str(texts[i]));
    }
}

static void write_row(struct buf *buf, const struct cluster_member *member)
{
    write_u8(buf, ROW_FORMAT);
    write_u8(buf, member->learner);
    write_var_bytes(buf, bytes_of_str(member->name));
    write_texts(buf, member->peer_urls, member->peer_url_count);
    write_texts(buf, member->client_urls, member->client_url_count);
}

static enum err save(struct cluster *cluster, const struct cluster_member *member)
{
    CLEANUP(buf_fini) struct buf row = {0};
    uint8_t key[8];
    put_u64(key, __builtin_bswap64(member->id));
    write_row(&row, member);
    if (!buf_ok(&row)) {
        return ERR_NOMEM;
    }
    store_table_put(cluster->store, TABLE_MEMBER, bytes_of(key, sizeof key), buf_bytes(&row));
    return OK;
}

static enum err read_texts(struct reader *r, const char *const **ret, size_t *ret_count)
{
    struct bytes texts[MEMBER_URLS_MAX];
    uint64_t count = read_varint(r);
    if (r->failed || count > MEMBER_URLS_MAX) {
        return ERR_CORRUPT;
    }
    for (size_t i = 0; i < count; i++) {
        texts[i] = read_var_bytes(r, MEMBER_TEXT_BYTES_MAX);
    }
    return r->failed ? ERR_CORRUPT : copy_texts(texts, (size_t)count, ret, ret_count);
}

static enum err load_member(void *ctx, struct bytes key, struct bytes value)
{
    struct cluster *cluster = ctx;
    struct reader k = reader_of(key);
    struct reader r = reader_of(value);
    uint64_t id = read_u64_be(&k);
    uint8_t format = read_u8(&r);
    uint8_t learner = read_u8(&r);
    struct bytes name = read_var_bytes(&r, MEMBER_TEXT_BYTES_MAX);
    if (k.failed || r.failed || format != ROW_FORMAT) {
        return format > ROW_FORMAT ? ERR_VERSION : ERR_CORRUPT;
    }
    struct cluster_member *member;
    TRY(member_make(cluster, id, &member));
    member->learner = learner != 0;
    TRY(copy_text(name, &member->name));
    TRY(read_texts(&r, &member->peer_urls, &member->peer_url_count));
    TRY(read_texts(&r, &member->client_urls, &member->client_url_count));
    return reader_end(&r) == OK ? OK : ERR_CORRUPT;
}

static enum err load_cluster(void *ctx, struct bytes key, struct bytes value)
{
    struct cluster *cluster = ctx;
    if (!bytes_equal(key, bytes_of_str(version_key))) {
        return OK;
    }
    return copy_text(value, &cluster->version);
}

enum err cluster_new(struct store *store, struct cluster **ret, struct why *why)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    if (cluster == NULL) {
        return ERR_NOMEM;
    }
    cluster->store = store;
    struct why cause = {{0}}; /* stays empty when it is a row that is wrong */
    enum err err = store_table_foreach(store, TABLE_MEMBER, load_member, cluster, &cause);
    if (err == OK) {
        err = store_table_foreach(store, TABLE_CLUSTER, load_cluster, cluster, &cause);
    }
    if (err != OK) {
        why_set(why, "read the members: %s", cause.text[0] == '\0' ? err_text(err) : cause.text);
        cluster_free(cluster);
        return err;
    }
    *ret = cluster;
    return OK;
}

enum err cluster_bootstrap(struct cluster *cluster, const struct cluster_member *members,
                           size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct cluster_member *member;
        struct bytes urls[MEMBER_URLS_MAX];
        if (members[i].peer_url_count > MEMBER_URLS_MAX) {
            return ERR_LIMIT;
        }
        for (size_t j = 0; j < members[i].peer_url_count; j++) {
            urls[j] = bytes_of_str(members[i].peer_urls[j]);
            if (urls[j].len > MEMBER_TEXT_BYTES_MAX) {
                return ERR_LIMIT;
            }
        }
        TRY(member_make(cluster, members[i].id, &member));
        member->learner = members[i].learner;
        TRY(copy_text(bytes_of(NULL, 0), &member->name));
        TRY(copy_texts(urls, members[i].peer_url_count, &member->peer_urls,
                       &member->peer_url_count));
    }
    cluster->unsaved = true;
    return OK;
}

enum err cluster_save(struct cluster *cluster)
{
    if (!cluster->unsaved) {
        return OK;
    }
    for (size_t i = 0; i < cluster->count; i++) {
        TRY(save(cluster, &cluster->members[i]));
    }
    cluster->unsaved = false;
    return OK;
}

enum err cluster_publish(struct cluster *cluster, const struct command_member_publish *publish)
{
    struct cluster_member *member;
    TRY(member_make(cluster, publish->member_id, &member));
    TRY(copy_text(publish->name, &member->name));
    TRY(copy_texts(publish->client_urls, publish->client_url_count, &member->client_urls,
                   &member->client_url_count));
    return save(cluster, member);
}

enum err cluster_set_version(struct cluster *cluster, struct bytes version)
{
    TRY(copy_text(version, &cluster->version));
    store_table_put(cluster->store, TABLE_CLUSTER, bytes_of_str(version_key), version);
    return OK;
}

size_t cluster_members(const struct cluster *cluster, const struct cluster_member **ret)
{
    *ret = cluster->members;
    return cluster->count;
}

const struct cluster_member *cluster_member(const struct cluster *cluster, uint64_t id)
{
    size_t at = place_of(cluster, id);
    return at < cluster->count && cluster->members[at].id == id ? &cluster->members[at] : NULL;
}

const char *cluster_version(const struct cluster *cluster)
{
    return cluster->version == NULL ? "" : cluster->version;
}
