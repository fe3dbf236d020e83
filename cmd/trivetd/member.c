/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/trivetd/member.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/service.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "base/env_real.h"
#include "base/fs_real.h"
#include "base/process.h"
#include "base/trace.h"
#include "cmd/trivetd/identity.h"
#include "config.h"
#include "net/listener.h"
#include "net/rpc_port.h"
#include "raft/raftlog_files.h"
#include "raft/transport_tcp.h"
#include "server/server.h"
#include "snapshot/rescue.h"

#define STOP_GRACE_MS 5000

/* Entries and answers of some hundred KiB come and go thousands of times a second: from the system
 * each time, their pages would be cleared anew each time. */
#define MALLOC_MMAP_BYTES (16 * 1024 * 1024)
#define MALLOC_TRIM_BYTES (8 * 1024 * 1024)
#define TRACE_EVENTS      4096

/* fatal() can come from any thread and knows no member: what it shows is set once, at start. */
static struct trace *fatal_trace;

static void on_fatal(const char *message)
{
    (void)message;
    trace_dump(fatal_trace, STDERR_FILENO);
}

struct member {
    const struct settings *settings;
    uv_loop_t loop;
    struct env_real *real;
    struct env *env;
    struct logger *log;
    struct metrics *metrics;
    struct raftlog *raftlog; /* the server's once it is started */
    struct store *store;
    struct transport *transport;
    struct server *server;
    struct service *service;
    struct rpc_port *ports[2 * LISTEN_URLS_MAX];
    size_t port_count;
    size_t ports_open;
    uv_signal_t sigterm;
    uv_signal_t sigint;
    bool lets_clients_in;
    bool stopping;
    bool removed;
    struct identity identity;
};

/* ---- files ---- */

/* Make PATH with all that is above it, durably. */
static enum err make_dirs(const char *path, struct why *why)
{
    TRY(fs_make_dirs(fs_real(), path, why));
    if (access(path, R_OK | W_OK | X_OK) != 0) {
        why_set(why, "the directory '%s' cannot be used: %s", path, strerror(errno));
        return ERR_IO;
    }
    return OK;
}

