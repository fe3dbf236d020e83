/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/readindex.h"

#include "base/assert.h"
#include "base/codec.h"
#include "base/plant.h"

enum kind { CONFIRM = 1, CONFIRMED = 2, ASK = 3, ANSWER = 4 };

static void send(struct readindex *ri, uint64_t peer, enum kind kind, uint64_t term,
                 uint64_t number, uint64_t index)
{
    struct blob *frame = blob_new(1 + 3 * 8);
    if (frame == NULL) {
        return; /* as a frame that is lost */
    }
    frame->data[0] = (uint8_t)kind;
    put_u64(frame->data + 1, term);
    put_u64(frame->data + 9, number);
    put_u64(frame->data + 17, index);
    (void)ri->transport->ops->send(ri->transport, peer, LANE_URGENT, FRAME_READ_INDEX, frame);
    blob_unref(frame);
}

static struct read_index *request_of(struct queue *link)
{
    return QUEUE_ELEM(link, struct read_index, link);
}

static uint64_t known_leader(const struct raft *r)
{
    return r->state == RAFT_FOLLOWER ? r->follower_state.current_leader.id : 0;
}

/* ---- to the callbacks ---- */

/* What is done has its status in `round`. */
static void finish(struct readindex *ri, struct read_index *request, enum err status)
{
    queue_remove(&request->link);
    request->round = status;
    queue_push_back(&ri->done, &request->link);
    env_defer(ri->env, &ri->finish);
}

static void finish_all(struct readindex *ri, struct queue *list, enum err status)
{
    while (!queue_empty(list)) {
        finish(ri, request_of(list->next), status);
    }
}

static void run_done(struct readindex *ri)
{
    struct queue *link;
    while ((link = queue_pop_front(&ri->done)) != NULL) {
        struct read_index *request = request_of(link);
        request->cb(request, (enum err)request->round, request->index);
    }
}

static void on_finish(struct env_task *task)
{
    run_done(CONTAINER_OF(task, struct readindex, finish));
}

static void finish_applied(struct readindex *ri)
{
    uint64_t applied = PLANTED(READ_UNAPPLIED) ? UINT64_MAX : raftio_core(ri->io)->last_applied;
    while (!queue_empty(&ri->confirmed) && request_of(ri->confirmed.next)->index <= applied) {
        finish(ri, request_of(ri->confirmed.next), OK);
    }
}

static void confirm(struct readindex *ri, uint64_t index)
{
    QUEUE_FOREACH (link, &ri->in_round) {
        request_of(link)->index = index;
    }
    queue_splice(&ri->confirmed, &ri->in_round);
    finish_applied(ri);
}

/* ---- leader ---- */

static bool round_is_ours(const struct readindex *ri)
{
    return ri->running && raftio_leads(ri->io) && raftio_core(ri->io)->current_term == ri->term;
}

static bool has_answered(const struct readindex *ri, uint64_t id)
{
    for (size_t i = 0; i < ri->answered_count; i++) {
        if (ri->answered[i] == id) {
            return true;
        }
    }
    return id == raftio_core(ri->io)->id;
}

static bool majority_answered(const struct readindex *ri)
{
    const struct raft *r = raftio_core(ri->io);
    unsigned voters = 0;
    unsigned answered = 0;
    for (unsigned i = 0; i < r->configuration.n; i++) {
        const struct raft_server *server = &r->configuration.servers[i];
        if (server->role == RAFT_VOTER) {
            voters++;
            answered += has_answered(ri, server->id);
        }
    }
    return answered > voters / 2;
}

static void ask_voters(struct readindex *ri)
{
    const struct raft *r = raftio_core(ri->io);
    for (unsigned i = 0; i < r->configuration.n; i++) {
        const struct raft_server *server = &r->configuration.servers[i];
        if (server->role == RAFT_VOTER && !has_answered(ri, server->id)) {
            send(ri, server->id, CONFIRM, ri->term, ri->round, 0);
        }
    }
}

static void end_round_if_confirmed(struct readindex *ri)
{
    if (!round_is_ours(ri) || (!majority_answered(ri) && !PLANTED(READ_UNCONFIRMED))) {
        return;
    }
    ri->running = false;
    confirm(ri, ri->index);
    size_t kept = 0;
    for (size_t i = 0; i < ri->ask_count; i++) {
        struct readindex_ask ask = ri->asks[i];
        if (ask.taken != 0) {
            send(ri, ask.peer, ANSWER, ri->term, ask.taken, ri->index);
        }
        if (ask.taken != ask.number) {
            ask.taken = 0;
            ri->asks[kept++] = ask;
        }
    }
    ri->ask_count = kept;
    if (kept > 0 || !queue_empty(&ri->waiting)) {
        env_defer(ri->env, &ri->start);
    }
}

static void start_round(struct readindex *ri)
{
    if (ri->running || (queue_empty(&ri->waiting) && ri->ask_count == 0)) {
        return;
    }
    const struct raft *r = raftio_core(ri->io);
    ri->running = true;
    ri->term = r->current_term;
    ri->round++;
    ri->index = r->commit_index;
    ri->answered_count = 0;
    queue_splice(&ri->in_round, &ri->waiting);
    for (size_t i = 0; i < ri->ask_count; i++) {
        ri->asks[i].taken = ri->asks[i].number;
    }
    ask_voters(ri);
    end_round_if_confirmed(ri); /* the only voter */
}

/* ---- follower ---- */

