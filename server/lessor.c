/* SPDX-License-Identifier: Apache-2.0 */
#include "server/lessor.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/plant.h"
#include "base/trace.h"
#include "raft/node.h"

#define TICK_MS 100u /* what ends within it is revoked together */
/* From its election to its first entry a leader looks so often whether it may begin. */
#define READY_MS 10u
/* Leases looked at in a turn, and those of a command with their keys: neither holds the loop long.
 */
#define LOOK_MAX  1024u
#define BATCH_MAX 1024u
static_assert(LOOK_MAX <= BATCH_MAX, "a look fits into a checkpoint");
/* Longer than the request's time limit: by then the outcome is known or the command is lost. */
#define RETRY_MS 10000u
/* A lease that was not renewed for half its TTL is not being kept alive (clients renew after a
 * third), so that those who are kept alive cost the log nothing. */
#define CHECKPOINT_MS_MIN 10000u
#define CHECKPOINT_MS_MAX 300000u
#define EPOCH_MAX         (UINT32_MAX >> 1) /* struct lease has 31 bits for it */

struct lessor {
    struct lessor_config config;
    struct heap due;
    struct env_timer timer;
    bool stopped;
    bool leads;
    uint64_t term;     /* in which it leads */
    uint64_t begun_ms; /* when it began to */
    uint32_t epoch;    /* counts beginnings */
    struct lessor_op {
        struct op op;
        struct lessor *lessor;
        bool busy;
        size_t count;
    } revokes[LESSOR_REVOKES_MAX];
    struct lessor_op checkpoint;
    uint64_t checkpoint_not_before_ms;
    uint64_t slot_ms; /* of checkpoints that were put off: the last that is not full */
    size_t slot_count;
    struct lessor_op clear;
    int64_t ids[BATCH_MAX]; /* of the revocation that is being made */
    size_t id_count;
    size_t work;                        /* its leases and their keys */
    struct lease_rest rests[BATCH_MAX]; /* of the checkpoint */
    size_t rest_count;
    struct lease_rest clears[BATCH_MAX];
    size_t clear_count;
    struct lease_walk reading; /* of leases of another state that are not in the heap yet */
    bool is_reading;
    struct env_timer read_timer;
    struct counter *granted;
    struct counter *revoked;
    struct counter *renewed;
    struct counter *expired;
    struct histogram *ttls;
};

/* ---- the heap ---- */

static void look_at(struct lessor *lessor, struct lease *lease, uint64_t at_ms)
{
    heap_remove(&lessor->due, &lease->clock_due);
    if (heap_insert(&lessor->due, &lease->clock_due, at_ms) != OK) {
        fatal("lessor: no memory for a committed lease");
    }
}

static uint64_t span_ms(int64_t seconds)
{
    return (uint64_t)seconds * 1000; /* LEASE_TTL_MAX has room */
}

static uint64_t checkpoint_interval_ms(const struct lease *lease)
{
    uint64_t half = span_ms(lease->ttl_s) / 2;
    if (half < CHECKPOINT_MS_MIN) {
        return CHECKPOINT_MS_MIN;
    }
    return half < CHECKPOINT_MS_MAX ? half : CHECKPOINT_MS_MAX;
}

/* When it was last known to the log how much is left: granted, renewed or checkpointed. */
static uint64_t checkpoint_due_ms(const struct lease *lease)
{
    return lease->clock_expires_ms - span_ms(lease_rest_s(lease)) + checkpoint_interval_ms(lease);
}

static uint64_t next_ms(const struct lease *lease)
{
    uint64_t due_ms = checkpoint_due_ms(lease);
    return due_ms < lease->clock_expires_ms ? due_ms : lease->clock_expires_ms;
}

/* The time that the leader in this epoch gives it. */
static void count_anew(const struct lessor *lessor, struct lease *lease)
{
    if (lease->clock_epoch != lessor->epoch) {
        lease->clock_epoch = lessor->epoch & EPOCH_MAX;
        lease->clock_checkpoint = 0;
        if (PLANTED(LEASE_EARLY)) {
            return; /* as it was when it was granted */
        }
        lease->clock_expires_ms =
            lessor->begun_ms + lessor->config.election_ms + span_ms(lease_rest_s(lease));
    }
}

