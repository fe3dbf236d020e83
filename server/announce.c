/* SPDX-License-Identifier: Apache-2.0 */
#include "server/announce.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"

#define LOOK_MS         500
#define CLUSTER_VERSION "3.7"

static void on_published(struct op *op, enum err status)
{
    struct announce *announce = CONTAINER_OF(op, struct announce, member_op);
    announce->publishing = false;
    if (status != OK || op->result->status != OK || announce->stopped) {
        return; /* the next look tries again */
    }
    announce->published = true;
    LOG_INFO(announce->log, "published local member to cluster through raft",
             LOG_HEX("local-member-id", server_member_id(announce->server)),
             LOG_HEX("cluster-id", server_cluster_id(announce->server)));
    if (announce->on_ready != NULL) {
        announce->on_ready(announce->ctx);
    }
}

static void on_version_set(struct op *op, enum err status)
{
    struct announce *announce = CONTAINER_OF(op, struct announce, version_op);
    (void)status;
    announce->setting_version = false;
}

static void log_version(struct announce *announce, const char *version)
{
    if (!announce->version_logged && version[0] != '\0') {
        announce->version_logged = true;
        LOG_INFO(announce->log, "enabled capabilities for version",
                 LOG_STR("cluster-version", version));
        char labels[64];
        snprintf(labels, sizeof labels, "cluster_version=\"%.40s\"", version);
        gauge_set(metrics_gauge(server_metrics(announce->server), "etcd_cluster_version",
                                "1 for the version that all members support.", labels),
                  1);
    }
}

static void on_begun(struct op *op, enum err status)
{
    struct announce *announce = CONTAINER_OF(op, struct announce, init_op);
    (void)status;
    announce->beginning = false;
}

/* From Raft's configuration, which has one address of each. */
static enum err fill_from_configuration(struct node *node, struct arena *arena,
                                        struct command_member_init *init)
{
    const struct node_member *members;
    init->count = node_members(node, &members);
    init->members = arena_alloc(arena, (init->count + 1) * sizeof *init->members);
    if (init->members == NULL) {
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < init->count; i++) {
        struct command_member *member = &init->members[i];
        char url[URL_TEXT_SIZE];
        snprintf(url, sizeof url, "http://%s", node_address_host(members[i].address));
        *member = (struct command_member){
            .id = members[i].id, .learner = members[i].role != MEMBER_VOTER, .peer_url_count = 1};
        member->peer_urls = arena_alloc(arena, sizeof *member->peer_urls);
        if (member->peer_urls == NULL ||
            !arena_copy(arena, bytes_of_str(url), &member->peer_urls[0])) {
            return ERR_NOMEM;
        }
    }
    return OK;
}

static enum err fill_members(const struct cluster *cluster, struct arena *arena,
                             struct command_member_init *init)
{
    const struct cluster_member *members;
    init->count = cluster_members(cluster, &members);
    init->members = arena_alloc(arena, (init->count + 1) * sizeof *init->members);
    if (init->members == NULL) {
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < init->count; i++) {
        struct command_member *member = &init->members[i];
        *member = (struct command_member){.id = members[i].id,
                                          .learner = members[i].learner,
                                          .peer_url_count = members[i].peer_url_count};
        member->peer_urls =
            arena_alloc(arena, (member->peer_url_count + 1) * sizeof *member->peer_urls);
        if (member->peer_urls == NULL) {
            return ERR_NOMEM;
        }
        for (size_t j = 0; j < member->peer_url_count; j++) {
            member->peer_urls[j] = bytes_of_str(members[i].peer_urls[j]);
        }
    }
    return OK;
}

/* What this member was started with, to all members, and to those that join when the others were
 * started with something else. Without that (its data is all it had): who consensus is made of. */