static void ask_leader(struct readindex *ri, uint64_t leader)
{
    if (ri->asked_leader != 0 || queue_empty(&ri->waiting)) {
        return;
    }
    if (PLANTED(READ_OF_FOLLOWER)) {
        queue_splice(&ri->in_round, &ri->waiting);
        confirm(ri, raftio_core(ri->io)->commit_index);
        return;
    }
    ri->asked_leader = leader;
    ri->ask_number++;
    queue_splice(&ri->in_round, &ri->waiting);
    send(ri, leader, ASK, 0, ri->ask_number, 0);
}

/* ---- both ---- */

static void on_start(struct env_task *task)
{
    struct readindex *ri = CONTAINER_OF(task, struct readindex, start);
    const struct raft *r = raftio_core(ri->io);
    uint64_t leader = known_leader(r);
    if (raftio_leads(ri->io)) {
        start_round(ri);
    } else if (leader != 0) {
        ask_leader(ri, leader);
    } else if (r->state != RAFT_LEADER) {
        finish_all(ri, &ri->waiting, ERR_NO_LEADER);
    } /* else: when the barrier is applied */
}

void readindex_init(struct readindex *ri, struct env *env, struct raftio *io,
                    struct transport *transport)
{
    uint64_t beginning = env_random_u64(env);
    *ri = (struct readindex){
        .env = env, .io = io, .transport = transport, .round = beginning, .ask_number = beginning};
    queue_init(&ri->waiting);
    queue_init(&ri->in_round);
    queue_init(&ri->confirmed);
    queue_init(&ri->done);
    env_task_init(&ri->start, PHASE_RAFT, on_start);
    env_task_init(&ri->finish, PHASE_APPLY, on_finish);
}

void readindex_fini(struct readindex *ri)
{
    finish_all(ri, &ri->waiting, ERR_STOPPED);
    finish_all(ri, &ri->in_round, ERR_STOPPED);
    finish_all(ri, &ri->confirmed, ERR_STOPPED);
    env_task_cancel(&ri->start);
    env_task_cancel(&ri->finish);
    run_done(ri);
}

void readindex_add(struct readindex *ri, struct read_index *request)
{
    request->index = 0;
    request->round = 0;
    bool joins = PLANTED(READ_JOINS_ROUND) && ri->running;
    queue_push_back(joins ? &ri->in_round : &ri->waiting, &request->link);
    env_defer(ri->env, &ri->start);
}

void readindex_cancel(struct readindex *ri, struct read_index *request)
{
    (void)ri;
    queue_remove(&request->link);
}

/* Who led when a round or a question began does so no more: its reads begin again, with whoever
 * leads now. */
static void begin_again(struct readindex *ri)
{
    ri->running = false;
    ri->asked_leader = 0;
    queue_splice(&ri->in_round, &ri->waiting);
    queue_splice(&ri->waiting, &ri->in_round);
}

void readindex_update(struct readindex *ri)
{
    const struct raft *r = raftio_core(ri->io);
    bool stale_round = ri->running && !round_is_ours(ri);
    bool stale_ask = ri->asked_leader != 0 && ri->asked_leader != known_leader(r);
    if (stale_round || stale_ask) {
        begin_again(ri);
    }
    if (r->state != RAFT_LEADER) {
        ri->ask_count = 0;
    }
    finish_applied(ri);
    if (!queue_empty(&ri->waiting) || (ri->ask_count > 0 && !ri->running)) {
        env_defer(ri->env, &ri->start);
    }
}

void readindex_tick(struct readindex *ri)
{
    if (round_is_ours(ri)) {
        ask_voters(ri);
    } else if (ri->asked_leader != 0) {
        send(ri, ri->asked_leader, ASK, 0, ri->ask_number, 0);
    }
}

static void on_confirmed(struct readindex *ri, uint64_t peer, uint64_t term, uint64_t round)
{
    bool is_of_round = (term == ri->term && round == ri->round) || PLANTED(CONFIRM_OLD_TERM);
    if (!round_is_ours(ri) || !is_of_round || has_answered(ri, peer) ||
        ri->answered_count == MEMBERS_MAX) {
        return;
    }
    ri->answered[ri->answered_count++] = peer;
    end_round_if_confirmed(ri);
}

static void on_ask(struct readindex *ri, uint64_t peer, uint64_t number)
{
    if (raftio_core(ri->io)->state != RAFT_LEADER) {
        return; /* the follower finds out, and asks who leads */
    }
    size_t i = 0;
    while (i < ri->ask_count && ri->asks[i].peer != peer) {
        i++;
    }
    if (i == MEMBERS_MAX) {
        return;
    }
    if (i == ri->ask_count) {
        ri->asks[ri->ask_count++] = (struct readindex_ask){.peer = peer};
    }
    ri->asks[i].number = number;
    env_defer(ri->env, &ri->start);
}

static void on_answer(struct readindex *ri, uint64_t peer, uint64_t number, uint64_t index)
{
    if (peer == ri->asked_leader && number == ri->ask_number) {
        ri->asked_leader = 0;
        confirm(ri, index);
        if (!queue_empty(&ri->waiting)) {
            env_defer(ri->env, &ri->start);
        }
    }
}

void readindex_on_frame(struct readindex *ri, uint64_t peer, struct bytes payload)
{
    struct reader r = reader_of(payload);
    uint8_t kind = read_u8(&r);
    uint64_t term = read_u64(&r);
    uint64_t number = read_u64(&r);
    uint64_t index = read_u64(&r);
    if (reader_end(&r) != OK) {
        return;
    }
    switch (kind) {
    case CONFIRM:
        send(ri, peer, CONFIRMED, raftio_core(ri->io)->current_term, number, 0);
        break;
    case CONFIRMED:
        on_confirmed(ri, peer, term, number);
        break;
    case ASK:
        on_ask(ri, peer, number);
        break;
    case ANSWER:
        on_answer(ri, peer, number, index);
        break;
    default:
        break;
    }
}
