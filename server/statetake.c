/* SPDX-License-Identifier: Apache-2.0 */
#include "server/statetake.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/plant.h"
#include "base/worker.h"

/* Without a word of the leader for so long, what is half there goes. Who sends offers it again each
 * second; so when nobody leads, and another may be asked, it goes soon. */
#define IDLE_MS            60000u
#define IDLE_LEADERLESS_MS 5000u
/* Somebody is asked again, as long as nothing has come. */
#define LACK_MS 500u
/* What the log may need while the file is written. */
#define MARGIN_BYTES SEGMENT_BYTES

enum take_state { IDLE, OPENING, RECEIVING, SYNCING, REPLACING, DISCARDING };

struct statetake {
    struct statetake_config config;
    char *path; /* of the file */
    struct worker *worker;
    enum take_state state;
    bool closed;

    /* What is on its way; valid unless IDLE. */
    uint64_t peer;
    uint64_t number;
    uint64_t size_bytes;
    struct store_manifest manifest;
    uint64_t expected;      /* what is before it was taken ... */
    uint64_t written;       /* ... and this is in the file */
    struct set_hash digest; /* of what is written */
    bool ended;             /* the leader has said what the digest is to be */
    struct set_hash want_digest;

    struct fs_file *file;
    unsigned writes_out;
    bool must_discard;          /* when they are back */
    struct job job;             /* of opening, syncing, discarding */
    enum err status;            /* of the job */
    enum state_refusal refusal; /* what the job found */
    struct why why;
    struct store_replace_request replace;
    struct env_timer idle;
    bool is_led; /* when that was started */

    uint64_t lacked_index; /* what the database must reach; 0: it does */
    uint64_t asked;        /* last */
    struct env_timer lack;
};

struct take_write {
    struct job job;
    struct statetake *take;
    uint64_t offset;
    struct set_hash element;
    enum err status;
    struct why why;
    size_t len;
    uint8_t data[];
};

/* ---- what is said ---- */

static void say(struct statetake *take, uint64_t peer, const struct stateframe *frame)
{
    CLEANUP(blob_unrefp) struct blob *blob = stateframe_encode(frame);
    if (blob != NULL && !take->closed) {
        /* Lost: the leader asks again. */
        (void)node_send(take->config.node, peer, LANE_URGENT, FRAME_APP, blob);
    }
}

static void say_have(struct statetake *take, uint64_t peer, uint64_t number)
{
    CLEANUP(buf_fini) struct buf buf = {0};
    struct stateframe frame = {.what = STATE_HAVE, .number = number};
    store_manifest(take->config.store, &buf);
    if (buf_ok(&buf) && store_manifest_decode(buf_bytes(&buf), &frame.manifest) == OK) {
        say(take, peer, &frame);
    }
}

static void say_want(struct statetake *take, bool again)
{
    struct stateframe frame = {.what = STATE_WANT,
                               .number = take->number,
                               .offset = again ? take->expected : take->written,
                               .again = again};
    say(take, take->peer, &frame);
}

static void say_refused(struct statetake *take, uint64_t peer, uint64_t number,
                        enum state_refusal refusal)
{
    struct stateframe frame = {.what = STATE_REFUSED, .number = number, .refusal = refusal};
    say(take, peer, &frame);
}

/* ---- the end of it ---- */

static void become_idle(struct statetake *take)
{
    env_timer_stop(take->config.env, &take->idle);
    take->state = IDLE;
    take->size_bytes = 0;
}

/* Thread: state-in. */
static void discard_work(struct job *job)
{
    struct statetake *take = CONTAINER_OF(job, struct statetake, job);
    fs_close(TAKE(take->file));
    enum err err = fs_unlink(take->config.fs, take->path, NULL);
    (void)err; /* not there; or the next that comes takes its place */
}

static void discard_done(struct job *job)
{
    become_idle(CONTAINER_OF(job, struct statetake, job));
}

static void discard(struct statetake *take)
{
    take->state = DISCARDING;
    take->must_discard = take->writes_out > 0;
    if (!take->must_discard) {
        take->job = (struct job){.work = discard_work, .done = discard_done};
        worker_submit(take->worker, &take->job);
    }
}

static enum state_refusal refusal_of(enum err err)
{
    return err == ERR_NO_SPACE ? STATE_NO_SPACE : STATE_WRONG;
}