static void arm(struct lessor *lessor, uint64_t delay_ms)
{
    if (!lessor->stopped) {
        env_timer_start(lessor->config.env, &lessor->timer, delay_ms);
    }
}

/* ---- proposing ---- */

static void on_outcome(struct op *op, enum err status)
{
    struct lessor_op *sent = CONTAINER_OF(op, struct lessor_op, op);
    struct lessor *lessor = sent->lessor;
    sent->busy = false;
    enum err outcome = status == OK ? op->result->status : status;
    if (outcome != OK && outcome != ERR_LEASE_NOT_FOUND && outcome != ERR_STOPPED) {
        LOG_WARN(lessor->config.log, "a change of leases that is due was not made",
                 LOG_STR("error", err_text(outcome)));
    }
    /* Not from within apply, where it would propose. */
    arm(lessor, 0);
    if (outcome == OK || outcome == ERR_LEASE_NOT_FOUND) {
        /* Else who waits would ask again, and be refused again, at once: it has its own pace. */
        lessor->config.on_settled(lessor->config.ctx);
    }
}

static void propose(struct lessor *lessor, struct lessor_op *sent, const struct command *command)
{
    ASSERT(!sent->busy);
    sent->busy = true;
    sent->lessor = lessor;
    lessor->config.propose(lessor->config.ctx, &sent->op, command, on_outcome);
}

static struct lessor_op *idle_revoke(struct lessor *lessor)
{
    for (size_t i = 0; i < LESSOR_REVOKES_MAX; i++) {
        if (!lessor->revokes[i].busy) {
            return &lessor->revokes[i];
        }
    }
    return NULL;
}

static void propose_revoke(struct lessor *lessor)
{
    if (lessor->id_count == 0) {
        return;
    }
    TRACE(lessor->config.env, "lessor: revoke leases, with keys", lessor->id_count, lessor->work);
    struct command command = {
        .kind = COMMAND_LEASE_REVOKE,
        .lease_revoke = {.term = lessor->term, .ids = lessor->ids, .count = lessor->id_count}};
    counter_add(lessor->expired, (double)lessor->id_count);
    lessor->id_count = 0;
    lessor->work = 0;
    propose(lessor, idle_revoke(lessor), &command);
}

static void propose_rests(struct lessor *lessor, struct lessor_op *sent, struct lease_rest *rests,
                          size_t *count)
{
    if (*count == 0) {
        return;
    }
    struct command command = {
        .kind = COMMAND_LEASE_CHECKPOINT,
        .lease_checkpoint = {.term = lessor->term, .leases = rests, .count = *count}};
    *count = 0;
    propose(lessor, sent, &command);
}

/* ---- looking ---- */

static void revoke_with_others(struct lessor *lessor, struct lease *lease, uint64_t now)
{
    lessor->ids[lessor->id_count++] = lease->id;
    lessor->work += 1 + lease->key_count;
    look_at(lessor, lease, now + RETRY_MS);
}

static void checkpoint_with_others(struct lessor *lessor, struct lease *lease, uint64_t now)
{
    uint64_t left_ms = lease->clock_expires_ms - now;
    lessor->rests[lessor->rest_count++] =
        (struct lease_rest){.id = lease->id, .remaining_s = (int64_t)((left_ms + 999) / 1000)};
    lease->clock_checkpoint = 1;
    uint64_t again_ms = now + RETRY_MS;
    look_at(lessor, lease, again_ms < lease->clock_expires_ms ? again_ms : lease->clock_expires_ms);
}

/* When a checkpoint that has no room now is made: BATCH_MAX of them every TICK_MS, so that each is
 * put off about once, however many there are, and what ends does not wait behind them. */
static uint64_t next_slot_ms(struct lessor *lessor, uint64_t now)
{
    if (lessor->slot_ms < now + TICK_MS) {
        lessor->slot_ms = now + TICK_MS;
        lessor->slot_count = 0;
    } else if (lessor->slot_count == BATCH_MAX) {
        lessor->slot_ms += TICK_MS;
        lessor->slot_count = 0;
    }
    lessor->slot_count++;
    return lessor->slot_ms;
}