static void begin_cluster(struct announce *announce)
{
    struct server *server = announce->server;
    struct arena arena = {0};
    struct command command = {.kind = COMMAND_MEMBER_INIT};
    const struct cluster_member *members;
    enum err err = cluster_members(server_cluster(server), &members) > 0
                       ? fill_members(server_cluster(server), &arena, &command.member_init)
                       : fill_from_configuration(server_node(server), &arena, &command.member_init);
    if (err == OK && command.member_init.count > 0) {
        announce->beginning = true;
        server_propose(server, &announce->init_op, &command, on_begun);
    }
    arena_fini(&arena);
}

/* Is it what the table says? Clients take a voter with a name for one that counts: that can stand
 * in for another one that is lost. */
static bool counts(struct server *server)
{
    uint64_t id = server_member_id(server);
    const struct cluster_member *self = cluster_member(server_cluster(server), id);
    const struct node_member *members;
    size_t count = node_members(server_node(server), &members);
    const struct node_member *present = node_member_find(members, count, id);
    return self != NULL && present != NULL && (self->learner || present->role == MEMBER_VOTER);
}

static void on_timer(struct env_timer *timer)
{
    struct announce *announce = CONTAINER_OF(timer, struct announce, timer);
    struct server *server = announce->server;
    if (server_is_bare(server)) {
        return; /* kicked again when it is not */
    }
    if (!cluster_has_begun(server_cluster(server)) && !announce->beginning &&
        server_is_leader(server)) {
        begin_cluster(announce);
    }
    if (!announce->published && !announce->publishing && server_leader(server) != 0 &&
        counts(server)) {
        announce->publishing = true;
        struct command command = {.kind = COMMAND_MEMBER_PUBLISH,
                                  .member_publish = announce->member};
        server_propose(server, &announce->member_op, &command, on_published);
    }
    const char *version = cluster_version(server_cluster(server));
    bool undecided = version[0] == '\0';
    if (undecided && !announce->setting_version && server_is_leader(server)) {
        announce->setting_version = true;
        struct command command = {.kind = COMMAND_CLUSTER_VERSION,
                                  .cluster_version = bytes_of_str(CLUSTER_VERSION)};
        server_propose(server, &announce->version_op, &command, on_version_set);
    }
    log_version(announce, version);
    env_timer_start(announce->env, &announce->timer, LOOK_MS);
}

static enum err copy_text(const char *text, struct bytes *ret)
{
    if (strlen(text) > MEMBER_TEXT_BYTES_MAX) {
        return ERR_LIMIT;
    }
    char *copy = strdup(text);
    if (copy == NULL) {
        return ERR_NOMEM;
    }
    *ret = bytes_of_str(copy);
    return OK;
}

/* What is beyond the limits of a command would end every member that applies it. */
enum err announce_init(struct announce *announce, struct server *server,
                       const struct server_config *config)
{
    *announce = (struct announce){
        .server = server,
        .env = config->env,
        .log = config->log,
        .on_ready = config->on_ready,
        .ctx = config->ctx,
    };
    env_timer_init(&announce->timer, on_timer);
    struct command_member_publish *member = &announce->member;
    if (config->client_url_count > MEMBER_URLS_MAX) {
        return ERR_LIMIT;
    }
    member->member_id = config->member_id;
    TRY(copy_text(config->name, &member->name));
    member->client_urls = calloc(config->client_url_count + 1, sizeof *member->client_urls);
    if (member->client_urls == NULL) {
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < config->client_url_count; i++) {
        TRY(copy_text(config->client_urls[i], &member->client_urls[i]));
        member->client_url_count++;
    }
    return OK;
}

void announce_fini(struct announce *announce)
{
    struct command_member_publish *member = &announce->member;
    free((void *)(uintptr_t)member->name.data);
    for (size_t i = 0; i < member->client_url_count; i++) {
        free((void *)(uintptr_t)member->client_urls[i].data);
    }
    free(member->client_urls);
}

void announce_kick(struct announce *announce)
{
    if (!announce->stopped) {
        env_timer_start(announce->env, &announce->timer, 0);
    }
}

void announce_stop(struct announce *announce)
{
    announce->stopped = true;
    env_timer_stop(announce->env, &announce->timer);
}
