/* SPDX-License-Identifier: Apache-2.0 */
#include "server/contest.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "server/server_private.h"

/* From state to state:
 *
 *   GRANTING ─▶ ENTERING ─▶ UPDATING ─▶ LOOKING ─▶ WAITING ─▶ CONFIRMING ─▶ LOOKING ...
 *   (lease 0)              (another      │ the first
 *                           value)       ▼
 *                                       OVER ◀── LEAVING ◀──▶ LEAVING_LATER
 *                                                  ▲
 *        contest_leave, or what failed ────────────┘
 *
 * The keys that are older than ours can only become fewer, so once there is none, there never will
 * be: a look at this member's state suffices to find out who is before us. That our own key is
 * still there is another matter: a member that was cut off may see both go at different times, so
 * that after a wait it is looked at again behind a linearizable read.
 *
 * Whoever gives up while what it put is on its way waits for the outcome first: a key that comes
 * later would keep the others waiting until its lease ends. */

#define KEY_SUFFIX_BYTES_MAX 18 /* "/-8000000000000000" */
#define LEAVE_AGAIN_MS       500
#define TXN_OVERHEAD_BYTES   64

static void look(struct contest *contest);

/* ---- keys and changes ---- */

static uint8_t *write_name(uint8_t *at, struct bytes name, uint8_t last)
{
    if (name.len > 0) {
        memcpy(at, name.data, name.len);
    }
    at[name.len] = last;
    return at;
}

/* Keys under NAME/ are below NAME0: a 0 follows the slash. RET: "NAME/", with room for EXTRA. */
static enum err name_range(struct arena *arena, struct bytes name, size_t extra, uint8_t **ret,
                           struct bytes *end)
{
    uint8_t *memory = arena_alloc(arena, 2 * (name.len + 1) + extra);
    if (memory == NULL) {
        return ERR_NOMEM;
    }
    *end = bytes_of(write_name(memory, name, '/' + 1), name.len + 1);
    *ret = write_name(memory + name.len + 1, name, '/');
    return OK;
}

static enum err make_key(struct contest *contest)
{
    const struct contest_entry *entry = &contest->entry;
    uint8_t *key;
    TRY(name_range(entry->arena, entry->name, KEY_SUFFIX_BYTES_MAX, &key, &contest->end));
    char suffix[KEY_SUFFIX_BYTES_MAX + 1];
    uint64_t lease = (uint64_t)contest->lease;
    int len = snprintf(suffix, sizeof suffix, "/%s%" PRIx64, contest->lease < 0 ? "-" : "",
                       contest->lease < 0 ? 0 - lease : lease);
    memcpy(key + entry->name.len, suffix, (size_t)len);
    contest->key = bytes_of(key, entry->name.len + (size_t)len);
    return OK;
}

enum err contest_first(struct arena *arena, struct bytes name, struct range_query *ret)
{
    uint8_t *prefix;
    struct bytes end;
    TRY(name_range(arena, name, 0, &prefix, &end));
    *ret = (struct range_query){.key = bytes_of(prefix, name.len + 1),
                                .range_end = end,
                                .limit = 1,
                                .sort = SORT_ASCEND,
                                .target = TARGET_CREATE};
    return OK;
}

static void make_change(struct contest_change *change, struct bytes key, int64_t create_revision)
{
    *change = (struct contest_change){
        .compare = {.target = COMPARE_CREATE, .key = key, .number = create_revision},
        .command = {.kind = COMMAND_TXN},
    };
    change->command.txn.compares = &change->compare;
    change->command.txn.compare_count = 1;
    change->command.txn.success = &change->op;
    change->command.txn.success_count = 1;
}

void contest_change_put(struct contest_change *change, struct bytes key, int64_t create_revision,
                        struct bytes value, int64_t lease)
{
    make_change(change, key, create_revision);
    change->op.kind = OP_PUT;
    change->op.put = (struct command_put){.key = key, .value = value, .lease = lease};
}

void contest_change_delete(struct contest_change *change, struct bytes key, int64_t create_revision)
{
    make_change(change, key, create_revision);
    change->op.kind = OP_DELETE_RANGE;
    change->op.delete_range = (struct command_delete_range){.key = key};
}

