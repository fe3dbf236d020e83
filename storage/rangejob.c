/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/range.h"

#include <stdlib.h>

/* Large ranges, without holding the loop: the ranges that can go on take turns, a slice each, and
 * together get TURN_KEYS keys' worth of work per turn of the loop, however many they are. Records
 * that are not in memory are read by the backend's threads, FETCH_RECORDS at a time.
 *
 *   start ──▶ ready ──▶ slice ──▶ ... ──▶ fetching (threads) ──▶ ready ──▶ ... ──▶ cb
 *               ▲─────────┘
 *
 * A pin keeps what the range's revision sees, in the index and on disk, until it is done. */
#define TURN_KEYS     2048u
#define SLICE_KEYS    512u
#define FETCH_RECORDS 4096u

struct range_job {
    struct queue link; /* in store->ranges while it can go on */
    struct store *store;
    struct store_range_request *request;
    struct range_walk walk;
    struct store_pin pin;
    struct store_reader reader;
    enum err status; /* not OK: it ends as soon as nothing is out */
    /* A fetch of items from walk.done on: places of those that are not in memory. */
    bool fetching;
    bool fetched; /* it has come back and waits to be put in place */
    struct backend_fetch fetch;
    revision_t *revs;
    size_t *places;
    struct record **records;
    size_t missing;
    size_t looked_up; /* items up to here are loaded, or missing */
};

static void go_on(struct range_job *job)
{
    struct store *store = job->store;
    queue_push_back(&store->ranges, &job->link);
    if (!env_timer_active(&store->range_timer)) {
        env_timer_start(store->env, &store->range_timer, 0);
    }
}

static void finish(struct range_job *job)
{
    struct store_range_request *request = job->request;
    request->status = job->status;
    request->result = (struct range_result){0};
    if (job->status == OK) {
        range_take_result(&job->walk, &request->result);
    }
    range_fini(&job->walk);
    store_unpin(job->store, &job->pin);
    queue_remove(&job->reader.link);
    queue_remove(&job->link);
    free(job->revs);
    free(job->places);
    free(job->records);
    free(job);
    request->private_state = NULL;
    request->cb(request);
}

static void end_with(struct range_job *job, enum err status)
{
    if (job->status == OK) {
        job->status = status;
    }
}

/* End with job->status, which says why; records that came back go. */
static void give_up(struct range_job *job)
{
    if (job->fetched && job->fetch.status == OK) {
        for (size_t i = 0; i < job->missing; i++) {
            record_unref(job->records[i]);
        }
    }
    finish(job);
}

/* ---- records ---- */

/* For those that the range still needs, when the first is found that is not in memory. */
static enum err make_fetch_room(struct range_job *job)
{
    if (job->revs != NULL) {
        return OK;
    }
    size_t left = job->walk.keep - job->looked_up;
    size_t count = left < FETCH_RECORDS ? left : FETCH_RECORDS;
    job->revs = calloc(count, sizeof job->revs[0]);
    job->places = calloc(count, sizeof job->places[0]);
    job->records = calloc(count, sizeof job->records[0]);
    bool ok = job->revs != NULL && job->places != NULL && job->records != NULL;
    return ok ? OK : ERR_NOMEM;
}

static void on_fetched(struct backend_fetch *fetch)
{
    struct range_job *job = CONTAINER_OF(fetch, struct range_job, fetch);
    job->fetching = false;
    job->fetched = true;
    if (job->store->closing) { /* no turn comes any more, not even for who was cancelled before */
        end_with(job, ERR_STOPPED);
        give_up(job);
    } else {
        go_on(job);
    }
}

/* Take what is in memory, note the rest. */
static enum err look_up(struct range_job *job, size_t *budget)
{
    struct range_walk *walk = &job->walk;
    while (job->looked_up < walk->keep && job->missing<FETCH_RECORDS && * budget> 0) {
        struct range_item *item = &walk->items[job->looked_up];
        struct record *record = store_peek(job->store, item->rev);
        if (record != NULL) {
            item->record = record_ref(record);
        } else {
            TRY(make_fetch_room(job));
            job->revs[job->missing] = item->rev;
            job->places[job->missing++] = job->looked_up;
        }
        job->looked_up++;
        *budget -= 1;
    }
    return OK;
}

static void start_fetch(struct range_job *job)
{
    job->fetch =
        (struct backend_fetch){.revs = job->revs, .count = job->missing, .records = job->records};
    job->fetching = true;
    backend_fetch(job->store->backend, &job->fetch, on_fetched);
}

