/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TRIVETD_FLAGS_H
#define CMD_TRIVETD_FLAGS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

/* etcd's command line and ETCD_* variables. One table says all: name, kind, default, help, and
 * where the value goes. "-x" and "--x",
 * "--x=v" and "--x v" are the same; a boolean takes its value only after "=". */
struct config {
    const char *name;
    const char *data_dir; /* NULL: <name>.etcd */
    const char *wal_dir;  /* NULL: inside data_dir */
    const char *listen_peer_urls;
    const char *listen_client_urls;
    const char *listen_metrics_urls;
    const char *initial_advertise_peer_urls;
    const char *advertise_client_urls;
    const char *initial_cluster; /* NULL: <name>=<initial-advertise-peer-urls> */
    const char *initial_cluster_state;
    const char *initial_cluster_token;
    bool strict_reconfig;  /* --strict-reconfig-check */
    uint64_t learners_max; /* --max-learners */
    uint64_t heartbeat_ms;
    uint64_t election_ms;
    int64_t quota_bytes;
    const char *compaction_mode;      /* --auto-compaction-mode */
    const char *compaction_retention; /* --auto-compaction-retention */
    uint64_t snapshot_count;
    uint64_t snapshot_catchup_entries;
    uint64_t request_bytes_max;
    uint64_t txn_ops_max;
    uint64_t streams_max;
    uint64_t keepalive_min_ms; /* --grpc-keepalive-min-time */
    uint64_t keepalive_interval_ms;
    uint64_t keepalive_timeout_ms;
    uint64_t watch_progress_ms;
    uint64_t corrupt_check_ms;
    uint64_t scrub_ms;
    const char *log_level;
    const char *log_outputs;
    const char *log_format;
    const char *server_version; /* hidden: what Status and /version claim */
    bool force_new_cluster;
    bool version;
    bool help;
    bool client_urls_given; /* --listen-client-urls or its variable was set */
    bool advertise_client_given;
};

/* BAD: not etcd's; REFUSED: etcd's, but not to be had here. */
enum flags_outcome { FLAGS_OK, FLAGS_HELP, FLAGS_VERSION, FLAGS_BAD, FLAGS_REFUSED };

/* Read ARGV over ENVIRON over the defaults. What went wrong goes into why; warnings (flags without
 * effect, unknown ETCD_ variables) to warn(). Texts in *ret point into argv and environ. */
enum flags_outcome flags_parse(int argc, const char *const *argv, const char *const *environ_vars,
                               struct config *ret, void (*warn)(const char *text), struct why *why);

/* Go's durations: "1h30m", "2.5s", "300ms", and "0". ERR_INVALID. */
MUST_CHECK enum err flags_parse_duration(const char *text, uint64_t *ret_ms);

void flags_usage(FILE *out);
void flags_help(FILE *out);

#endif