static void give_up(struct statetake *take, enum err err, const struct why *why)
{
    LOG_WARN(take->config.log, "the leader's database was not taken",
             LOG_HEX("peer-id", take->peer), LOG_U64("index", take->manifest.applied_index),
             LOG_STR("error", err_text(err)), LOG_STR("why", why->text));
    say_refused(take, take->peer, take->number, refusal_of(err));
    discard(take);
}

static void on_idle(struct env_timer *timer)
{
    struct statetake *take = CONTAINER_OF(timer, struct statetake, idle);
    if (take->state == RECEIVING) {
        LOG_WARN(take->config.log, "the leader's database stopped coming",
                 LOG_HEX("peer-id", take->peer), LOG_U64("received-bytes", take->written),
                 LOG_U64("size-bytes", take->size_bytes));
        discard(take);
    }
}

static void expect_more(struct statetake *take)
{
    take->is_led = node_leader(take->config.node) != 0;
    env_timer_start(take->config.env, &take->idle, take->is_led ? IDLE_MS : IDLE_LEADERLESS_MS);
}

/* ---- in the place of our own ---- */

static void on_replaced(struct store_replace_request *request)
{
    struct statetake *take = CONTAINER_OF(request, struct statetake, replace);
    if (request->status == OK) {
        become_idle(take); /* the file is the database now */
        take->config.on_replaced(take->config.ctx);
        say_have(take, take->peer, take->number);
    } else if (request->status == ERR_EXISTS && !take->closed) {
        say_have(take, take->peer, take->number);
        discard(take);
    } else if (take->closed) {
        become_idle(take); /* the next start removes the file */
    } else {
        give_up(take, request->status, &request->why);
    }
}

/* Thread: state-in. */
static void sync_work(struct job *job)
{
    struct statetake *take = CONTAINER_OF(job, struct statetake, job);
    take->status = PLANTED(STATE_NOT_SYNCED) ? OK : fs_sync(take->file, &take->why);
    fs_close(TAKE(take->file));
}

static void sync_done(struct job *job)
{
    struct statetake *take = CONTAINER_OF(job, struct statetake, job);
    if (take->closed) {
        become_idle(take);
        return;
    }
    if (take->status != OK) {
        give_up(take, take->status, &take->why);
        return;
    }
    take->state = REPLACING;
    take->replace = (struct store_replace_request){
        .path = take->path, .manifest = take->manifest, .helper = take->config.helper};
    store_replace_start(take->config.store, &take->replace, on_replaced);
}

/* Is all there, and has the leader said what it must be? */
static void consider_end(struct statetake *take)
{
    if (!take->ended || take->written < take->size_bytes) {
        return;
    }
    if (!set_hash_equal(take->digest, take->want_digest)) {
        why_set(&take->why, "what came is not what was sent");
        give_up(take, ERR_CORRUPT, &take->why);
        return;
    }
    take->state = SYNCING;
    take->job = (struct job){.work = sync_work, .done = sync_done};
    worker_submit(take->worker, &take->job);
}

/* ---- chunks ---- */

/* Thread: state-in. */
static void write_work(struct job *job)
{
    struct take_write *write = CONTAINER_OF(job, struct take_write, job);
    struct bytes bytes = bytes_of(write->data, write->len);
    write->element = stateframe_element(write->offset, bytes);
    write->status =
        fs_write(write->take->file, write->offset, write->data, write->len, &write->why);
}

static void on_written(struct statetake *take, const struct take_write *write)
{
    if (take->closed) {
        return; /* the next start removes the file */
    }
    if (take->state == DISCARDING) {
        if (take->must_discard && take->writes_out == 0) {
            discard(take);
        }
    } else if (write->status != OK) {
        give_up(take, write->status, &write->why);
    } else {
        take->written = write->offset + write->len;
        set_hash_add(&take->digest, write->element);
        say_want(take, false);
        consider_end(take);
    }
}

static void write_done(struct job *job)
{
    struct take_write *write = CONTAINER_OF(job, struct take_write, job);
    struct statetake *take = write->take;
    take->writes_out--;
    on_written(take, write);
    free(write);
}