static enum err take_fetched(struct range_job *job, size_t *budget)
{
    job->fetched = false;
    if (job->fetch.status != OK) {
        job->missing = 0;
        return store_read_failed(job->store, "cannot read records", job->fetch.status,
                                 &job->fetch.why);
    }
    for (size_t i = 0; i < job->missing; i++) {
        job->walk.items[job->places[i]].record = job->records[i];
        valuecache_add(&job->store->cache, job->records[i]);
    }
    *budget -= job->missing < *budget ? job->missing : *budget;
    job->missing = 0;
    return OK;
}

static enum err load_some(struct range_job *job, size_t *budget)
{
    if (job->fetched) {
        TRY(take_fetched(job, budget));
    }
    TRY(look_up(job, budget));
    bool all = job->looked_up == job->walk.keep;
    if (job->missing == FETCH_RECORDS || (all && job->missing > 0)) {
        start_fetch(job);
    } else if (all) {
        job->walk.done = job->walk.keep;
        job->looked_up = 0;
        range_loaded(&job->walk);
    }
    return OK;
}

/* ---- taking turns ---- */

static enum err run_slice(struct range_job *job, size_t *budget)
{
    while (*budget > 0 && !job->fetching && job->walk.phase != RANGE_DONE) {
        TRY(range_wants_records(&job->walk) ? load_some(job, budget)
                                            : range_some(&job->walk, budget));
    }
    return OK;
}

/* A slice of JOB, which is in no queue. */
static void give_turn(struct range_job *job, size_t *turn)
{
    size_t slice = *turn < SLICE_KEYS ? *turn : SLICE_KEYS;
    size_t budget = slice;
    if (job->status == OK) {
        job->status = run_slice(job, &budget);
    }
    *turn -= slice - budget < *turn ? slice - budget : *turn;
    if (job->status != OK) {
        give_up(job);
    } else if (job->walk.phase == RANGE_DONE) {
        finish(job);
    } else if (!job->fetching) {
        go_on(job);
    }
}

static void on_timer(struct env_timer *timer)
{
    struct store *store = CONTAINER_OF(timer, struct store, range_timer);
    size_t turn = TURN_KEYS;
    struct queue *link;
    while (turn > 0 && (link = queue_pop_front(&store->ranges)) != NULL) {
        give_turn(QUEUE_ELEM(link, struct range_job, link), &turn);
    }
    if (!queue_empty(&store->ranges) && !env_timer_active(timer)) {
        env_timer_start(store->env, timer, 0);
    }
}

/* ---- the door ---- */

/* The store closes. A fetch that is out comes back, and ends the job, before the backend has
 * closed. */
static void on_stop(struct store_reader *reader)
{
    struct range_job *job = CONTAINER_OF(reader, struct range_job, reader);
    end_with(job, ERR_STOPPED);
    if (!job->fetching) {
        give_up(job);
    }
}

/* There was no memory to begin with. */
static void on_refused(struct store_wait *wait)
{
    struct store_range_request *request = CONTAINER_OF(wait, struct store_range_request, refused);
    request->status = ERR_NOMEM;
    request->result = (struct range_result){0};
    request->cb(request);
}

static void on_released(struct store_wait *wait)
{
    struct store_range_request *request = CONTAINER_OF(wait, struct store_range_request, refused);
    store_range_start(wait->store, request, request->cb);
}

void store_range_start(struct store *store, struct store_range_request *request,
                       void (*cb)(struct store_range_request *request))
{
    request->cb = cb;
    request->private_state = NULL;
    if (replace_holds(store, &request->refused, on_released)) {
        return;
    }
    struct range_job *job = calloc(1, sizeof *job);
    request->private_state = job;
    if (job == NULL) {
        upkeep_commit_wait(store, &request->refused, 0, on_refused);
        return;
    }
    job->store = store;
    job->request = request;
    queue_init(&job->link);
    job->status = range_begin(&job->walk, store, &request->query);
    counter_add(store->metrics.ranges, 1);
    store_pin(store, &job->pin);
    store_reader_add(store, &job->reader, on_stop);
    go_on(job);
}

void store_range_cancel(struct store_range_request *request)
{
    struct range_job *job = request->private_state;
    if (job != NULL) {
        end_with(job, ERR_CANCELLED);
        if (job->fetching) {
            backend_fetch_cancel(&job->fetch);
        }
    }
}

void rangejob_init(struct store *store)
{
    queue_init(&store->ranges);
    env_timer_init(&store->range_timer, on_timer);
}

void rangejob_fini(struct store *store)
{
    ASSERT(queue_empty(&store->ranges));
    env_timer_stop(store->env, &store->range_timer);
}
