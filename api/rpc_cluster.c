/* SPDX-License-Identifier: Apache-2.0 */
/* Cluster: who the members are, and changes of that. A change is one command; what it may do is
 * said where it is applied (fsm/cluster.h), and by this member, which looks at its connections
 * before (server/membership.h). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/message.h"
#include "base/addr.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "server/bootstrap.h"

/* ---- answers ---- */

static char **texts_of(const char *const *texts)
{
    return (char **)(uintptr_t)texts; /* protobuf-c does not write to what it packs */
}

static void fill_member(const struct cluster_member *from, Etcdserverpb__Member *to)
{
    etcdserverpb__member__init(to);
    to->id = from->id;
    to->name = (char *)(uintptr_t)from->name;
    to->peerurls = texts_of(from->peer_urls);
    to->n_peerurls = from->peer_url_count;
    to->clienturls = texts_of(from->client_urls);
    to->n_clienturls = from->client_url_count;
    to->islearner = from->learner;
}

struct member_messages {
    Etcdserverpb__Member messages[MEMBERS_MAX];
    Etcdserverpb__Member *pointers[MEMBERS_MAX];
    size_t count;
};

static void fill_members(const struct call *call, struct member_messages *to)
{
    const struct cluster_member *members;
    to->count = cluster_members(server_cluster(call->server), &members);
    for (size_t i = 0; i < to->count; i++) {
        fill_member(&members[i], &to->messages[i]);
        to->pointers[i] = &to->messages[i];
    }
}

/* The header of membership answers has no revision. The messages of all but MemberAdd have the same
 * fields, each of its own type. */
#define ANSWER_MEMBERS(call, name, NAME)                                  \
    do {                                                                  \
        struct member_messages members_;                                  \
        fill_members((call), &members_);                                  \
        Etcdserverpb__ResponseHeader header_ = message_header((call), 0); \
        Etcdserverpb__##name answer_ = ETCDSERVERPB__##NAME##__INIT;      \
        answer_.header = &header_;                                        \
        answer_.members = members_.pointers;                              \
        answer_.n_members = members_.count;                               \
        call_answer_message((call), &answer_.base);                       \
    } while (0)

/* ---- MemberList ---- */

static void answer_list(struct call *call)
{
    ANSWER_MEMBERS(call, MemberListResponse, MEMBER_LIST_RESPONSE);
}

static void rpc_cluster_member_list(struct call *call, const void *message)
{
    const Etcdserverpb__MemberListRequest *request = message;
    if (request->linearizable) {
        call_read(call, answer_list);
    } else {
        answer_list(call);
    }
}

/* ---- peer URLs, as clients give them ---- */

static struct bytes trimmed(const char *text)
{
    static const char blanks[] = " \t\n\v\f\r";
    text += strspn(text, blanks);
    size_t len = strlen(text);
    while (len > 0 && strchr(blanks, text[len - 1]) != NULL) {
        len--;
    }
    return bytes_of(text, len);
}

static bool is_good(struct bytes text)
{
    struct url url;
    if (text.len == 0 || text.len > MEMBER_TEXT_BYTES_MAX || url_parse(text, &url, NULL) != OK) {
        return false;
    }
    bool is_tcp = url.scheme == URL_HTTP || url.scheme == URL_HTTPS;
    return !is_tcp || text.data[text.len - 1] != '/'; /* not even the shortest path */
}

/* Sorted, in the call's arena. ERR_MEMBER_URLS, ERR_NOMEM. */
static enum err convert_urls(struct call *call, char *const *urls, size_t count,
                             struct command_member *member, char ***texts)
{
    struct arena *arena = call_arena(call);
    if (count == 0 || count > MEMBER_URLS_MAX) {
        return ERR_MEMBER_URLS;
    }
    *texts = arena_alloc(arena, count * sizeof **texts);
    member->peer_urls = arena_alloc(arena, count * sizeof *member->peer_urls);
    if (*texts == NULL || member->peer_urls == NULL) {
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        struct bytes url = trimmed(urls[i]);
        if (!is_good(url)) {
            return ERR_MEMBER_URLS;
        }
        (*texts)[i] = arena_strdup(arena, url);
        if ((*texts)[i] == NULL) {
            return ERR_NOMEM;
        }
    }
    bootstrap_sort_urls(*texts, count);
    for (size_t i = 0; i < count; i++) {
        member->peer_urls[i] = bytes_of_str((*texts)[i]);
    }
    member->peer_url_count = count;
    return OK;
}

/* ---- changes ---- */

/* No member has the id 0. */
static void propose_change(struct call *call, struct command *command, call_cb done)
{
    enum err err =
        command->member.id == 0 ? ERR_MEMBER_NOT_FOUND : server_check_change(call->server, command);
    if (err != OK) {
        call_fail(call, err);
        return;
    }
    call_propose(call, command, done);
}

struct add_call {
    struct call call;
    uint64_t id;
};

