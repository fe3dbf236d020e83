/* SPDX-License-Identifier: Apache-2.0 */
#include "server/compactor.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/limits.h"

#define HOUR_MS          (60u * 60 * 1000)
#define REVISION_TICK_MS (5u * 60 * 1000)
#define TENTHS           10

static uint64_t interval_ms(const struct compactor *compactor)
{
    return compactor->retention < HOUR_MS ? compactor->retention : HOUR_MS;
}

/* ---- the book ---- */

static int64_t oldest(const struct compactor *compactor)
{
    ASSERT(compactor->book_count > 0);
    return compactor->book[compactor->book_first];
}

static void write_down(struct compactor *compactor)
{
    int64_t revision = compactor->host.revision(compactor->host.ctx);
    if (compactor->book_count < compactor->book_cap) {
        compactor->book[compactor->book_count++] = revision;
        return;
    }
    compactor->book[compactor->book_first] = revision;
    compactor->book_first = (compactor->book_first + 1) % compactor->book_cap;
}

/* ---- ticks ---- */

/* The revision to compact to, or 0. */
static int64_t periodic_target(struct compactor *compactor)
{
    uint64_t wait_ms = compactor->had_first ? interval_ms(compactor) : compactor->retention;
    if (env_now_ms(compactor->env) - compactor->last_ms < wait_ms ||
        oldest(compactor) == compactor->last_target) {
        return 0;
    }
    compactor->had_first = true; /* from now on it is tried each tenth */
    return oldest(compactor);
}

static int64_t revision_target(const struct compactor *compactor)
{
    int64_t revision = compactor->host.revision(compactor->host.ctx);
    if ((uint64_t)revision <= compactor->retention) {
        return 0;
    }
    int64_t target = revision - (int64_t)compactor->retention;
    return target == compactor->last_target ? 0 : target;
}

static void next_tick(struct compactor *compactor)
{
    if (compactor->mode == COMPACTOR_PERIODIC) {
        write_down(compactor);
    }
    env_timer_start(compactor->env, &compactor->timer, compactor->tick_ms);
}

static void on_timer(struct env_timer *timer)
{
    struct compactor *compactor = CONTAINER_OF(timer, struct compactor, timer);
    int64_t target = 0;
    if (compactor->host.leads(compactor->host.ctx)) {
        target = compactor->mode == COMPACTOR_PERIODIC ? periodic_target(compactor)
                                                       : revision_target(compactor);
    }
    if (target == 0) {
        next_tick(compactor);
        return;
    }
    LOG_INFO(compactor->log, "starting automatic compaction", LOG_I64("revision", target));
    compactor->compacting = true;
    compactor->target = target;
    compactor->host.compact(compactor->host.ctx, target);
}

void compactor_done(struct compactor *compactor, enum err status)
{
    ASSERT(compactor->compacting);
    compactor->compacting = false;
    if (compactor->stopped) {
        return;
    }
    if (status == OK || status == ERR_COMPACTED) {
        compactor->last_target = compactor->target;
        compactor->last_ms = env_now_ms(compactor->env);
    } else {
        LOG_WARN(compactor->log, "automatic compaction failed",
                 LOG_I64("revision", compactor->target), LOG_STR("error", err_text(status)),
                 LOG_U64("retry-ms", compactor->tick_ms));
    }
    next_tick(compactor);
}

/* ---- life ---- */

enum err compactor_init(struct compactor *compactor, struct env *env, struct logger *log,
                        enum compactor_mode mode, uint64_t retention,
                        const struct compactor_host *host)
{
    *compactor = (struct compactor){.env = env, .log = log, .host = *host, .retention = retention};
    env_timer_init(&compactor->timer, on_timer);
    compactor->mode = retention == 0 ? COMPACTOR_OFF : mode;
    compactor->tick_ms = REVISION_TICK_MS;
    if (compactor->mode != COMPACTOR_PERIODIC) {
        return OK;
    }
    if (retention > COMPACTOR_RETENTION_MS_MAX) {
        return ERR_LIMIT;
    }
    uint64_t tenth = interval_ms(compactor) / TENTHS;
    compactor->tick_ms = tenth == 0 ? 1 : tenth;
    compactor->book_cap = (size_t)(retention / compactor->tick_ms) + 1;
    compactor->book = calloc(compactor->book_cap, sizeof *compactor->book);
    return compactor->book == NULL ? ERR_NOMEM : OK;
}

void compactor_start(struct compactor *compactor)
{
    if (compactor->mode != COMPACTOR_OFF) {
        compactor->last_ms = env_now_ms(compactor->env);
        next_tick(compactor);
    }
}

void compactor_stop(struct compactor *compactor)
{
    compactor->stopped = true;
    env_timer_stop(compactor->env, &compactor->timer);
}

void compactor_fini(struct compactor *compactor)
{
    free(compactor->book);
}