static enum err open_log_output(const struct settings *settings, int *ret, struct why *why)
{
    const char *output = settings->config->log_outputs;
    if (strcmp(output, "default") == 0 || strcmp(output, "stderr") == 0) {
        *ret = STDERR_FILENO;
        return OK;
    }
    if (strcmp(output, "stdout") == 0) {
        *ret = STDOUT_FILENO;
        return OK;
    }
    *ret = open(output, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (*ret < 0) {
        why_set(why, "--log-outputs: open '%s': %s", output, strerror(errno));
        return ERR_IO;
    }
    return OK;
}

static enum err open_basics(struct member *member, struct why *why)
{
    const struct settings *settings = member->settings;
    int fd;
    TRY(open_log_output(settings, &fd, why));
    if (uv_loop_init(&member->loop) != 0) {
        why_set(why, "make the event loop: out of memory or descriptors");
        return ERR_NOMEM;
    }
    TRY(env_real_new(&member->loop, &member->real, why));
    member->env = env_real_env(member->real);
    TRY(trace_new(TRACE_EVENTS, &fatal_trace));
    member->env->trace = fatal_trace;
    fatal_set_hook(on_fatal);
    TRY(logger_new(member->env, fd, settings->log_level, NULL, &member->log));
    member->metrics = metrics_new();
    process_register(member->metrics, env_wall_ms(member->env));
    return OK;
}

/* Once it is known that they are this member's: where it does not start it makes nothing. */
static enum err open_dirs(struct member *member, struct why *why)
{
    TRY(make_dirs(member->settings->member_dir, why));
    return make_dirs(member->settings->raft_dir, why);
}

/* --force-new-cluster, as etcd's: the data stays, the other members are no more. */
static enum err force_new_cluster(struct member *member, struct why *why)
{
    const struct settings *settings = member->settings;
    if (!settings->config->force_new_cluster) {
        return OK;
    }
    struct rescue rescue = {
        .env = member->env,
        .fs = fs_real(),
        .log = member->log,
        .raft_dir = settings->raft_dir,
        .store_path = settings->store_path,
    };
    struct rescue_standing before;
    enum err err = rescue_sole(&rescue, &before, why);
    if (err != OK) {
        why_prefix(why, "--force-new-cluster");
        return err;
    }
    LOG_WARN(member->log, "forced a new cluster of this member alone; start it without the flag",
             LOG_U64("members-before", before.log.member_count),
             LOG_U64("last-index", before.log.last_index));
    rescue_standing_fini(&before);
    return OK;
}

struct tried_ports {
    struct listener *listeners[3 * LISTEN_URLS_MAX];
    size_t count;
};

static enum err try_ports(struct member *member, struct tried_ports *tried,
                          const struct addr *addrs, size_t count, struct why *why)
{
    for (size_t i = 0; i < count; i++) {
        struct listener_config config = {
            .env = member->env, .loop = &member->loop, .addr = addrs[i]};
        TRY(listener_open(&config, &tried->listeners[tried->count], why));
        tried->count++;
    }
    return OK;
}

/* A port that is taken, or given twice, is told before there is any data: who corrects the flags
 * then may correct what the ids are made of, and would be told that the data is another member's.
 */
static enum err try_all_ports(struct member *member, struct why *why)
{
    const struct settings *s = member->settings;
    struct tried_ports tried = {.count = 0};
    if (!member->identity.is_new) {
        return OK;
    }
    enum err err = try_ports(member, &tried, s->listen_peers, s->listen_peer_count, why);
    if (err == OK) {
        err = try_ports(member, &tried, s->listen_clients, s->listen_client_count, why);
    }
    if (err == OK) {
        err = try_ports(member, &tried, s->listen_metrics, s->listen_metrics_count, why);
    }
    for (size_t i = 0; i < tried.count; i++) {
        listener_close(tried.listeners[i], NULL, NULL); /* the ports are free at once */
    }
    return err;
}

static enum err open_data(struct member *member, struct why *why)
{
    const struct settings *settings = member->settings;
    struct raftlog_files_config raftlog_config = {
        .env = member->env,
        .fs = fs_real(),
        .log = member->log,
        .metrics = member->metrics,
        .dir = settings->raft_dir,
        .cluster_id = member->identity.cluster_id,
        .member_id = member->identity.member_id,
    };
    enum err err = raftlog_files_open(&raftlog_config, &member->raftlog, why);
    if (err == ERR_LOCKED) {
        why_prefix(why, "the data directory is in use by another process");
    }
    TRY(err);
    struct store_config store_config = {
        .env = member->env,
        .log = member->log,
        .metrics = member->metrics,
        .path = settings->store_path,
        .remember_hashes = true,
        .scrub_interval_ms = settings->config->scrub_ms,
        .identity = {.cluster_id = member->identity.cluster_id,
                     .member_id = member->identity.member_id},
    };
    return store_open(&store_config, &member->store, why);
}

static enum err open_transport(struct member *member, struct why *why)
{
    const struct settings *settings = member->settings;
    struct transport_tcp_config config = {
        .env = member->env,
        .loop = &member->loop,
        .log = member->log,
        .metrics = member->metrics,
        .cluster_id = member->identity.cluster_id,
        .member_id = member->identity.member_id,
        .listen = settings->listen_peers,
        .listen_count = settings->listen_peer_count,
    };
    return transport_tcp_open(&config, &member->transport, why);
}

/* ---- ports ---- */

static enum err open_port(struct member *member, const struct addr *addr, bool metrics_only,
                          struct why *why)
{
    struct rpc_port_config config = {
        .env = member->env,
        .loop = &member->loop,
        .addr = *addr,
        .grpc = metrics_only ? NULL : service_grpc(member->service),
        .http1 =
            metrics_only ? service_metrics_http1(member->service) : service_http1(member->service),
    };
    TRY(rpc_port_open(&config, &member->ports[member->port_count], why));
    member->port_count++;
    char text[ADDR_TEXT_SIZE];
    addr_format(addr, text, sizeof text);
    LOG_INFO(member->log, metrics_only ? "serving metrics" : "serving client traffic",
             LOG_STR("address", text));
    return OK;
}

static enum err open_service(struct member *member, struct why *why)
{
    const struct settings *settings = member->settings;
    struct service_config config = {
        .server = member->server,
        .log = member->log,
        .version = settings->config->server_version,
        .streams_max = (uint32_t)settings->config->streams_max,
        .ping_interval_ms = settings->config->keepalive_interval_ms,
        .ping_timeout_ms = settings->config->keepalive_timeout_ms,
        .ping_min_interval_ms = settings->config->keepalive_min_ms,
        .watch_progress_ms = settings->config->watch_progress_ms,
        .fs = fs_real(),
        .store_path = settings->store_path,
    };
    TRY(service_new(&config, &member->service));
    for (size_t i = 0; i < settings->listen_metrics_count; i++) {
        TRY(open_port(member, &settings->listen_metrics[i], true, why));
    }
    return OK;
}

static enum err open_client_ports(struct member *member, struct why *why)
{
    const struct settings *settings = member->settings;
    for (size_t i = 0; i < settings->listen_client_count; i++) {
        TRY(open_port(member, &settings->listen_clients[i], false, why));
    }
    return OK;
}

/* ---- stop ---- */

static void on_server_stopped(void *ctx)
{
    struct member *member = ctx;
    member->server = NULL;
    uv_stop(&member->loop);
}

static void on_port_closed(void *ctx)
{
    struct member *member = ctx;
    if (--member->port_count == 0) {
        server_stop(member->server, on_server_stopped, member);
    }
}

/* First no new calls, while those under way finish; then the member leaves its cluster in order. */
static void stop(struct member *member, const char *reason)
{
    member->stopping = true;
    LOG_INFO(member->log, "stopping", LOG_STR("reason", reason));
    service_drain(member->service);
    size_t count = member->port_count;
    for (size_t i = 0; i < count; i++) {
        rpc_port_close(member->ports[i], STOP_GRACE_MS, on_port_closed, member);
    }
    if (count == 0) {
        server_stop(member->server, on_server_stopped, member);
    }
}

static void on_signal(uv_signal_t *signal, int number)
{
    struct member *member = signal->data;
    if (member->stopping) {
        fatal("stopped by a second signal");
    }
    stop(member, number == SIGTERM ? "SIGTERM" : "SIGINT");
}

static void on_removed(void *ctx)
{
    struct member *member = ctx;
    struct why why = {0};
    member->removed = true;
    if (identity_remember_removed(member->settings, &why) != OK) {
        LOG_ERROR(member->log, "cannot note that the member was removed",
                  LOG_STR("error", why.text));
    }
    if (!member->stopping) {
        stop(member, "removed from the cluster");
    }
}

static enum err watch_signal(struct member *member, uv_signal_t *signal, int number,
                             struct why *why)
{
    signal->data = member;
    int status = uv_signal_init(&member->loop, signal);
    if (status == 0) {
        status = uv_signal_start(signal, on_signal, number);
    }
    if (status != 0) {
        why_set(why, "watch signal %d: %s", number, uv_strerror(status));
        return ERR_IO;
    }
    return OK;
}

/* ---- the member ---- */

static bool has_url(const struct cluster_member *member, const struct initial_member *wanted)
{
    for (size_t i = 0; i < member->peer_url_count; i++) {
        for (size_t j = 0; j < wanted->peer_url_count; j++) {
            if (strcmp(member->peer_urls[i], wanted->peer_urls[j]) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* Data that was put into another member's directory: it would run twice, or under a false name. */
static enum err check_members(const struct member *member, struct why *why)
{
    const struct settings *settings = member->settings;
    const struct cluster_member *members;
    size_t count = cluster_members(server_cluster(member->server), &members);
    for (size_t i = 0; i < count; i++) {
        if (members[i].id != member->identity.member_id &&
            strcmp(members[i].name, settings->config->name) == 0 &&
            has_url(&members[i], settings->self)) {
            why_set(why,
                    "'%s' belongs to member %llx, but the flags are those of member %llx (\"%s\")",
                    settings->member_dir, (unsigned long long)member->identity.member_id,
                    (unsigned long long)members[i].id, members[i].name);
            return ERR_FOREIGN;
        }
    }
    return OK;
}

/* Who the members are is in the database: without one nothing can be checked. */
static enum err let_clients_in(struct member *member, struct why *why)
{
    if (member->lets_clients_in || member->stopping) {
        return OK;
    }
    member->lets_clients_in = true;
    TRY(check_members(member, why));
    return open_client_ports(member, why);
}

/* Who has just been added has nothing yet: that there are no keys, and no members, would be all
 * that it could tell, and to a watch from now on it would tell all that ever was. Its name is in
 * the database when it has what was there when it came. */
static bool has_a_past(const struct member *member)
{
    const struct cluster_member *self =
        cluster_member(server_cluster(member->server), member->identity.member_id);
    return member->identity.is_founder || (self != NULL && self->name[0] != '\0');
}

static void on_ready(void *ctx)
{
    struct member *member = ctx;
    struct why why = {.text = ""};
    enum err err = let_clients_in(member, &why);
    if (err != OK) {
        fatal("serve clients: %s: %s", err_text(err), why.text);
    }
    LOG_INFO(member->log, "ready to serve client requests");
}

static void on_filled(void *ctx)
{
    struct member *member = ctx;
    struct why why = {.text = ""};
    enum err err = has_a_past(member) ? let_clients_in(member, &why) : OK;
    if (err != OK) {
        fatal("serve with the database that came from the leader: %s: %s", err_text(err), why.text);
    }
}

/* The log goes on in the room that it has made for itself; what clients add must stop before that
 * is used up. */
static bool is_disk_full(void *ctx)
{
    struct member *member = ctx;
    return raftlog_files_low_space(member->raftlog);
}

static enum err start_server(struct member *member, struct why *why)
{
    const struct settings *settings = member->settings;
    const struct initial_cluster *initial = &settings->cluster;
    struct cluster_member members[MEMBERS_MAX];
    const char *addresses[MEMBERS_MAX];
    for (size_t i = 0; i < initial->count; i++) {
        members[i] = (struct cluster_member){
            .id = initial->members[i].id,
            .name = "",
            .peer_urls = (const char *const *)initial->members[i].peer_urls,
            .peer_url_count = initial->members[i].peer_url_count,
        };
        addresses[i] = initial->members[i].address;
    }
    struct server_config config = {
        .env = member->env,
        .log = member->log,
        .metrics = member->metrics,
        .raftlog = member->raftlog,
        .transport = TAKE(member->transport),
        .store = TAKE(member->store),
        .cluster_id = member->identity.cluster_id,
        .member_id = member->identity.member_id,
        .name = settings->config->name,
        .members = members,
        .member_addresses = addresses,
        .member_count = member->identity.is_founder ? initial->count : 0,
        .client_urls = (const char *const *)settings->client_urls,
        .client_url_count = settings->client_url_count,
        .heartbeat_ms = (uint32_t)settings->config->heartbeat_ms,
        .election_ms = (uint32_t)settings->config->election_ms,
        .snapshot_entries = settings->config->snapshot_count,
        .catchup_entries = settings->config->snapshot_catchup_entries,
        .request_bytes_max = (uint32_t)settings->config->request_bytes_max,
        .txn_ops_max = (unsigned)settings->config->txn_ops_max,
        .quota_bytes = settings->quota_bytes,
        .compactor_mode = settings->compactor_mode,
        .compactor_retention = settings->compactor_retention,
        .loose_reconfig = !settings->config->strict_reconfig,
        .learners_max = settings->config->learners_max,
        .hash_check_ms = settings->config->corrupt_check_ms,
        .is_disk_full = is_disk_full,
        .on_filled = on_filled,
        .on_ready = on_ready,
        .on_removed = on_removed,
        .ctx = member,
    };
    return server_start(&config, &member->server, why);
}

/* ---- the whole ---- */

static enum err start(struct member *member, struct why *why)
{
    TRY(open_basics(member, why));
    TRY(identity_find(member->settings, member->env, &member->loop, &member->identity, why));
    TRY(open_dirs(member, why));
    LOG_INFO(member->log, "starting", LOG_STR("version", TRIVET_VERSION),
             LOG_STR("name", member->settings->config->name),
             LOG_HEX("member-id", member->identity.member_id),
             LOG_HEX("cluster-id", member->identity.cluster_id));
    TRY(force_new_cluster(member, why));
    TRY(try_all_ports(member, why));
    TRY(open_data(member, why));
    TRY(open_transport(member, why));
    TRY(watch_signal(member, &member->sigterm, SIGTERM, why)); /* what takes long is over */
    TRY(watch_signal(member, &member->sigint, SIGINT, why));
    TRY(start_server(member, why));
    TRY(open_service(member, why));
    bool waits = server_is_bare(member->server) || !has_a_past(member);
    return waits ? OK : let_clients_in(member, why);
}

/* As many descriptors as the system lets us have: each connection is one. */
static void raise_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

enum err member_start(const struct settings *settings, struct member **ret, struct why *why)
{
    signal(SIGPIPE, SIG_IGN);
    raise_files();
    (void)mallopt(M_MMAP_THRESHOLD, MALLOC_MMAP_BYTES);
    (void)mallopt(M_TRIM_THRESHOLD, MALLOC_TRIM_BYTES);
    struct member *member = calloc(1, sizeof *member);
    if (member == NULL) {
        return ERR_NOMEM;
    }
    member->settings = settings;
    why_set(why, "start: out of memory"); /* for the failures that say nothing */
    enum err err = start(member, why);
    if (err == OK) {
        *ret = member;
    }
    return err; /* what is half open ends with the process */
}

enum err member_run(struct member *member)
{
    uv_run(&member->loop, UV_RUN_DEFAULT);
    service_free(member->service);
    LOG_INFO(member->log, "stopped");
    logger_free(member->log);
    metrics_free(member->metrics);
    enum err err = member->removed ? ERR_REMOVED : OK;
    /* The loop's last handles go with the process. */
    free(member);
    return err;
}
