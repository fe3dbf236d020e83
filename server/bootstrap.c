/* SPDX-License-Identifier: Apache-2.0 */
#include "server/bootstrap.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/codec.h"

#define PEER_URLS_MAX 16

static uint64_t sha1_head(const struct buf *buf)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (!buf_ok(buf) || EVP_Digest(buf->data, buf->len, digest, &size, EVP_sha1(), NULL) != 1) {
        fatal("compute an id: SHA-1 failed");
    }
    struct reader r = reader_of(bytes_of(digest, size));
    return read_u64_be(&r);
}

uint64_t bootstrap_member_id(char *const *sorted_urls, size_t count, const char *token)
{
    CLEANUP(buf_fini) struct buf buf = {0};
    for (size_t i = 0; i < count; i++) {
        buf_append_str(&buf, sorted_urls[i]);
    }
    buf_append_str(&buf, token);
    return sha1_head(&buf);
}

uint64_t bootstrap_cluster_id(const uint64_t *sorted_ids, size_t count)
{
    CLEANUP(buf_fini) struct buf buf = {0};
    for (size_t i = 0; i < count; i++) {
        write_u64_be(&buf, sorted_ids[i]);
    }
    return sha1_head(&buf);
}

static int order_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void bootstrap_sort_urls(char **urls, size_t count)
{
    qsort(urls, count, sizeof *urls, order_texts);
}

static int order_members(const void *a, const void *b)
{
    const struct initial_member *x = a;
    const struct initial_member *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

void initial_cluster_fini(struct initial_cluster *cluster)
{
    for (size_t i = 0; i < cluster->count; i++) {
        struct initial_member *member = &cluster->members[i];
        for (size_t j = 0; j < member->peer_url_count; j++) {
            free(member->peer_urls[j]);
        }
        free(member->peer_urls);
        free(member->name);
    }
    cluster->count = 0;
}

const struct initial_member *initial_cluster_find(const struct initial_cluster *cluster,
                                                  const char *name)
{
    for (size_t i = 0; i < cluster->count; i++) {
        if (strcmp(cluster->members[i].name, name) == 0) {
            return &cluster->members[i];
        }
    }
    return NULL;
}

static enum err member_of_name(struct initial_cluster *cluster, struct bytes name,
                               struct initial_member **ret, struct why *why)
{
    for (size_t i = 0; i < cluster->count; i++) {
        if (bytes_equal(bytes_of_str(cluster->members[i].name), name)) {
            *ret = &cluster->members[i];
            return OK;
        }
    }
    if (cluster->count == MEMBERS_MAX) {
        why_set(why, "more than %d members", MEMBERS_MAX);
        return ERR_LIMIT;
    }
    struct initial_member *member = &cluster->members[cluster->count];
    *member = (struct initial_member){0};
    member->name = strndup((const char *)name.data, name.len);
    member->peer_urls = calloc(PEER_URLS_MAX, sizeof *member->peer_urls);
    cluster->count++;
    if (member->name == NULL || member->peer_urls == NULL) {
        return ERR_NOMEM;
    }
    *ret = member;
    return OK;
}

static bool url_known(const struct initial_cluster *cluster, struct bytes url)
{
    for (size_t i = 0; i < cluster->count; i++) {
        for (size_t j = 0; j < cluster->members[i].peer_url_count; j++) {
            if (bytes_equal(bytes_of_str(cluster->members[i].peer_urls[j]), url)) {
                return true;
            }
        }
    }
    return false;
}

static enum err add_url(struct initial_cluster *cluster, struct bytes name, struct bytes text,
                        struct why *why)
{
    struct url url;
    TRY(url_parse(text, &url, why));
    if (url.scheme != URL_HTTP) {
        why_set(why, "peer URL '%.*s': only http:// is supported", (int)text.len,
                (const char *)text.data);
        return ERR_UNSUPPORTED;
    }
    if (url_known(cluster, text)) {
        why_set(why, "peer URL '%.*s' is given twice", (int)text.len, (const char *)text.data);
        return ERR_INVALID;
    }
    struct initial_member *member;
    TRY(member_of_name(cluster, name, &member, why));
    if (member->peer_url_count == PEER_URLS_MAX) {
        why_set(why, "member '%s' has more than %d peer URLs", member->name, PEER_URLS_MAX);
        return ERR_LIMIT;
    }
    char *copy = strndup((const char *)text.data, text.len);
    if (copy == NULL) {
        return ERR_NOMEM;
    }
    if (member->peer_url_count == 0) {
        addr_format(&url.addr, member->address, sizeof member->address);
    }
    member->peer_urls[member->peer_url_count++] = copy;
    return OK;
}

static enum err add_item(struct initial_cluster *cluster, struct bytes item, struct why *why)
{
    const uint8_t *equals = item.len == 0 ? NULL : memchr(item.data, '=', item.len);
    if (equals == NULL || equals == item.data) {
        why_set(why, "'%.*s' is not name=url", (int)item.len, (const char *)item.data);
        return ERR_INVALID;
    }
    size_t name_len = (size_t)(equals - item.data);
    return add_url(cluster, bytes_of(item.data, name_len),
                   bytes_of(equals + 1, item.len - name_len - 1), why);
}

static enum err parse_items(struct initial_cluster *cluster, const char *text, struct why *why)
{
    for (const char *at = text;;) {
        const char *comma = strchrnul(at, ',');
        TRY(add_item(cluster, bytes_of(at, (size_t)(comma - at)), why));
        if (*comma == '\0') {
            return OK;
        }
        at = comma + 1;
    }
}

enum err initial_cluster_parse(const char *text, const char *token, struct initial_cluster *ret,
                               struct why *why)
{
    ret->count = 0;
    enum err err = parse_items(ret, text, why);
    if (err != OK) {
        initial_cluster_fini(ret);
        return err;
    }
    uint64_t ids[MEMBERS_MAX];
    for (size_t i = 0; i < ret->count; i++) {
        struct initial_member *member = &ret->members[i];
        bootstrap_sort_urls(member->peer_urls, member->peer_url_count);
        member->id = bootstrap_member_id(member->peer_urls, member->peer_url_count, token);
    }
    qsort(ret->members, ret->count, sizeof *ret->members, order_members);
    for (size_t i = 0; i < ret->count; i++) {
        ids[i] = ret->members[i].id;
    }
    ret->cluster_id = bootstrap_cluster_id(ids, ret->count);
    return OK;
}