static void on_chunk(struct statetake *take, const struct stateframe *frame)
{
    if (take->state != RECEIVING || frame->number != take->number ||
        frame->offset != take->expected || take->expected - take->written >= STATE_WINDOW_BYTES) {
        return; /* doubled, early, or of another: what is missing is asked for when the leader asks
                 */
    }
    if (frame->offset >= take->size_bytes ||
        frame->chunk.len != stateframe_chunk_len(frame->offset, take->size_bytes)) {
        why_set(&take->why, "a part of %zu bytes at %llu of %llu", frame->chunk.len,
                (unsigned long long)frame->offset, (unsigned long long)take->size_bytes);
        give_up(take, ERR_MALFORMED, &take->why);
        return;
    }
    struct take_write *write = malloc(sizeof *write + frame->chunk.len);
    if (write == NULL) {
        return; /* as if it had not come */
    }
    *write = (struct take_write){.take = take, .offset = frame->offset, .len = frame->chunk.len};
    memcpy(write->data, frame->chunk.data, frame->chunk.len);
    write->job = (struct job){.work = write_work, .done = write_done};
    take->expected += frame->chunk.len;
    take->writes_out++;
    expect_more(take);
    worker_submit(take->worker, &write->job);
}

static void on_end(struct statetake *take, const struct stateframe *frame)
{
    if (take->state != RECEIVING || frame->number != take->number ||
        frame->size_bytes != take->size_bytes) {
        return;
    }
    take->ended = true;
    take->want_digest = frame->digest;
    consider_end(take);
}

/* ---- who is heard ---- */

static bool lacks(const struct statetake *take)
{
    return store_durable_index(take->config.store) < take->lacked_index;
}

static bool listens_to(const struct statetake *take, uint64_t peer)
{
    uint64_t leader = node_leader(take->config.node);
    return leader != 0 ? leader == peer : lacks(take);
}

/* ---- beginning ---- */

/* Room at PATH's disk for a database of SIZE? */
static enum err check_room(const struct statetake *take, const char *path, uint64_t size_bytes,
                           struct why *why)
{
    return fs_check_room(take->config.fs, path, take->path, size_bytes, MARGIN_BYTES, why);
}

static enum err open_file(struct statetake *take)
{
    CLEANUP(fs_closep) struct fs_file *file = NULL;
    TRY(fs_open(take->config.fs, take->path, FS_CREATE, &file, &take->why));
    TRY(fs_truncate(file, 0, &take->why));
    TRY(check_room(take, take->path, take->size_bytes, &take->why));
    take->file = TAKE(file);
    return OK;
}

/* Thread: state-in. */
static void open_work(struct job *job)
{
    struct statetake *take = CONTAINER_OF(job, struct statetake, job);
    take->status = open_file(take);
}

static void open_done(struct job *job)
{
    struct statetake *take = CONTAINER_OF(job, struct statetake, job);
    if (take->closed) {
        become_idle(take);
    } else if (take->status != OK) {
        give_up(take, take->status, &take->why);
    } else {
        take->state = RECEIVING;
        expect_more(take);
        say_want(take, true);
    }
}

static enum err need_worker(struct statetake *take)
{
    struct worker_config config = {.name = "state-in", .threads = 1};
    return take->worker != NULL
               ? OK
               : env_worker_new(take->config.env, &config, &take->worker, &take->why);
}

static void begin(struct statetake *take, uint64_t peer, const struct stateframe *frame)
{
    if (need_worker(take) != OK) {
        say_refused(take, peer, frame->number, STATE_BUSY);
        return;
    }
    take->state = OPENING;
    take->peer = peer;
    take->number = frame->number;
    take->size_bytes = frame->size_bytes;
    take->manifest = frame->manifest;
    take->expected = 0;
    take->written = 0;
    take->digest = (struct set_hash){0};
    take->ended = false;
    LOG_INFO(take->config.log, "the leader sends its database", LOG_HEX("peer-id", peer),
             LOG_U64("index", frame->manifest.applied_index),
             LOG_U64("size-bytes", frame->size_bytes));
    take->job = (struct job){.work = open_work, .done = open_done};
    worker_submit(take->worker, &take->job);
}

/* Is the database as far as MANIFEST, durably? */
static bool has(const struct statetake *take, const struct store_manifest *manifest)
{
    return store_durable_index(take->config.store) >= manifest->applied_index;
}

/* Is nothing more to come of what is half here, now that PEER offers another? Of those who offer
 * theirs while nobody leads the first is heard to the end: else each would undo the other's, again
 * and again. */
static bool is_over(const struct statetake *take, uint64_t peer)
{
    return take->peer == peer || !listens_to(take, take->peer);
}

static void on_offer(struct statetake *take, uint64_t peer, const struct stateframe *frame)
{
    bool same = take->state != IDLE && take->peer == peer && take->number == frame->number &&
                take->size_bytes == frame->size_bytes;
    if (has(take, &frame->manifest)) {
        say_have(take, peer, frame->number);
    } else if (take->state == IDLE) {
        begin(take, peer, frame);
    } else if (same && take->state == RECEIVING) {
        expect_more(take);
        say_want(take, true);
    } else if (same && take->state != DISCARDING) {
        say_want(take, false); /* it is being looked at */
    } else {
        say_refused(take, peer, frame->number, STATE_BUSY);
        if (take->state == RECEIVING && is_over(take, peer)) {
            discard(take);
        }
    }
}