/* ---- the end ---- */

static void finish(struct contest *contest, enum err status)
{
    queue_remove(&contest->link);
    contest->state = CONTEST_OVER;
    contest->cb(contest, status);
}

static enum err outcome(const struct op *op, enum err status)
{
    return status == OK ? op->result->status : status;
}

/* A member that stops waits for its calls to end, and so for what they leave to be gone. */
static void tell_late(struct contest *contest)
{
    if (contest->entry.late != NULL && contest->why != ERR_STOPPED) {
        contest->entry.late(contest, contest->why);
    }
}

static void on_left(struct op *op, enum err status)
{
    struct contest *contest = CONTAINER_OF(op, struct contest, op);
    status = outcome(op, status);
    if (status == OK || status == ERR_LEASE_NOT_FOUND || status == ERR_STOPPED) {
        finish(contest, contest->why);
        return;
    }
    struct server *server = contest->server;
    contest->state = CONTEST_LEAVING_LATER;
    tell_late(contest);
    queue_push_back(&server->contests.later, &contest->later);
    if (!env_timer_active(&server->contests.timer)) {
        env_timer_start(server->env, &server->contests.timer, LEAVE_AGAIN_MS);
    }
}

/* A lease that was granted for this takes the key with it, whether that has been put or not. */
static void leave_now(struct contest *contest)
{
    struct server *server = contest->server;
    ASSERT(contest->why != OK);
    if (server->state == SERVER_CLOSING || !(contest->own_lease || contest->own_key)) {
        finish(contest, contest->why);
        return;
    }
    contest->state = CONTEST_LEAVING;
    if (contest->own_lease) {
        struct command command = {.kind = COMMAND_LEASE_REVOKE,
                                  .lease_revoke = {.ids = &contest->lease, .count = 1}};
        server_propose(server, &contest->op, &command, on_left);
        return;
    }
    struct contest_change change;
    contest_change_delete(&change, contest->key, contest->create_revision);
    server_propose(server, &contest->op, &change.command, on_left);
}

static void fail(struct contest *contest, enum err why)
{
    if (contest->why == OK) {
        contest->why = why;
    }
    leave_now(contest);
}

/* Its key is gone. */
static void lose(struct contest *contest)
{
    contest->own_key = false;
    fail(contest, ERR_NOT_FOUND);
}

static void on_timer(struct env_timer *timer)
{
    struct contests *contests = CONTAINER_OF(timer, struct contests, timer);
    struct queue again;
    queue_init(&again);
    queue_splice(&again, &contests->later);
    struct queue *link;
    while ((link = queue_pop_front(&again)) != NULL) {
        leave_now(QUEUE_ELEM(link, struct contest, later));
    }
}

/* ---- waiting ---- */

static void stop_watching(struct contest *contest)
{
    hub_cancel(&contest->before);
    hub_cancel(&contest->mine);
    hub_stream_close(&contest->stream);
}

static void on_confirmed(struct read_op *read, enum err status)
{
    struct contest *contest = CONTAINER_OF(read, struct contest, read);
    if (status != OK) {
        fail(contest, status);
    } else {
        look(contest);
    }
}

static void wake(struct contest *contest)
{
    stop_watching(contest);
    contest->state = CONTEST_CONFIRMING;
    server_read(contest->server, &contest->read, on_confirmed);
}

/* A deletion, as there is nothing else to be told. */
static void on_deleted(struct watch_stream *stream, struct watcher *watcher,
                       const struct watch_events *events)
{
    (void)watcher;
    (void)events;
    wake(CONTAINER_OF(stream, struct contest, stream));
}

static void on_watch_ended(struct watch_stream *stream, struct watcher *watcher, enum err why,
                           int64_t compact_revision)
{
    struct contest *contest = CONTAINER_OF(stream, struct contest, stream);
    (void)watcher;
    (void)compact_revision;
    if (why == ERR_COMPACTED) { /* what is left of the history tells as much */
        wake(contest);
    } else {
        stop_watching(contest);
        fail(contest, why);
    }
}