static void on_added(struct call *call)
{
    const struct add_call *state = CONTAINER_OF(call, struct add_call, call);
    struct member_messages members;
    fill_members(call, &members);
    Etcdserverpb__ResponseHeader header = message_header(call, 0);
    Etcdserverpb__MemberAddResponse answer = ETCDSERVERPB__MEMBER_ADD_RESPONSE__INIT;
    answer.header = &header;
    for (size_t i = 0; i < members.count; i++) {
        if (members.messages[i].id == state->id) {
            answer.member = &members.messages[i];
        }
    }
    answer.members = members.pointers;
    answer.n_members = members.count;
    call_answer_message(call, &answer.base);
}

/* As etcd computes it: from the URLs and the time in seconds. One that was removed in this very
 * second does not come back. */
static uint64_t new_member_id(struct call *call, char *const *urls, size_t count)
{
    const struct cluster *cluster = server_cluster(call->server);
    uint64_t seconds = env_wall_ms(server_env(call->server)) / 1000;
    for (;;) {
        char token[24];
        snprintf(token, sizeof token, "%" PRIu64, seconds);
        uint64_t id = bootstrap_member_id(urls, count, token);
        if (id != 0 && !cluster_is_removed(cluster, id)) {
            return id;
        }
        seconds++;
    }
}

static void rpc_cluster_member_add(struct call *call, const void *message)
{
    struct add_call *state = CONTAINER_OF(call, struct add_call, call);
    const Etcdserverpb__MemberAddRequest *request = message;
    struct command command = {.kind = COMMAND_MEMBER_ADD,
                              .member = {.learner = request->islearner}};
    char **urls;
    enum err err =
        convert_urls(call, request->peerurls, request->n_peerurls, &command.member, &urls);
    if (err != OK) {
        call_fail(call, err);
        return;
    }
    state->id = new_member_id(call, urls, request->n_peerurls);
    command.member.id = state->id;
    propose_change(call, &command, on_added);
}

struct remove_call {
    struct call call;
    uint64_t id;
};

static void answer_removed(struct call *call)
{
    ANSWER_MEMBERS(call, MemberRemoveResponse, MEMBER_REMOVE_RESPONSE);
}

/* The table has it no more; the answer says that it does not count any more either. */
static void on_removed(struct call *call)
{
    const struct remove_call *state = CONTAINER_OF(call, struct remove_call, call);
    call_leave(call, state->id, answer_removed);
}

static void rpc_cluster_member_remove(struct call *call, const void *message)
{
    struct remove_call *state = CONTAINER_OF(call, struct remove_call, call);
    const Etcdserverpb__MemberRemoveRequest *request = message;
    struct command command = {.kind = COMMAND_MEMBER_REMOVE, .member = {.id = request->id}};
    state->id = request->id;
    propose_change(call, &command, on_removed);
}

static void on_updated(struct call *call)
{
    ANSWER_MEMBERS(call, MemberUpdateResponse, MEMBER_UPDATE_RESPONSE);
}

static void rpc_cluster_member_update(struct call *call, const void *message)
{
    const Etcdserverpb__MemberUpdateRequest *request = message;
    struct command command = {.kind = COMMAND_MEMBER_UPDATE, .member = {.id = request->id}};
    char **urls;
    enum err err =
        convert_urls(call, request->peerurls, request->n_peerurls, &command.member, &urls);
    if (err != OK) {
        call_fail(call, err);
        return;
    }
    propose_change(call, &command, on_updated);
}

static void on_promoted(struct call *call)
{
    ANSWER_MEMBERS(call, MemberPromoteResponse, MEMBER_PROMOTE_RESPONSE);
}

static void rpc_cluster_member_promote(struct call *call, const void *message)
{
    const Etcdserverpb__MemberPromoteRequest *request = message;
    struct command command = {.kind = COMMAND_MEMBER_PROMOTE, .member = {.id = request->id}};
    propose_change(call, &command, on_promoted);
}

static const struct method rows[] = {
    {
        .path = "/etcdserverpb.Cluster/MemberAdd",
        .request = &etcdserverpb__member_add_request__descriptor,
        .state_bytes = sizeof(struct add_call),
        .handle = rpc_cluster_member_add,
    },
    {
        .path = "/etcdserverpb.Cluster/MemberRemove",
        .request = &etcdserverpb__member_remove_request__descriptor,
        .state_bytes = sizeof(struct remove_call),
        .handle = rpc_cluster_member_remove,
    },
    {
        .path = "/etcdserverpb.Cluster/MemberUpdate",
        .request = &etcdserverpb__member_update_request__descriptor,
        .handle = rpc_cluster_member_update,
    },
    {
        .path = "/etcdserverpb.Cluster/MemberPromote",
        .request = &etcdserverpb__member_promote_request__descriptor,
        .handle = rpc_cluster_member_promote,
    },
    {
        .path = "/etcdserverpb.Cluster/MemberList",
        .request = &etcdserverpb__member_list_request__descriptor,
        .handle = rpc_cluster_member_list,
    },
};

const struct method_table rpc_cluster = {.rows = rows, .count = ARRAY_LEN(rows)};
