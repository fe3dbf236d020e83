/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/trivetd/member.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/service.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "base/env_real.h"
#include "base/fs_real.h"
#include "base/trace.h"
#include "config.h"
#include "net/rpc_port.h"
#include "raft/raftlog_files.h"
#include "raft/transport_tcp.h"
#include "server/server.h"

#define STOP_GRACE_MS 5000
#define TRACE_EVENTS  4096

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
    struct raftlog *raftlog;
    struct store *store;
    struct transport *transport;
    struct server *server;
    struct service *service;
    struct rpc_port *ports[2 * LISTEN_URLS_MAX];
    size_t port_count;
    size_t ports_open;
    uv_signal_t sigterm;
    uv_signal_t sigint;
    bool stopping;
};

/* ---- files ---- */

/* Make PATH with all that is above it; the last one is for its owner alone. */
static enum err make_dirs(const char *path, struct why *why)
{
    char at[PATH_MAX];
    snprintf(at, sizeof at, "%s", path);
    for (char *slash = strchr(at + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash != NULL) {
            *slash = '\0';
        }
        if (mkdir(at, 0700) != 0 && errno != EEXIST) {
            why_set(why, "make the directory '%s': %s", at, strerror(errno));
            return ERR_IO;
        }
        if (slash == NULL) {
            break;
        }
        *slash = '/';
    }
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        why_set(why, "'%s' is not a directory", path);
        return ERR_IO;
    }
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
    TRY(make_dirs(settings->member_dir, why));
    return make_dirs(settings->raft_dir, why);
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
        .cluster_id = settings->cluster.cluster_id,
        .member_id = settings->self->id,
    };
    TRY(raftlog_files_open(&raftlog_config, &member->raftlog, why));
    struct store_config store_config = {
        .env = member->env,
        .log = member->log,
        .metrics = member->metrics,
        .path = settings->store_path,
        .identity = {.cluster_id = settings->cluster.cluster_id, .member_id = settings->self->id},
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
        .cluster_id = settings->cluster.cluster_id,
        .member_id = settings->self->id,
        .listen = settings->listen_peers,
        .listen_count = settings->listen_peer_count,
    };
    return transport_tcp_open(&config, &member->transport, why);
}

/* ---- the member ---- */

static void on_ready(void *ctx)
{
    struct member *member = ctx;
    LOG_INFO(member->log, "ready to serve client requests");
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
        .raftlog = TAKE(member->raftlog),
        .transport = TAKE(member->transport),
        .store = TAKE(member->store),
        .cluster_id = initial->cluster_id,
        .member_id = settings->self->id,
        .name = settings->config->name,
        .members = members,
        .member_addresses = addresses,
        .member_count = initial->count,
        .client_urls = (const char *const *)settings->client_urls,
        .client_url_count = settings->client_url_count,
        .heartbeat_ms = (uint32_t)settings->config->heartbeat_ms,
        .election_ms = (uint32_t)settings->config->election_ms,
        .snapshot_entries = settings->config->snapshot_count,
        .request_bytes_max = (uint32_t)settings->config->request_bytes_max,
        .txn_ops_max = (unsigned)settings->config->txn_ops_max,
        .quota_bytes = settings->quota_bytes,
        .on_ready = on_ready,
        .ctx = member,
    };
    return server_start(&config, &member->server, why);
}