/* One that its time in the heap has come for. False: it cannot be dealt with now. */
static bool deal_with(struct lessor *lessor, struct lease *lease, uint64_t now)
{
    count_anew(lessor, lease);
    if (lease->clock_expires_ms <= now) {
        bool room = idle_revoke(lessor) != NULL && lessor->work < BATCH_MAX;
        if (room) {
            revoke_with_others(lessor, lease, now);
        }
        return room;
    }
    if (checkpoint_due_ms(lease) > now) {
        look_at(lessor, lease, next_ms(lease));
        return true;
    }
    /* Behind a clearing that is on its way it would take back what a renewal was promised since. */
    if (lessor->checkpoint.busy || lessor->clear.busy || now < lessor->checkpoint_not_before_ms) {
        uint64_t later_ms = next_slot_ms(lessor, now);
        look_at(lessor, lease,
                later_ms < lease->clock_expires_ms ? later_ms : lease->clock_expires_ms);
        return true;
    }
    checkpoint_with_others(lessor, lease, now);
    return true;
}

static struct lease *first_due(const struct lessor *lessor, uint64_t now)
{
    struct heap_link *min = heap_min(&lessor->due);
    return min == NULL || min->key > now ? NULL : CONTAINER_OF(min, struct lease, clock_due);
}

static void look(struct lessor *lessor)
{
    uint64_t now = env_now_ms(lessor->config.env);
    size_t looked = 0;
    struct lease *lease;
    bool dealt = true;
    while (looked < LOOK_MAX && (lease = first_due(lessor, now)) != NULL && dealt) {
        dealt = deal_with(lessor, lease, now);
        looked++;
    }
    propose_revoke(lessor);
    if (lessor->rest_count > 0) {
        lessor->checkpoint_not_before_ms = now + TICK_MS;
    }
    propose_rests(lessor, &lessor->checkpoint, lessor->rests, &lessor->rest_count);
    struct heap_link *min = heap_min(&lessor->due);
    if (first_due(lessor, now) != NULL) {
        /* More in the next turn; when all ways are taken, an outcome looks again. */
        if (dealt || idle_revoke(lessor) != NULL) {
            arm(lessor, 0);
        }
    } else if (min != NULL) {
        arm(lessor, min->key - now < TICK_MS ? TICK_MS : min->key - now);
    }
}

/* It leads from when its own first entry is applied, and all that others left behind with it. */
static void begin_if_ready(struct lessor *lessor)
{
    const struct node *node = lessor->config.node;
    if (lessor->stopped || lessor->leads || node_role(node) != NODE_LEADER || !node_ready(node)) {
        return;
    }
    lessor->leads = true;
    lessor->term = node_term(node);
    lessor->begun_ms = env_now_ms(lessor->config.env);
    lessor->epoch++;
    TRACE(lessor->config.env, "lessor: leads in term, leases", lessor->term,
          leases_count(lessor->config.leases));
}

static void tick(struct lessor *lessor)
{
    begin_if_ready(lessor);
    if (lessor->leads) {
        look(lessor);
    } else if (node_role(lessor->config.node) == NODE_LEADER) {
        arm(lessor, READY_MS);
    }
}

static void on_timer(struct env_timer *timer)
{
    tick(CONTAINER_OF(timer, struct lessor, timer));
}

void lessor_update(struct lessor *lessor)
{
    const struct node *node = lessor->config.node;
    bool leads = node_role(node) == NODE_LEADER;
    if (lessor->leads && (!leads || node_term(node) != lessor->term)) {
        lessor->leads = false;
    }
    if (leads) {
        arm(lessor, 0);
    }
}

/* ---- what the state machine tells ---- */

