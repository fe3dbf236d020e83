/* SPDX-License-Identifier: Apache-2.0 */
#include "server/joining.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/codec.h"

#define ANSWER_FORMAT 1u
#define FLAG_LEARNER  1u
#define FLAG_STARTED  2u
#define FLAG_VOTES    4u

static_assert(MEMBERS_MAX <= UINT8_MAX && MEMBER_URLS_MAX <= UINT8_MAX, "counts fit their bytes");

static bool votes(const struct node_member *present, size_t count, uint64_t id)
{
    const struct node_member *member = node_member_find(present, count, id);
    return member != NULL && member->role == MEMBER_VOTER;
}

void joining_describe(struct buf *buf, uint64_t cluster_id, const struct cluster *cluster,
                      const struct node_member *present, size_t present_count)
{
    const struct cluster_member *members;
    size_t count = cluster_members(cluster, &members);
    write_u8(buf, ANSWER_FORMAT);
    write_u64(buf, cluster_id);
    write_u8(buf, (uint8_t)count);
    for (size_t i = 0; i < count; i++) {
        const struct cluster_member *member = &members[i];
        write_u64(buf, member->id);
        write_u8(buf, (uint8_t)((member->learner ? FLAG_LEARNER : 0) |
                                (member->name[0] != '\0' ? FLAG_STARTED : 0) |
                                (votes(present, present_count, member->id) ? FLAG_VOTES : 0)));
        write_var_bytes(buf, bytes_of_str(member->name));
        write_u8(buf, (uint8_t)member->peer_url_count);
        for (size_t j = 0; j < member->peer_url_count; j++) {
            write_var_bytes(buf, bytes_of_str(member->peer_urls[j]));
        }
    }
}

static char *read_text(struct reader *r)
{
    struct bytes text = read_var_bytes(r, MEMBER_TEXT_BYTES_MAX);
    if (r->failed || (text.len > 0 && memchr(text.data, '\0', text.len) != NULL)) {
        reader_fail(r);
        return NULL;
    }
    char *copy = malloc(text.len + 1);
    if (copy != NULL) {
        if (text.len > 0) {
            memcpy(copy, text.data, text.len);
        }
        copy[text.len] = '\0';
    }
    return copy;
}

static enum err read_member(struct reader *r, struct initial_member *member, uint8_t *flags)
{
    member->id = read_u64(r);
    *flags = read_u8(r);
    member->name = read_text(r);
    uint8_t url_count = read_u8(r);
    if (r->failed || member->id == 0 || url_count > MEMBER_URLS_MAX) {
        return ERR_MALFORMED;
    }
    member->peer_urls = calloc((size_t)url_count + 1, sizeof *member->peer_urls);
    if (member->name == NULL || member->peer_urls == NULL) {
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < url_count; i++) {
        char *url = read_text(r);
        if (url == NULL) {
            return r->failed ? ERR_MALFORMED : ERR_NOMEM;
        }
        member->peer_urls[member->peer_url_count++] = url;
    }
    bootstrap_sort_urls(member->peer_urls, member->peer_url_count);
    return OK;
}

static enum err read_members(struct reader *r, struct joining_cluster *ret)
{
    uint8_t format = read_u8(r);
    ret->cluster.cluster_id = read_u64(r);
    uint8_t count = read_u8(r);
    if (r->failed || format != ANSWER_FORMAT || count == 0 || count > MEMBERS_MAX) {
        return ERR_MALFORMED;
    }
    for (size_t i = 0; i < count; i++) {
        ret->cluster.count = i + 1;
        uint8_t flags = 0;
        TRY(read_member(r, &ret->cluster.members[i], &flags));
        ret->has_started[i] = (flags & FLAG_STARTED) != 0;
        ret->votes[i] = (flags & FLAG_VOTES) != 0;
        if (i > 0 && ret->cluster.members[i].id <= ret->cluster.members[i - 1].id) {
            return ERR_MALFORMED;
        }
    }
    return reader_end(r);
}

enum err joining_decode(struct bytes answer, struct joining_cluster *ret)
{
    *ret = (struct joining_cluster){0};
    struct reader r = reader_of(answer);
    enum err err = read_members(&r, ret);
    if (err != OK) {
        joining_cluster_fini(ret);
    }
    return err;
}

void joining_cluster_fini(struct joining_cluster *cluster)
{
    initial_cluster_fini(&cluster->cluster);
}

static bool same_urls(const struct initial_member *a, const struct initial_member *b)
{
    if (a->peer_url_count != b->peer_url_count) {
        return false;
    }
    for (size_t i = 0; i < a->peer_url_count; i++) {
        if (strcmp(a->peer_urls[i], b->peer_urls[i]) != 0) {
            return false;
        }
    }
    return true;
}

static const struct initial_member *find_by_urls(const struct initial_cluster *cluster,
                                                 const struct initial_member *wanted)
{
    for (size_t i = 0; i < cluster->count; i++) {
        if (same_urls(&cluster->members[i], wanted)) {
            return &cluster->members[i];
        }
    }
    return NULL;
}

enum err joining_find(const struct initial_cluster *told, const struct initial_member *self,
                      const struct joining_cluster *existing, uint64_t *ret, struct why *why)
{
    if (told->count != existing->cluster.count) {
        why_set(why, "member count is unequal: --initial-cluster has %zu, the cluster has %zu",
                told->count, existing->cluster.count);
        return ERR_INVALID;
    }
    for (size_t i = 0; i < existing->cluster.count; i++) {
        const struct initial_member *member = &existing->cluster.members[i];
        if (find_by_urls(told, member) == NULL) {
            why_set(why,
                    "PeerURLs: no match found for existing member (%" PRIx64
                    ", [%s]) in --initial-cluster",
                    member->id, member->peer_url_count == 0 ? "" : member->peer_urls[0]);
            return ERR_INVALID;
        }
    }
    const struct initial_member *found = find_by_urls(&existing->cluster, self);
    if (found == NULL) { /* two members that were told have the same URLs */
        why_set(why, "PeerURLs: no existing member has those of \"%s\"", self->name);
        return ERR_INVALID;
    }
    size_t at = (size_t)(found - existing->cluster.members);
    if (existing->has_started[at] || existing->votes[at]) {
        why_set(why,
                "member %" PRIx64 " %s, and its data is not in this data directory: start it with "
                "its data, or remove it from the cluster and add it again",
                found->id, existing->has_started[at] ? "has been started before" : "votes already");
        return ERR_INVALID;
    }
    *ret = found->id;
    return OK;
}

bool joining_has_started(const struct joining_cluster *existing, uint64_t id)
{
    for (size_t i = 0; i < existing->cluster.count; i++) {
        if (existing->cluster.members[i].id == id) {
            return existing->has_started[i];
        }
    }
    return false;
}