static const struct watch_stream_ops stream_ops = {.events = on_deleted, .ended = on_watch_ended};

static void wait_for(struct contest *contest, struct bytes key, int64_t after_revision)
{
    struct watch_spec spec = {.key = key, .start_revision = after_revision + 1, .no_put = true};
    hub_stream_open(server_hub(contest->server), &contest->stream, &stream_ops);
    enum err err = hub_watch(&contest->stream, &contest->before, &spec);
    if (err == OK) {
        spec.key = contest->key;
        err = hub_watch(&contest->stream, &contest->mine, &spec);
    }
    if (err != OK) {
        stop_watching(contest);
        fail(contest, err == ERR_LIMIT ? ERR_TOO_MANY_REQUESTS : err);
        return;
    }
    contest->state = CONTEST_WAITING;
    contest->own_key = true;
}

static void on_looked(struct store_range_request *request)
{
    struct contest *contest = CONTAINER_OF(request, struct contest, range);
    if (request->status != OK) {
        fail(contest, request->status);
        return;
    }
    CLEANUP(range_result_fini) struct range_result result = request->result;
    if (contest->why != OK) {
        leave_now(contest);
    } else if (result.records.count > 0) {
        wait_for(contest, record_key(result.records.items[0]), result.revision);
    } else {
        contest->first_revision = result.revision;
        finish(contest, OK);
    }
}

/* Is our key there, and which is the newest of the older ones? Both of one moment. */
static void look(struct contest *contest)
{
    struct store *store = server_store(contest->server);
    struct key_version mine;
    if (!store_key_version(store, contest->key, &mine) ||
        mine.create_revision != contest->create_revision) {
        lose(contest);
        return;
    }
    contest->state = CONTEST_LOOKING;
    size_t prefix_len = contest->entry.name.len + 1;
    contest->range = (struct store_range_request){
        .query = {.key = bytes_of(contest->key.data, prefix_len),
                  .range_end = contest->end,
                  .limit = 1,
                  .sort = SORT_DESCEND,
                  .target = TARGET_CREATE,
                  .max_create_revision = contest->create_revision - 1,
                  .keys_only = true},
    };
    if (!store_range_is_cheap(store, &contest->range.query)) {
        store_range_start(store, &contest->range, on_looked);
        return;
    }
    contest->range.status = store_range(store, &contest->range.query, &contest->range.result);
    on_looked(&contest->range);
}

/* ---- entering ---- */

static void on_updated(struct op *op, enum err status)
{
    struct contest *contest = CONTAINER_OF(op, struct contest, op);
    status = outcome(op, status);
    if (status != OK) {
        fail(contest, status);
    } else if (contest->why != OK) {
        leave_now(contest);
    } else if (!op->result->txn.succeeded) {
        lose(contest);
    } else {
        look(contest);
    }
}

static void update(struct contest *contest)
{
    struct contest_change change;
    contest->state = CONTEST_UPDATING;
    contest_change_put(&change, contest->key, contest->create_revision, contest->entry.value,
                       contest->lease);
    server_propose(contest->server, &contest->op, &change.command, on_updated);
}

/* There was a key of this lease, put by an earlier call. That may have been told that it is the
 * first: until it is clear that it is not, the key is not this call's to delete. */
static void on_found(struct contest *contest, const struct record *found)
{
    contest->create_revision = found->create_revision;
    if (contest->why != OK) {
        leave_now(contest);
    } else if (contest->entry.update && !bytes_equal(record_value(found), contest->entry.value)) {
        update(contest);
    } else {
        look(contest);
    }
}

static void on_entered(struct op *op, enum err status)
{
    struct contest *contest = CONTAINER_OF(op, struct contest, op);
    status = outcome(op, status);
    if (status != OK) {
        fail(contest, status);
        return;
    }
    const struct txn_result *txn = &op->result->txn;
    contest->entered_revision = op->result->revision;
    if (!txn->succeeded) {
        const struct record_list *found = &txn->responses[0].range.records;
        ASSERT(found->count == 1); /* its create revision is not 0 */
        on_found(contest, found->items[0]);
        return;
    }
    contest->create_revision = contest->entered_revision;
    contest->own_key = true;
    if (contest->why != OK) {
        leave_now(contest);
    } else {
        look(contest);
    }
}