static void on_granted(struct lessor *lessor, struct lease *lease)
{
    uint64_t now = env_now_ms(lessor->config.env);
    counter_add(lessor->granted, 1);
    histogram_observe(lessor->ttls, (double)lease->ttl_s);
    lease->clock_expires_ms = now + span_ms(lease->ttl_s);
    if (PLANTED(LEASE_FORGOTTEN) && !lessor->leads) {
        return;
    }
    if (lessor->leads) {
        lease->clock_epoch = lessor->epoch & EPOCH_MAX;
    }
    look_at(lessor, lease, next_ms(lease));
    if (lessor->leads && heap_min(&lessor->due) == &lease->clock_due) {
        arm(lessor, lease->clock_due.key - now);
    }
}

static void on_changed(struct lessor *lessor, struct lease *lease)
{
    if (lease->remaining_s == 0) {
        /* No reason to extend it: its revocation may be on its way. Nor to renew it, when what was
         * cleared may be followed by a checkpoint. */
        lease->clock_checkpoint &= lessor->checkpoint.busy;
        return;
    }
    uint64_t end_ms = env_now_ms(lessor->config.env) + span_ms(lease->remaining_s);
    if (lease->clock_due.key > end_ms) {
        look_at(lessor, lease, end_ms); /* the leader that counts knows that it ends sooner */
    }
}

static void end_reading(struct lessor *lessor)
{
    if (lessor->is_reading) {
        lessor->is_reading = false;
        lease_walk_end(&lessor->reading);
        env_timer_stop(lessor->config.env, &lessor->read_timer);
    }
}

/* The clocks of leases that came with another state begin, those of LOOK_MAX in a turn. Each is
 * looked at at or before what any leader may find left of it. */
static void on_read_time(struct env_timer *timer)
{
    struct lessor *lessor = CONTAINER_OF(timer, struct lessor, read_timer);
    uint64_t now = env_now_ms(lessor->config.env);
    struct lease *lease = NULL;
    for (size_t i = 0; i < LOOK_MAX && (lease = lease_walk_next(&lessor->reading)) != NULL; i++) {
        if (!heap_link_active(&lease->clock_due)) {
            lease->clock_expires_ms = now + span_ms(lease_rest_s(lease));
            look_at(lessor, lease, next_ms(lease));
        }
    }
    if (lease != NULL) {
        env_timer_start(lessor->config.env, &lessor->read_timer, 0);
        return;
    }
    end_reading(lessor);
    if (lessor->leads) {
        arm(lessor, 0);
    }
}

static void on_replaced(struct lessor *lessor)
{
    heap_fini(&lessor->due);
    heap_init(&lessor->due);
    end_reading(lessor);
    if (lessor->stopped) {
        return;
    }
    lessor->is_reading = true;
    lease_walk_begin(&lessor->reading, lessor->config.leases);
    env_timer_start(lessor->config.env, &lessor->read_timer, 0);
}

static void on_lease(void *ctx, enum lease_event event, struct lease *lease)
{
    struct lessor *lessor = ctx;
    switch (event) {
    case LEASE_GRANTED:
        on_granted(lessor, lease);
        break;
    case LEASE_CHANGED:
        on_changed(lessor, lease);
        break;
    case LEASE_REVOKED:
        counter_add(lessor->revoked, 1);
        heap_remove(&lessor->due, &lease->clock_due);
        break;
    case LEASE_REPLACED:
        on_replaced(lessor);
        break;
    }
}

/* ---- questions ---- */

int64_t lessor_renew(struct lessor *lessor, int64_t id, uint64_t confirmed_ms)
{
    struct lease *lease = leases_find(lessor->config.leases, id);
    if (lease == NULL) {
        return 0;
    }
    begin_if_ready(lessor);
    if (!lessor->leads) {
        return LEASE_AGAIN;
    }
    count_anew(lessor, lease);
    if (lease->clock_expires_ms <= env_now_ms(lessor->config.env)) {
        return LEASE_AGAIN;
    }
    if (lease->remaining_s != 0 || lease->clock_checkpoint) {
        /* A checkpoint on its way could still be put behind: it is cleared once that is decided. */
        if (!lessor->checkpoint.busy && !lessor->clear.busy && lessor->clear_count < BATCH_MAX) {
            lessor->clears[lessor->clear_count++] = (struct lease_rest){.id = id};
        }
        return LEASE_AGAIN;
    }
    uint64_t expires_ms = confirmed_ms + span_ms(lease->ttl_s);
    if (lease->clock_expires_ms < expires_ms) {
        lease->clock_expires_ms = expires_ms;
    }
    counter_add(lessor->renewed, 1);
    return lease->ttl_s;
}

