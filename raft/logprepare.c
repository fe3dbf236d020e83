/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/logprepare.h"

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/worker.h"

#define RETRY_MS 1000 /* while the disk is full */
#define KEPT_MAX 3u   /* forgotten segments that wait to be used again */

/* Thread: the preparing one. */
static void must_prepare(enum err err, const struct why *why)
{
    if (err != OK) {
        fatal("raft log: %s; no segment can be prepared, so the member stops",
              why->text[0] != '\0' ? why->text : err_text(err));
    }
}

static size_t count_of(const struct segment *segments)
{
    size_t count = 0;
    for (; segments != NULL; segments = segments->next) {
        count++;
    }
    return count;
}

/* Thread: the preparing one. Use one of the forgotten segments again and remove those that are too
 * many, the oldest first, so that a crash leaves no gap. */
static void use_forgotten(struct logprepare *p)
{
    struct why why = {0};
    size_t count = count_of(p->forgotten);
    bool removed = false;
    while (p->forgotten != NULL) {
        struct segment *s = p->forgotten;
        bool fits = s->size == p->dir->segment_bytes;
        bool use = p->want_spare && p->spare == NULL && fits;
        if (!use && fits && count <= KEPT_MAX) {
            break;
        }
        p->forgotten = s->next;
        count--;
        if (use) {
            must_prepare(segment_recycle(p->dir, &s, &why), &why);
            p->spare = s;
        } else {
            must_prepare(segment_remove(p->dir, s, &why), &why);
            removed = true;
        }
    }
    if (removed) {
        must_prepare(logdir_sync(p->dir, &why), &why);
    }
}

static void prepare_work(struct job *job)
{
    struct logprepare *p = CONTAINER_OF(job, struct logprepare, job);
    use_forgotten(p);
    p->full = false;
    if (p->want_spare && p->spare == NULL) {
        struct why why = {0};
        enum err err = segment_create(p->dir, p->dir->segment_bytes, true, &p->spare, &why);
        p->full = err == ERR_NO_SPACE;
        must_prepare(p->full ? OK : err, &why);
    }
}

/* Let the other thread do what there is to do. */
static void prepare(struct logprepare *p)
{
    /* A forgotten one does on a full disk, too, before the next try is due. */
    bool can = p->obsolete != NULL || !env_timer_active(&p->retry);
    bool want = !p->spare_out && can;
    if (p->busy || p->closing || (!want && count_of(p->obsolete) <= KEPT_MAX)) {
        return;
    }
    p->forgotten = TAKE(p->obsolete);
    p->want_spare = !p->spare_out;
    p->spare_out = true;
    p->busy = true;
    worker_submit(p->worker, &p->job);
}

static void note_space(struct logprepare *p)
{
    if (p->full && !p->low_space) {
        LOG_ERROR(p->log, "disk full: no room for the next segment of the raft log",
                  LOG_STR("dir", p->dir->path));
        p->low_space = true;
    } else if (p->spare != NULL && p->low_space) {
        LOG_INFO(p->log, "room for the raft log again", LOG_STR("dir", p->dir->path));
        p->low_space = false;
    }
}

static void append_to(struct segment **list, struct segment *segments)
{
    while (*list != NULL) {
        list = &(*list)->next;
    }
    *list = segments;
}

/* What the thread has kept is older than what was forgotten meanwhile. */
static void take_back(struct logprepare *p)
{
    append_to(&p->forgotten, TAKE(p->obsolete));
    p->obsolete = TAKE(p->forgotten);
}

static void on_prepared(struct job *job)
{
    struct logprepare *p = CONTAINER_OF(job, struct logprepare, job);
    p->busy = false;
    take_back(p);
    if (p->closing) {
        segment_close(TAKE(p->spare)); /* the next start finds it */
        return;
    }
    note_space(p);
    if (p->full) {
        p->spare_out = false;
        env_timer_start(p->env, &p->retry, RETRY_MS);
    }
    if (p->spare != NULL) {
        p->on_spare(p->ctx, TAKE(p->spare));
    }
    prepare(p);
}

static void on_retry(struct env_timer *timer)
{
    prepare(CONTAINER_OF(timer, struct logprepare, retry));
}

void logprepare_init(struct logprepare *p)
{
    env_timer_init(&p->retry, on_retry);
    p->job = (struct job){.work = prepare_work, .done = on_prepared};
}

enum err logprepare_start(struct logprepare *p, bool has_spare, struct why *why)
{
    struct worker_config config = {.name = "raft-prepare", .threads = 1};
    TRY(env_worker_new(p->env, &config, &p->worker, why));
    p->spare_out = has_spare;
    prepare(p);
    return OK;
}

void logprepare_spare_taken(struct logprepare *p)
{
    p->spare_out = false;
    prepare(p);
}

void logprepare_forget(struct logprepare *p, struct segment *segments)
{
    append_to(&p->obsolete, segments);
    prepare(p);
}

void logprepare_close(struct logprepare *p)
{
    p->closing = true;
    worker_close(TAKE(p->worker));
    env_timer_stop(p->env, &p->retry);
    segment_close_all(TAKE(p->obsolete));
}