static void put_key(struct contest *contest)
{
    struct contest_change change;
    struct txn_op find = {.kind = OP_RANGE, .range = {.key = contest->key}};
    contest->state = CONTEST_ENTERING;
    contest_change_put(&change, contest->key, 0, contest->entry.value, contest->lease);
    change.command.txn.failure = &find;
    change.command.txn.failure_count = 1;
    server_propose(contest->server, &contest->op, &change.command, on_entered);
}

static void on_granted(struct op *op, enum err status)
{
    struct contest *contest = CONTAINER_OF(op, struct contest, op);
    status = outcome(op, status);
    contest->own_lease = status == OK || status == ERR_TIMEOUT;
    if (status == OK && contest->why == OK) {
        put_key(contest);
        return;
    }
    if (status != OK && contest->why == OK) {
        contest->why = status;
        tell_late(contest); /* there is no key: the lease, if it is there, harms nobody meanwhile */
    }
    leave_now(contest);
}

static void grant(struct contest *contest)
{
    int64_t ttl_min_s = server_lease_ttl_min(contest->server);
    struct command command = {
        .kind = COMMAND_LEASE_GRANT,
        .lease_grant = {.id = contest->lease,
                        .ttl_s = ttl_min_s > SESSION_TTL_S ? ttl_min_s : SESSION_TTL_S},
    };
    contest->state = CONTEST_GRANTING;
    server_propose(contest->server, &contest->op, &command, on_granted);
}

enum err contest_enter(struct server *server, struct contest *contest,
                       const struct contest_entry *entry, contest_cb cb)
{
    *contest = (struct contest){.server = server, .entry = *entry, .lease = entry->lease, .cb = cb};
    if (contest->lease == 0) {
        contest->lease = server_new_lease_id(server);
    }
    TRY(make_key(contest));
    if (3 * contest->key.len + entry->value.len + TXN_OVERHEAD_BYTES >
        server_request_bytes_max(server)) {
        return ERR_TOO_LARGE;
    }
    queue_push_back(&server->contests.all, &contest->link);
    queue_init(&contest->later);
    if (entry->lease == 0) {
        grant(contest);
    } else {
        put_key(contest);
    }
    return OK;
}

/* ---- leaving ---- */

void contest_leave(struct contest *contest, enum err why)
{
    if (contest->state == CONTEST_OVER || contest->why != OK) {
        return;
    }
    contest->why = why;
    switch (contest->state) {
    case CONTEST_LOOKING: /* it calls back all the same */
        store_range_cancel(&contest->range);
        break;
    case CONTEST_WAITING:
        stop_watching(contest);
        leave_now(contest);
        break;
    case CONTEST_CONFIRMING:
        server_read_cancel(contest->server, &contest->read);
        leave_now(contest);
        break;
    default: /* what is on its way has an outcome first */
        break;
    }
}

void contest_leave_all(struct server *server, enum err why)
{
    QUEUE_FOREACH_SAFE(link, &server->contests.all)
    {
        contest_leave(QUEUE_ELEM(link, struct contest, link), why);
    }
}

/* ---- the server's ---- */

void contests_init(struct server *server)
{
    queue_init(&server->contests.all);
    queue_init(&server->contests.later);
    env_timer_init(&server->contests.timer, on_timer);
}

void contests_close(struct server *server)
{
    struct contests *contests = &server->contests;
    ASSERT(server->state == SERVER_CLOSING);
    env_timer_stop(server->env, &contests->timer);
    QUEUE_FOREACH_SAFE(link, &contests->all)
    {
        struct contest *contest = QUEUE_ELEM(link, struct contest, link);
        queue_remove(&contest->later);
        if (contest->state == CONTEST_LEAVING_LATER) {
            finish(contest, contest->why);
        } else {
            ASSERT(contest->state == CONTEST_WAITING || contest->state == CONTEST_LOOKING);
            contest_leave(contest, ERR_STOPPED);
        }
    }
}