/* Without room the leader need not make a copy; unless what is here is enough, which it knows. */
static void on_ask(struct statetake *take, uint64_t peer, const struct stateframe *frame)
{
    struct why why = {.text = ""};
    enum err err = take->state == IDLE
                       ? check_room(take, store_path(take->config.store), frame->size_bytes, &why)
                       : OK;
    if (err == ERR_NO_SPACE) {
        LOG_WARN(take->config.log, "the leader's database was not taken", LOG_HEX("peer-id", peer),
                 LOG_STR("error", err_text(err)), LOG_STR("why", why.text));
        say_refused(take, peer, frame->number, STATE_NO_SPACE);
    }
    say_have(take, peer, frame->number);
}

void statetake_on_frame(struct statetake *take, uint64_t peer, const struct stateframe *frame)
{
    if (take->closed || !listens_to(take, peer)) {
        return;
    }
    switch (frame->what) {
    case STATE_ASK:
        on_ask(take, peer, frame);
        break;
    case STATE_OFFER:
        on_offer(take, peer, frame);
        break;
    case STATE_CHUNK:
        if (peer == take->peer) {
            on_chunk(take, frame);
        }
        break;
    case STATE_END:
        if (peer == take->peer) {
            on_end(take, frame);
        }
        break;
    default:
        break;
    }
}

/* ---- asking ---- */

/* The member after the one that was asked last, in a circle; 0: there is no other. */
static uint64_t next_member(const struct statetake *take)
{
    const struct node_member *members;
    size_t count = node_members(take->config.node, &members);
    size_t from = 0;
    while (from < count && members[from].id != take->asked) {
        from++;
    }
    for (size_t i = 1; i <= count; i++) {
        uint64_t id = members[(from + i) % count].id;
        if (id != node_id(take->config.node)) {
            return id;
        }
    }
    return 0;
}

static uint64_t whom_to_ask(const struct statetake *take)
{
    uint64_t leader = node_leader(take->config.node);
    if (leader != 0) {
        return leader;
    }
    return take->state == IDLE ? next_member(take) : take->peer;
}

static void on_lack(struct env_timer *timer)
{
    struct statetake *take = CONTAINER_OF(timer, struct statetake, lack);
    if (!lacks(take)) {
        take->lacked_index = 0;
        return;
    }
    if (take->state == RECEIVING && take->is_led && node_leader(take->config.node) == 0) {
        expect_more(take); /* who led and sent may be gone, and another be the only one to ask */
    }
    take->asked = whom_to_ask(take);
    if (take->asked != 0) {
        struct stateframe frame = {.what = STATE_LACK, .index = take->lacked_index};
        say(take, take->asked, &frame);
    }
    env_timer_start(take->config.env, &take->lack, LACK_MS);
}

void statetake_lack(struct statetake *take, uint64_t index)
{
    take->lacked_index = index;
    env_timer_start(take->config.env, &take->lack, 0);
}

/* ---- life ---- */

uint64_t statetake_received_bytes(const struct statetake *take)
{
    return take->state == IDLE ? 0 : take->written;
}

enum err statetake_new(const struct statetake_config *config, struct statetake **ret)
{
    struct statetake *take = calloc(1, sizeof *take);
    if (take == NULL || asprintf(&take->path, "%s.install", store_path(config->store)) < 0) {
        free(take);
        return ERR_NOMEM;
    }
    take->config = *config;
    env_timer_init(&take->idle, on_idle);
    env_timer_init(&take->lack, on_lack);
    enum err err = fs_unlink(config->fs, take->path, NULL);
    (void)err; /* it was not there */
    *ret = take;
    return OK;
}

void statetake_stop(struct statetake *take)
{
    take->closed = true;
    env_timer_stop(take->config.env, &take->idle);
    env_timer_stop(take->config.env, &take->lack);
}

void statetake_free(struct statetake *take)
{
    if (take == NULL) {
        return;
    }
    take->closed = true;
    worker_close(take->worker);
    ASSERT(take->state != REPLACING && take->writes_out == 0);
    env_timer_stop(take->config.env, &take->idle);
    env_timer_stop(take->config.env, &take->lack);
    fs_close(take->file);
    free(take->path);
    free(take);
}
