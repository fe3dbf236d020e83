/* SPDX-License-Identifier: Apache-2.0 */
#include "base/worker_real.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"

/* A job's way. The mutex is held only to move list heads, never while work or done run:
 *
 *   loop          submit ──▶ inbox ─┐                      ┌─▶ set->done ──▶ job->done
 *   ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ │ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─│─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─
 *   thread                          └─▶ work, run_batch ──▶ done, eventfd
 *
 * The way back is an eventfd of our own, not a uv_async_t: its receiver spins until the sender,
 * whom it may have preempted upon being woken, has left uv_async_send. With more threads that
 * want to run than cores that took a twelfth of a busy loop's time. For the same reason the
 * loop is woken when the mutex is free again.
 *
 * A single thread takes all that waits, so its jobs finish in the order of submission; the threads
 * of a pool take one at a time, so that a long one holds up nobody else. */
struct worker_real {
    struct worker worker;
    struct worker_set *set;
    struct queue link; /* in set->workers */
    struct worker_config config;
    char name[16]; /* config.name as pthread_setname_np takes it */
    pthread_t *threads;
    unsigned thread_count; /* started */

    size_t jobs_out; /* loop only: submitted, not yet taken back from done */

    pthread_mutex_t mutex;
    pthread_cond_t wake;     /* inbox is not empty any more, or stop */
    pthread_cond_t finished; /* done is not empty any more; worker_real_close waits for it */
    struct queue inbox;
    struct queue done;
    unsigned sleeping; /* threads that wait for wake */
    bool closing;      /* somebody waits for finished */
    bool stop;
};

/* Thread: the worker's. Wait for jobs and move them to TAKEN: one for a thread of a pool, else all.
 * False: the end. */
static bool take_jobs(struct worker_real *w, struct queue *taken)
{
    pthread_mutex_lock(&w->mutex);
    while (queue_empty(&w->inbox) && !w->stop) {
        w->sleeping++;
        pthread_cond_wait(&w->wake, &w->mutex);
        w->sleeping--;
    }
    if (w->config.threads > 1 && !queue_empty(&w->inbox)) {
        queue_push_back(taken, queue_pop_front(&w->inbox));
    } else {
        queue_splice(taken, &w->inbox);
    }
    pthread_mutex_unlock(&w->mutex);
    return !queue_empty(taken);
}

/* Thread: any. The counter cannot overflow: the loop has read it before done is not empty for the
 * first time again. */
static void wake_loop(const struct worker_set *set)
{
    uint64_t one = 1;
    ssize_t n;
    do {
        n = write(set->fd, &one, sizeof one);
    } while (n < 0 && errno == EINTR);
    ASSERT(n == sizeof one);
}

/* Thread: the worker's. */
static void give_back(struct worker_real *w, struct queue *jobs)
{
    pthread_mutex_lock(&w->mutex);
    bool first = queue_empty(&w->done);
    queue_splice(&w->done, jobs);
    if (w->closing) {
        pthread_cond_signal(&w->finished);
    }
    pthread_mutex_unlock(&w->mutex);
    if (first) {
        wake_loop(w->set); /* is there: whoever closes us waits for this thread */
    }
}

static void *thread_main(void *arg)
{
    struct worker_real *w = arg;
    pthread_setname_np(pthread_self(), w->name);
    struct queue taken;
    queue_init(&taken);
    while (take_jobs(w, &taken)) {
        if (w->config.run_batch != NULL) {
            w->config.run_batch(w->config.ctx, &taken);
        } else {
            QUEUE_FOREACH (link, &taken) {
                struct job *job = QUEUE_ELEM(link, struct job, link);
                job->work(job);
            }
        }
        give_back(w, &taken);
    }
    return NULL;
}

/* Take back what W has done. */
static void collect(struct worker_real *w)
{
    struct queue taken;
    queue_init(&taken);
    pthread_mutex_lock(&w->mutex);
    queue_splice(&taken, &w->done);
    pthread_mutex_unlock(&w->mutex);
    QUEUE_FOREACH (link, &taken) {
        ASSERT(w->jobs_out > 0);
        w->jobs_out--;
    }
    queue_splice(&w->set->done, &taken);
}

/* A done may submit, close workers, and so come back here: every job is taken out first. */
static void run_done(struct worker_set *set)
{
    struct queue *link;
    while ((link = queue_pop_front(&set->done)) != NULL) {
        struct job *job = QUEUE_ELEM(link, struct job, link);
        ASSERT(set->jobs_out > 0);
        if (--set->jobs_out == 0) {
            uv_unref((uv_handle_t *)&set->poll);
        }
        job->done(job);
    }
}

static void on_woken(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct worker_set *set = CONTAINER_OF(poll, struct worker_set, poll);
    ASSERT(status == 0);
    uint64_t count;
    ssize_t n = read(set->fd, &count, sizeof count);
    ASSERT(n == sizeof count || errno == EAGAIN || errno == EINTR); /* then we are called again */
    QUEUE_FOREACH (link, &set->workers) {
        collect(QUEUE_ELEM(link, struct worker_real, link));
    }
    run_done(set);
}

