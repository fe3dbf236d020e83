/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TRIVET_BENCH_AUDIENCE_H
#define CMD_TRIVET_BENCH_AUDIENCE_H

#include "client/client.h"
#include "cmd/trivet-bench/latency.h"
#include "cmd/trivet-bench/workload.h"

/* The watchers of the watch workloads. Each value that is put begins with the time at which its put
 * was due, so that every event tells how long it was on its way; events of one watcher must come
 * in the order of their revisions, and none may be missing: a key's version grows by one. */
struct audience;

struct audience_config {
    struct env *env;
    struct client *client;
    struct workload *workload; /* whose keys are watched */
    uint64_t watchers;
    uint64_t streams; /* spread over the connections, the watchers over them; 0: one a connection */
    /* All watch, or it could not be had (WHY not empty). Once. */
    void (*on_ready)(void *ctx, const char *why);
    void *ctx;
};

#define WATCHERS_MAX_BENCH 1000000u

MUST_CHECK enum err audience_start(const struct audience_config *config, struct audience **ret,
                                   struct why *why);

/* Events are recorded between the two; RET and *wrong get what came. */
void audience_begin(struct audience *audience);
void audience_end(struct audience *audience, struct latency *ret, uint64_t *wrong, char *wrong_text,
                  size_t wrong_text_size);
/* Has every watcher N been told of the change at REVISIONS[N % KEYS], or a later one? To be asked
 * again until it has, with the same REVISIONS. */
bool audience_has_seen(struct audience *audience, const int64_t *revisions, uint64_t keys);
uint64_t audience_events(const struct audience *audience); /* that came */
bool audience_is_right(const struct audience *audience);   /* nothing was wrong so far */
void audience_free(struct audience *audience);             /* NULL allowed; ends its streams */

#endif
