/* SPDX-License-Identifier: Apache-2.0 */
#include "fsm/cluster.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"

/* Rows of the member table: key = id (8 bytes big-endian, so that the table's order is that of the
 * ids), value = format u8, learner u8, name, peer URLs, client URLs, each list with its count. Rows
 * of the cluster table: "version" -> text; "removed", id (8 bytes big-endian) -> format u8. */

#define ROW_FORMAT 1
#define ID_BYTES   8

static const char version_key[] = "version";
static const char removed_key[] = "removed";
#define REMOVED_PREFIX    (sizeof removed_key - 1)
#define REMOVED_KEY_BYTES (REMOVED_PREFIX + ID_BYTES)

struct cluster {
    struct store *store;
    struct cluster_member members[MEMBERS_MAX];
    size_t count;
    const char *version; /* NULL: not decided yet */
    bool begun;          /* else the members are what this member was started with */
    uint64_t *removed;   /* in the order of their ids */
    size_t removed_count;
    size_t removed_cap;
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

static void forget_members(struct cluster *cluster)
{
    for (size_t i = 0; i < cluster->count; i++) {
        member_fini(&cluster->members[i]);
    }
    cluster->count = 0;
}

void cluster_free(struct cluster *cluster)
{
    if (cluster == NULL) {
        return;
    }
    forget_members(cluster);
    free((void *)(uintptr_t)cluster->version);
    free(cluster->removed);
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

void cluster_encode_row(const struct cluster_member *member, uint8_t key[CLUSTER_ROW_KEY_BYTES],
                        struct buf *buf)
{
    put_u64_be(key, member->id);
    write_u8(buf, ROW_FORMAT);
    write_u8(buf, member->learner);
    write_var_bytes(buf, bytes_of_str(member->name));
    write_texts(buf, member->peer_urls, member->peer_url_count);
    write_texts(buf, member->client_urls, member->client_url_count);
}

static enum err save(struct cluster *cluster, const struct cluster_member *member)
{
    CLEANUP(buf_fini) struct buf row = {0};
    uint8_t key[CLUSTER_ROW_KEY_BYTES];
    cluster_encode_row(member, key, &row);
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
    if (reader_end(&k) != OK || id == 0 || r.failed || format != ROW_FORMAT) {
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

/* ---- ids that are gone ---- */

static size_t removed_place(const struct cluster *cluster, uint64_t id)
{
    size_t low = 0;
    size_t high = cluster->removed_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (cluster->removed[middle] < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool cluster_is_removed(const struct cluster *cluster, uint64_t id)
{
    size_t at = removed_place(cluster, id);
    return at < cluster->removed_count && cluster->removed[at] == id;
}

static enum err remember_removed(struct cluster *cluster, uint64_t id)
{
    if (!ARRAY_MAKE_ROOM(cluster->removed, cluster->removed_count, cluster->removed_cap, 16)) {
        return ERR_NOMEM;
    }
    size_t at = removed_place(cluster, id);
    memmove(&cluster->removed[at + 1], &cluster->removed[at],
            (cluster->removed_count - at) * sizeof *cluster->removed);
    cluster->removed[at] = id;
    cluster->removed_count++;
    return OK;
}

static void save_removed(struct cluster *cluster, uint64_t id)
{
    static const uint8_t format = ROW_FORMAT;
    uint8_t key[REMOVED_KEY_BYTES];
    memcpy(key, removed_key, REMOVED_PREFIX);
    put_u64_be(key + REMOVED_PREFIX, id);
    store_table_put(cluster->store, TABLE_CLUSTER, bytes_of(key, sizeof key), bytes_of(&format, 1));
}

static enum err load_removed(struct cluster *cluster, struct bytes key, struct bytes value)
{
    if (value.len != 1 || value.data[0] != ROW_FORMAT) {
        return value.len == 1 && value.data[0] > ROW_FORMAT ? ERR_VERSION : ERR_CORRUPT;
    }
    struct reader r = reader_of(bytes_of(key.data + REMOVED_PREFIX, ID_BYTES));
    uint64_t id = read_u64_be(&r);
    return cluster_is_removed(cluster, id) ? OK : remember_removed(cluster, id);
}

static enum err load_cluster(void *ctx, struct bytes key, struct bytes value)
{
    struct cluster *cluster = ctx;
    if (key.len == REMOVED_KEY_BYTES && memcmp(key.data, removed_key, REMOVED_PREFIX) == 0) {
        return load_removed(cluster, key, value);
    }
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
    cluster->begun = cluster->count > 0;
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
    return OK;
}

/* ---- changes ---- */

bool cluster_has_begun(const struct cluster *cluster)
{
    return cluster->begun;
}

static enum err set_peer_urls(struct cluster_member *member, const struct command_member *from)
{
    return copy_texts(from->peer_urls, from->peer_url_count, &member->peer_urls,
                      &member->peer_url_count);
}

static enum err make(struct cluster *cluster, const struct command_member *from)
{
    struct cluster_member *member;
    TRY(member_make(cluster, from->id, &member));
    member->learner = from->learner;
    TRY(copy_text(bytes_of(NULL, 0), &member->name));
    TRY(set_peer_urls(member, from));
    return save(cluster, member);
}

enum err cluster_init(struct cluster *cluster, const struct command_member_init *init)
{
    if (cluster->begun || init->count == 0) {
        return OK;
    }
    forget_members(cluster);
    for (size_t i = 0; i < init->count; i++) {
        TRY(make(cluster, &init->members[i]));
    }
    cluster->begun = true;
    return OK;
}

/* Voters, and how many of them have told their name; EXCEPT is not counted. */
struct voters {
    size_t count;
    size_t started;
};

static struct voters count_voters(const struct cluster *cluster, uint64_t except)
{
    struct voters voters = {0};
    for (size_t i = 0; i < cluster->count; i++) {
        const struct cluster_member *member = &cluster->members[i];
        if (!member->learner && member->id != except) {
            voters.count++;
            voters.started += member->name[0] != '\0';
        }
    }
    return voters;
}

static bool is_majority(size_t count, size_t of)
{
    return count >= of / 2 + 1;
}

enum err cluster_check_started(const struct cluster *cluster, enum command_kind kind,
                               const struct command_member *member)
{
    struct voters now = count_voters(cluster, 0);
    bool enough = true;
    if (kind == COMMAND_MEMBER_ADD && !member->learner) {
        /* One member may always get a second: it cannot have a majority of two started. */
        bool alone = now.count == 1 && now.started == 1;
        enough = alone || is_majority(now.started, now.count + 1);
    } else if (kind == COMMAND_MEMBER_PROMOTE) {
        enough = is_majority(now.started + 1, now.count + 1);
    } else if (kind == COMMAND_MEMBER_REMOVE) {
        const struct cluster_member *gone = cluster_member(cluster, member->id);
        struct voters then = count_voters(cluster, member->id);
        bool votes = gone == NULL || !gone->learner;
        enough = !votes || is_majority(then.started, then.count);
    }
    return enough ? OK : ERR_FEW_STARTED;
}

static enum err check(const struct cluster *cluster, enum command_kind kind,
                      const struct command_member *member)
{
    if (!cluster->begun) {
        return ERR_UNHEALTHY;
    }
    return member->strict ? cluster_check_started(cluster, kind, member) : OK;
}

/* Is one of the URLs that of a member other than EXCEPT? */
static bool is_url_taken(const struct cluster *cluster, const struct command_member *member,
                         uint64_t except)
{
    for (size_t i = 0; i < cluster->count; i++) {
        const struct cluster_member *other = &cluster->members[i];
        for (size_t j = 0; j < other->peer_url_count && other->id != except; j++) {
            for (size_t k = 0; k < member->peer_url_count; k++) {
                if (bytes_equal(bytes_of_str(other->peer_urls[j]), member->peer_urls[k])) {
                    return true;
                }
            }
        }
    }
    return false;
}

static size_t count_learners(const struct cluster *cluster)
{
    size_t count = 0;
    for (size_t i = 0; i < cluster->count; i++) {
        count += cluster->members[i].learner;
    }
    return count;
}

enum err cluster_add(struct cluster *cluster, const struct command_member *member)
{
    TRY(check(cluster, COMMAND_MEMBER_ADD, member));
    if (cluster_is_removed(cluster, member->id)) {
        return ERR_MEMBER_NOT_FOUND;
    }
    if (cluster_member(cluster, member->id) != NULL) {
        return ERR_MEMBER_EXISTS;
    }
    if (is_url_taken(cluster, member, 0)) {
        return ERR_PEER_URL_EXISTS;
    }
    if (member->learner && count_learners(cluster) >= member->learners_max) {
        return ERR_MANY_LEARNERS;
    }
    return make(cluster, member);
}

/* The member with this id, to be changed. */
static struct cluster_member *find(struct cluster *cluster, uint64_t id)
{
    return (struct cluster_member *)(uintptr_t)cluster_member(cluster, id);
}

enum err cluster_remove(struct cluster *cluster, const struct command_member *member)
{
    TRY(check(cluster, COMMAND_MEMBER_REMOVE, member));
    struct cluster_member *gone = find(cluster, member->id);
    if (gone == NULL) {
        return ERR_MEMBER_NOT_FOUND;
    }
    if (count_voters(cluster, member->id).count == 0) {
        return ERR_FEW_STARTED;
    }
    TRY(remember_removed(cluster, member->id));
    member_fini(gone);
    size_t at = (size_t)(gone - cluster->members);
    cluster->count--;
    memmove(gone, gone + 1, (cluster->count - at) * sizeof *gone);
    uint8_t key[ID_BYTES];
    put_u64_be(key, member->id);
    store_table_delete(cluster->store, TABLE_MEMBER, bytes_of(key, sizeof key));
    save_removed(cluster, member->id);
    return OK;
}

enum err cluster_update(struct cluster *cluster, const struct command_member *member)
{
    TRY(check(cluster, COMMAND_MEMBER_UPDATE, member));
    struct cluster_member *updated = find(cluster, member->id);
    if (updated == NULL) {
        return ERR_MEMBER_NOT_FOUND;
    }
    if (is_url_taken(cluster, member, member->id)) {
        return ERR_PEER_URL_EXISTS;
    }
    TRY(set_peer_urls(updated, member));
    return save(cluster, updated);
}

enum err cluster_promote(struct cluster *cluster, const struct command_member *member)
{
    struct cluster_member *promoted = find(cluster, member->id);
    if (cluster->begun && promoted == NULL) {
        return ERR_MEMBER_NOT_FOUND;
    }
    TRY(check(cluster, COMMAND_MEMBER_PROMOTE, member));
    if (!promoted->learner) {
        return ERR_NOT_LEARNER;
    }
    promoted->learner = false;
    return save(cluster, promoted);
}

enum err cluster_publish(struct cluster *cluster, const struct command_member_publish *publish)
{
    struct cluster_member *member = find(cluster, publish->member_id);
    if (!cluster->begun || member == NULL) {
        return ERR_MEMBER_NOT_FOUND;
    }
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