/* What libuv says when it cannot make a handle: no memory, or no more of what the system gives. */
static enum err handle_error(int status, struct why *why)
{
    why_set(why, "make the wake-up of worker threads: %s", uv_strerror(status));
    return status == UV_ENOMEM ? ERR_NOMEM : ERR_LIMIT;
}

enum err worker_set_init(struct worker_set *set, struct env *env, uv_loop_t *loop, struct why *why)
{
    *set = (struct worker_set){.env = env};
    queue_init(&set->workers);
    queue_init(&set->done);
    set->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (set->fd < 0) {
        return handle_error(uv_translate_sys_error(errno), why);
    }
    int status = uv_poll_init(loop, &set->poll, set->fd);
    if (status != 0) {
        (void)close(set->fd);
        return handle_error(status, why);
    }
    status = uv_poll_start(&set->poll, UV_READABLE, on_woken);
    ASSERT(status == 0); /* the handle is new */
    uv_unref((uv_handle_t *)&set->poll);
    return OK;
}

void worker_set_close(struct worker_set *set, uv_close_cb cb)
{
    ASSERT(queue_empty(&set->workers));
    ASSERT(set->jobs_out == 0);
    uv_close((uv_handle_t *)&set->poll, cb); /* forgets fd at once */
    (void)close(set->fd);
}

/* End the threads, which have nothing left to do, and free. */
static void stop_and_free(struct worker_real *w)
{
    pthread_mutex_lock(&w->mutex);
    w->stop = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->mutex);
    for (unsigned i = 0; i < w->thread_count; i++) {
        int status = pthread_join(w->threads[i], NULL);
        ASSERT(status == 0);
    }
    queue_remove(&w->link);
    pthread_cond_destroy(&w->finished);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->mutex);
    free(w->threads);
    free(w);
}

/* Signals are the loop's: the threads start with all of them blocked. */
static int start_threads(struct worker_real *w)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    int status = pthread_sigmask(SIG_SETMASK, &all, &before);
    ASSERT(status == 0);
    while (status == 0 && w->thread_count < w->config.threads) {
        status = pthread_create(&w->threads[w->thread_count], NULL, thread_main, w);
        if (status == 0) {
            w->thread_count++;
        }
    }
    int restored = pthread_sigmask(SIG_SETMASK, &before, NULL);
    ASSERT(restored == 0);
    return status;
}

enum err worker_real_new(struct worker_set *set, const struct worker_config *config,
                         struct worker **ret, struct why *why)
{
    ASSERT(config->threads >= 1);
    ASSERT(config->run_batch == NULL || config->threads == 1);
    struct worker_real *w = calloc(1, sizeof *w);
    pthread_t *threads = calloc(config->threads, sizeof *threads);
    if (w == NULL || threads == NULL) {
        free(threads);
        free(w);
        return ERR_NOMEM;
    }
    w->worker.env = set->env;
    w->set = set;
    w->config = *config;
    w->threads = threads;
    ASSERT(strlen(config->name) < sizeof w->name);
    memcpy(w->name, config->name, strlen(config->name));
    w->config.name = w->name;
    queue_init(&w->inbox);
    queue_init(&w->done);
    queue_push_back(&set->workers, &w->link);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->wake, NULL);
    pthread_cond_init(&w->finished, NULL);
    int status = start_threads(w);
    if (status != 0) {
        why_set(why, "start thread '%s': %s", w->name, strerror(status));
        stop_and_free(w);
        return ERR_LIMIT;
    }
    *ret = &w->worker;
    return OK;
}

void worker_real_submit(struct worker *worker, struct job *job)
{
    struct worker_real *w = CONTAINER_OF(worker, struct worker_real, worker);
    w->jobs_out++;
    if (w->set->jobs_out++ == 0) {
        uv_ref((uv_handle_t *)&w->set->poll);
    }
    pthread_mutex_lock(&w->mutex);
    queue_push_back(&w->inbox, &job->link);
    bool wake = w->sleeping > 0;
    pthread_mutex_unlock(&w->mutex);
    if (wake) {
        pthread_cond_signal(&w->wake);
    }
}

void worker_real_close(struct worker *worker)
{
    struct worker_real *w = CONTAINER_OF(worker, struct worker_real, worker);
    struct worker_set *set = w->set;
    pthread_mutex_lock(&w->mutex);
    w->closing = true;
    pthread_mutex_unlock(&w->mutex);
    run_done(set);
    while (w->jobs_out > 0) {
        pthread_mutex_lock(&w->mutex);
        while (queue_empty(&w->done)) {
            pthread_cond_wait(&w->finished, &w->mutex);
        }
        pthread_mutex_unlock(&w->mutex);
        collect(w);
        run_done(set); /* may have submitted more to us */
    }
    stop_and_free(w);
}
