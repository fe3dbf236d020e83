/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TRIVETD_SETTINGS_H
#define CMD_TRIVETD_SETTINGS_H

#include <limits.h>

#include "base/logger.h"
#include "cmd/trivetd/flags.h"
#include "server/bootstrap.h"
#include "server/compactor.h"

#define LISTEN_URLS_MAX 16

/* Flags, checked and taken apart: what a member is started with. */
struct settings {
    const struct config *config;
    char member_dir[PATH_MAX];     /* <data-dir>/member */
    char raft_dir[PATH_MAX];       /* <data-dir>/member/raft, or --wal-dir */
    char store_path[PATH_MAX];     /* <data-dir>/member/store.db */
    char removed_path[PATH_MAX];   /* <data-dir>/member/removed */
    char restoring_path[PATH_MAX]; /* <data-dir>/restoring: of a restore that is not finished */
    bool joins;                    /* --initial-cluster-state existing */
    struct initial_cluster cluster;
    const struct initial_member *self;
    struct addr listen_peers[LISTEN_URLS_MAX];
    size_t listen_peer_count;
    struct addr listen_clients[LISTEN_URLS_MAX];
    size_t listen_client_count;
    struct addr listen_metrics[LISTEN_URLS_MAX];
    size_t listen_metrics_count;
    char *client_urls[LISTEN_URLS_MAX]; /* advertised */
    size_t client_url_count;
    uint64_t quota_bytes; /* 0: none */
    enum compactor_mode compactor_mode;
    uint64_t compactor_retention; /* ms or revisions, by mode */
    enum log_level log_level;
};

/* Check every flag against what it must be; why says which one and how. */
MUST_CHECK enum err settings_make(const struct config *config, struct settings *ret,
                                  struct why *why);
void settings_fini(struct settings *settings);

#endif