void lessor_flush(struct lessor *lessor)
{
    propose_rests(lessor, &lessor->clear, lessor->clears, &lessor->clear_count);
}

int64_t lessor_remaining_ms(struct lessor *lessor, int64_t id)
{
    struct lease *lease = leases_find(lessor->config.leases, id);
    if (lease == NULL) {
        return LEASE_GONE;
    }
    begin_if_ready(lessor);
    if (!lessor->leads) {
        return LEASE_AGAIN;
    }
    count_anew(lessor, lease);
    return (int64_t)lease->clock_expires_ms - (int64_t)env_now_ms(lessor->config.env);
}

/* ---- its life ---- */

static void register_metrics(struct lessor *lessor)
{
    struct metrics *m = lessor->config.metrics;
    if (m == NULL) {
        return;
    }
    lessor->granted = metrics_counter(m, "etcd_debugging_lease_granted_total",
                                      "The total number of granted leases.", NULL);
    lessor->revoked = metrics_counter(m, "etcd_debugging_lease_revoked_total",
                                      "The total number of revoked leases.", NULL);
    lessor->renewed = metrics_counter(m, "etcd_debugging_lease_renewed_total",
                                      "The number of renewed leases seen by the leader.", NULL);
    lessor->expired = metrics_counter(m, "etcd_debugging_server_lease_expired_total",
                                      "The total number of expired leases.", NULL);
    lessor->ttls = metrics_histogram(m, "etcd_debugging_lease_ttl_total",
                                     "Bucketed histogram of lease TTLs.", NULL, 1, 24);
}

/* Leases that were there at the start: at or before what any leader may find left of them. */
static enum err take_over(struct lessor *lessor)
{
    uint64_t now = env_now_ms(lessor->config.env);
    struct lease_walk walk;
    struct lease *lease;
    enum err err = OK;
    lease_walk_begin(&walk, lessor->config.leases);
    while (err == OK && (lease = lease_walk_next(&walk)) != NULL) {
        lease->clock_expires_ms = now + span_ms(lease_rest_s(lease));
        err = heap_insert(&lessor->due, &lease->clock_due, next_ms(lease));
    }
    lease_walk_end(&walk);
    return err;
}

enum err lessor_new(const struct lessor_config *config, struct lessor **ret)
{
    struct lessor *lessor = calloc(1, sizeof *lessor);
    if (lessor == NULL) {
        return ERR_NOMEM;
    }
    lessor->config = *config;
    heap_init(&lessor->due);
    env_timer_init(&lessor->timer, on_timer);
    env_timer_init(&lessor->read_timer, on_read_time);
    lessor->epoch = 1; /* what nobody has counted is of epoch 0 */
    enum err err = take_over(lessor);
    if (err != OK) {
        heap_fini(&lessor->due);
        free(lessor);
        return err;
    }
    register_metrics(lessor);
    leases_listen(config->leases, on_lease, lessor);
    *ret = lessor;
    return OK;
}

void lessor_stop(struct lessor *lessor)
{
    lessor->stopped = true;
    lessor->leads = false;
    end_reading(lessor);
    env_timer_stop(lessor->config.env, &lessor->timer);
}

void lessor_free(struct lessor *lessor)
{
    if (lessor == NULL) {
        return;
    }
    for (size_t i = 0; i < LESSOR_REVOKES_MAX; i++) {
        ASSERT(!lessor->revokes[i].busy);
    }
    ASSERT(!lessor->checkpoint.busy && !lessor->clear.busy);
    env_timer_stop(lessor->config.env, &lessor->timer);
    end_reading(lessor);
    leases_listen(lessor->config.leases, NULL, NULL);
    heap_fini(&lessor->due);
    free(lessor);
}
