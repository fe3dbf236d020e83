/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "server/server_private.h"

/* Leadership handed to the member that somebody asked for. */
struct transfer {
    struct server *server;
    uint64_t target;
    void (*cb)(void *ctx, enum err status);
    void *ctx;
};

static enum err outcome_of(const struct transfer *transfer, enum err status)
{
    switch (status) {
    case OK: /* somebody else leads: the one who was asked for? */
        return node_leader(transfer->server->node) == transfer->target ? OK : ERR_TRANSFER_TIMEOUT;
    case ERR_STOPPED:
    case ERR_NOT_LEADER:
    case ERR_TOO_MANY_REQUESTS:
        return status;
    default:
        return ERR_TRANSFER_TIMEOUT;
    }
}

static void on_transferred(void *ctx, enum err status)
{
    struct transfer *transfer = ctx;
    enum err outcome = outcome_of(transfer, status);
    if (outcome == OK) {
        LOG_INFO(transfer->server->log, "leadership transfer finished",
                 LOG_HEX("new-leader-member-id", transfer->target));
    } else {
        LOG_WARN(transfer->server->log, "leadership transfer failed",
                 LOG_HEX("transferee-member-id", transfer->target),
                 LOG_STR("error", err_text(outcome)));
    }
    void (*cb)(void *ctx, enum err status) = transfer->cb;
    void *cb_ctx = transfer->ctx;
    free(transfer);
    cb(cb_ctx, outcome);
}

enum err server_transfer(struct server *server, uint64_t target,
                         void (*cb)(void *ctx, enum err status), void *ctx)
{
    if (server->state != SERVER_RUNNING) {
        return ERR_STOPPED;
    }
    const struct cluster_member *member = cluster_member(fsm_cluster(server->fsm), target);
    if (member == NULL || member->learner) {
        return ERR_BAD_TRANSFEREE;
    }
    struct transfer *transfer = calloc(1, sizeof *transfer);
    if (transfer == NULL) {
        return ERR_NOMEM;
    }
    *transfer = (struct transfer){.server = server, .target = target, .cb = cb, .ctx = ctx};
    LOG_INFO(server->log, "leadership transfer starting", LOG_HEX("transferee-member-id", target));
    node_transfer(server->node, target, on_transferred, transfer);
    return OK;
}
