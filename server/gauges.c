/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "server/server_private.h"

static double metric_has_leader(void *ctx)
{
    return server_leader(ctx) != 0;
}

static double metric_is_leader(void *ctx)
{
    return server_is_leader(ctx);
}

static double metric_is_learner(void *ctx)
{
    return server_is_learner(ctx);
}

static double metric_committed(void *ctx)
{
    struct server *server = ctx;
    return (double)node_commit_index(server->node);
}

static double metric_applied(void *ctx)
{
    struct server *server = ctx;
    return (double)node_applied_index(server->node);
}

static double metric_pending(void *ctx)
{
    struct server *server = ctx;
    return (double)server->pending.count;
}

/* As etcd counts them: also those that nobody has heard of again, so that an alert on this sees a
 * cluster without a majority. */
static double metric_failed(void *ctx)
{
    struct server *server = ctx;
    return (double)(server->batch.failed_total + server->pending.timed_out_total);
}

static double metric_reads_failed(void *ctx)
{
    struct server *server = ctx;
    return (double)server->query.failed_total;
}

static double metric_quota(void *ctx)
{
    return (double)server_quota_bytes(ctx); /* a 0 would be no bound, but one that is passed */
}

static double metric_disk_full(void *ctx)
{
    struct server *server = ctx;
    bool (*is_disk_full)(void *ctx) = server->config.is_disk_full;
    return is_disk_full != NULL && is_disk_full(server->config.ctx);
}

void gauges_register(struct server *server)
{
    struct metrics *metrics = server->config.metrics;
    if (metrics == NULL) {
        return;
    }
    server->leader_changes = metrics_counter(metrics, "etcd_server_leader_changes_seen_total",
                                             "Leaders that this member has followed.", NULL);
    static const struct {
        const char *name;
        const char *help;
        double (*fn)(void *ctx);
    } gauges[] = {
        {"etcd_server_has_leader", "1 when a leader is known.", metric_has_leader},
        {"etcd_server_is_leader", "1 when this member leads.", metric_is_leader},
        {"etcd_server_is_learner", "1 when this member replicates only.", metric_is_learner},
        {"etcd_server_proposals_committed_total", "Entries committed.", metric_committed},
        {"etcd_server_proposals_applied_total", "Entries applied.", metric_applied},
        {"etcd_server_proposals_pending", "Commands waiting to be applied.", metric_pending},
        {"etcd_server_quota_backend_bytes", "Size limit of the database.", metric_quota},
        {"trivet_disk_full", "1 while the Raft log has no room and writes are refused.",
         metric_disk_full},
    };
    for (size_t i = 0; i < ARRAY_LEN(gauges); i++) {
        metrics_gauge_fn(metrics, gauges[i].name, gauges[i].help, NULL, gauges[i].fn, server);
    }
    metrics_counter_fn(metrics, "etcd_server_proposals_failed_total",
                       "Entries that failed, and commands that took too long.", NULL, metric_failed,
                       server);
    metrics_counter_fn(metrics, "etcd_server_read_indexes_failed_total",
                       "Linearizable reads that failed.", NULL, metric_reads_failed, server);
    char labels[64];
    snprintf(labels, sizeof labels, "server_id=\"%llx\"",
             (unsigned long long)server->config.member_id);
    gauge_set(metrics_gauge(metrics, "etcd_server_id", "This member's id.", labels), 1);
}

void gauges_alarm(struct server *server, struct alarm alarm, bool is_active)
{
    const char *name = alarm_type_name(alarm.type);
    if (name == NULL) {
        return;
    }
    char labels[96];
    snprintf(labels, sizeof labels, "server_id=\"%llx\",alarm_type=\"%s\"",
             (unsigned long long)alarm.member_id, name);
    gauge_set(metrics_gauge(server->config.metrics, "etcd_debugging_server_alarms",
                            "1 while the alarm is active.", labels),
              is_active);
}
