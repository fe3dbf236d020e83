/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_COMPACTOR_H
#define SERVER_COMPACTOR_H

#include "base/env.h"
#include "base/logger.h"

/* Compaction without anybody asking, as etcd does it; the leader alone proposes it.
 *
 *   COMPACTOR_PERIODIC   keep what is younger than RETENTION milliseconds. Every member writes
 *                        its revision into a book each tenth of an interval (RETENTION, but at
 *                        most an hour). When a whole retention is over, and then each interval,
 *                        all goes that is older than the oldest in the book:
 *
 *       retention 10 h    the book: 0:00 0:06 ... 9:54     at 10:00, to the revision of 0:00
 *                                   0:54 1:00 ... 10:54    at 11:00, to that of 0:54
 *
 *   COMPACTOR_REVISION   keep the newest RETENTION revisions: looked at every five minutes
 *
 * What fails is tried again at the next tenth, or in five minutes; nothing is done when nothing
 * would change. A new leader goes on where its own book is: it has been written all the time. */
enum compactor_mode { COMPACTOR_OFF, COMPACTOR_PERIODIC, COMPACTOR_REVISION };

/* The member that is compacted. */
struct compactor_host {
    bool (*leads)(void *ctx);
    int64_t (*revision)(void *ctx);
    /* Propose it; compactor_done comes later, exactly once, unless the compactor was stopped. */
    void (*compact)(void *ctx, int64_t revision);
    void *ctx;
};

struct compactor {
    struct env *env;
    struct logger *log;
    struct compactor_host host;
    enum compactor_mode mode;
    uint64_t retention; /* ms or revisions */
    uint64_t tick_ms;
    struct env_timer timer;
    bool compacting;
    bool stopped;
    int64_t target;      /* of the compaction under way */
    int64_t last_target; /* of the last that worked */
    uint64_t last_ms;    /* when that was, or the start */
    bool had_first;      /* the first whole retention is over; from then on intervals */
    int64_t *book;       /* of the last revisions, a ring: periodic */
    size_t book_cap;     /* as many as a retention has tenths, and one */
    size_t book_count;
    size_t book_first;
};

/* COMPACTOR_OFF: nothing will ever happen. A RETENTION of more than COMPACTOR_RETENTION_MS_MAX is
 * ERR_LIMIT, one of 0 off. */
MUST_CHECK enum err compactor_init(struct compactor *compactor, struct env *env, struct logger *log,
                                   enum compactor_mode mode, uint64_t retention,
                                   const struct compactor_host *host);
void compactor_start(struct compactor *compactor);
/* The compaction that was proposed has ended; ERR_COMPACTED is as good as OK. */
void compactor_done(struct compactor *compactor, enum err status);
void compactor_stop(struct compactor *compactor);
void compactor_fini(struct compactor *compactor);

#endif
