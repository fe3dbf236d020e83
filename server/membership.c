/* SPDX-License-Identifier: Apache-2.0 */
#include "server/membership.h"

#include "base/addr.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "base/limits.h"

#define LOOK_MS 500
/* A learner that lacks no more than this becomes a voter: the core lets it catch up with the rest
 * while it counts. */
#define LAG_ENTRIES_MAX 1000

static void look(struct membership *m);

static const struct cluster *cluster_of(const struct membership *m)
{
    return m->cluster(m->ctx);
}

static void on_look(struct env_task *task)
{
    look(CONTAINER_OF(task, struct membership, look));
}

static void on_timer(struct env_timer *timer)
{
    look(CONTAINER_OF(timer, struct membership, timer));
}

void membership_init(struct membership *membership)
{
    env_task_init(&membership->look, PHASE_APPLY, on_look);
    env_timer_init(&membership->timer, on_timer);
    queue_init(&membership->waits);
}

static void end_waits(struct membership *m, enum err status)
{
    struct queue *link;
    while ((link = queue_pop_front(&m->waits)) != NULL) {
        struct leave_wait *wait = QUEUE_ELEM(link, struct leave_wait, link);
        wait->cb(wait, status);
    }
}

void membership_stop(struct membership *membership)
{
    membership->is_stopped = true;
    env_task_cancel(&membership->look);
    env_timer_stop(membership->env, &membership->timer);
    end_waits(membership, ERR_STOPPED);
}

void membership_kick(struct membership *membership)
{
    if (!membership->is_stopped) {
        env_defer(membership->env, &membership->look);
    }
}

void membership_told_removed(struct membership *membership)
{
    membership->is_told = true;
    membership_kick(membership);
}

/* ---- who waits for a member to leave ---- */

void membership_await_leave(struct membership *membership, struct leave_wait *wait,
                            uint64_t member_id,
                            void (*cb)(struct leave_wait *wait, enum err status))
{
    wait->cb = cb;
    wait->member_id = member_id;
    wait->started_ms = env_now_ms(membership->env);
    queue_push_back(&membership->waits, &wait->link);
    membership_kick(membership);
}

/* A cb may cancel others: they are looked at one by one. */
static struct leave_wait *find_answered(const struct membership *m, enum err *status)
{
    uint64_t now_ms = env_now_ms(m->env);
    QUEUE_FOREACH (link, &m->waits) {
        struct leave_wait *wait = QUEUE_ELEM(link, struct leave_wait, link);
        bool is_out = node_has_left(m->node, wait->member_id);
        if (is_out || now_ms - wait->started_ms >= m->timeout_ms) {
            *status = is_out ? OK : ERR_TIMEOUT;
            return wait;
        }
    }
    return NULL;
}

static void answer_waits(struct membership *m)
{
    struct leave_wait *wait;
    enum err status;
    while ((wait = find_answered(m, &status)) != NULL) {
        queue_remove(&wait->link);
        wait->cb(wait, status);
    }
}

/* ---- addresses ---- */

/* Where the first URL that can be called leads. */
static bool find_address(const char *const *peer_urls, size_t count, struct addr *ret)
{
    for (size_t i = 0; i < count; i++) {
        struct url url;
        if (url_parse(bytes_of_str(peer_urls[i]), &url, NULL) == OK &&
            (url.scheme == URL_HTTP || url.scheme == URL_HTTPS)) {
            *ret = url.addr;
            return true;
        }
    }
    return false;
}

bool membership_address(uint64_t id, const char *const *peer_urls, size_t count,
                        char ret[NODE_ADDRESS_SIZE])
{
    struct addr addr;
    char text[ADDR_TEXT_SIZE];
    if (!find_address(peer_urls, count, &addr)) {
        return false;
    }
    addr_format(&addr, text, sizeof text);
    return node_address_format(id, text, ret);
}

/* Members move: what the table says holds. */
static void tell_addresses(struct membership *m)
{
    const struct cluster_member *members;
    size_t count = cluster_members(cluster_of(m), &members);
    struct node_member known[MEMBERS_MAX];
    char texts[MEMBERS_MAX][ADDR_TEXT_SIZE];
    size_t known_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct addr addr;
        if (find_address(members[i].peer_urls, members[i].peer_url_count, &addr)) {
            addr_format(&addr, texts[known_count], sizeof texts[known_count]);
            known[known_count] =
                (struct node_member){.id = members[i].id, .address = texts[known_count]};
            known_count++;
        }
    }
    node_set_addresses(m->node, known, known_count);
}

/* ---- the step that is missing ---- */

static bool has_caught_up(const struct membership *m, uint64_t id)
{
    uint64_t match_index = node_match_index(m->node, id);
    return match_index > 0 && match_index + LAG_ENTRIES_MAX >= node_last_index(m->node) &&
           node_connected_ms(m->node, id) > 0;
}

struct step {
    enum change_kind kind;
    uint64_t id;
    char address[NODE_ADDRESS_SIZE];
};

/* A learner that shall vote and has caught up. */
static bool find_promotion(const struct membership *m, struct step *ret)
{
    const struct node_member *present;
    size_t count = node_members(m->node, &present);
    for (size_t i = 0; i < count; i++) {
        const struct cluster_member *wanted = cluster_member(cluster_of(m), present[i].id);
        if (present[i].role == MEMBER_LEARNER && wanted != NULL && !wanted->learner &&
            has_caught_up(m, present[i].id)) {
            *ret = (struct step){.kind = CHANGE_PROMOTE, .id = present[i].id};
            return true;
        }
    }
    return false;
}

/* Is a member there that shall vote, and cannot yet? */
static bool is_catching_up(const struct membership *m)
{
    const struct node_member *present;
    size_t count = node_members(m->node, &present);
    for (size_t i = 0; i < count; i++) {
        const struct cluster_member *wanted = cluster_member(cluster_of(m), present[i].id);
        if (present[i].role == MEMBER_LEARNER && wanted != NULL && !wanted->learner &&
            node_connected_ms(m->node, present[i].id) > 0) {
            return true;
        }
    }
    return false;
}

/* Who is there and helps waits for its successor: else the voters would be fewer than the table
 * says, and the loss of one that it would bear would be too much. */
static bool find_removal(const struct membership *m, struct step *ret)
{
    const struct node_member *present;
    size_t count = node_members(m->node, &present);
    bool must_wait = is_catching_up(m);
    for (size_t i = 0; i < count; i++) {
        uint64_t id = present[i].id;
        bool helps = present[i].role == MEMBER_VOTER && node_connected_ms(m->node, id) > 0;
        if (id != m->self && cluster_member(cluster_of(m), id) == NULL && !(helps && must_wait)) {
            *ret = (struct step){.kind = CHANGE_REMOVE, .id = id};
            return true;
        }
    }
    return false;
}

static bool find_addition(const struct membership *m, struct step *ret)
{
    const struct node_member *present;
    const struct cluster_member *wanted;
    size_t present_count = node_members(m->node, &present);
    size_t wanted_count = cluster_members(cluster_of(m), &wanted);
    for (size_t i = 0; i < wanted_count; i++) {
        const struct node_member *member = node_member_find(present, present_count, wanted[i].id);
        if ((member == NULL || member->role == MEMBER_SPARE) &&
            membership_address(wanted[i].id, wanted[i].peer_urls, wanted[i].peer_url_count,
                               ret->address)) {
            ret->kind = CHANGE_ADD_LEARNER;
            ret->id = wanted[i].id;
            return true;
        }
    }
    return false;
}

static bool find_step(const struct membership *m, struct step *ret)
{
    return find_promotion(m, ret) || find_removal(m, ret) || find_addition(m, ret);
}

static void on_changed(void *ctx, enum err status)
{
    static const char *const done[] = {
        [CHANGE_ADD_LEARNER] = "a member learns",
        [CHANGE_PROMOTE] = "a member votes",
        [CHANGE_DEMOTE] = "a member votes no more",
        [CHANGE_REMOVE] = "a member is no part of consensus any more",
    };
    struct membership *m = ctx;
    m->is_changing = false;
    if (status == OK) {
        LOG_INFO(m->log, done[m->change_kind], LOG_HEX("member", m->change_id));
        membership_kick(m);
    } else if (status != ERR_STOPPED && !m->is_stopped) {
        LOG_INFO(m->log, "a change of the members has to wait", LOG_HEX("member", m->change_id),
                 LOG_STR("reason", err_text(status)));
    }
}

static void on_transferred(void *ctx, enum err status)
{
    struct membership *m = ctx;
    m->is_transferring = false;
    if (status == OK) {
        membership_kick(m);
    }
}

/* Whoever is removed and there, hears of it first: the time until then, in ms. */
static uint64_t time_to_hear(struct membership *m, uint64_t id)
{
    uint64_t now_ms = env_now_ms(m->env);
    uint64_t grace_ms = 2 * (uint64_t)m->heartbeat_ms;
    if (node_connected_ms(m->node, id) == 0) {
        return 0;
    }
    if (m->leaving_id != id) {
        m->leaving_id = id;
        m->leaving_since_ms = now_ms;
    }
    uint64_t waited_ms = now_ms - m->leaving_since_ms;
    return waited_ms >= grace_ms ? 0 : grace_ms - waited_ms;
}

/* Take the next step. When to look again, in ms. */
static uint64_t lead(struct membership *m)
{
    struct step step;
    uint64_t next_ms = is_catching_up(m) ? m->heartbeat_ms : LOOK_MS;
    if (m->is_changing || m->is_transferring || !cluster_has_begun(cluster_of(m))) {
        return next_ms;
    }
    if (find_step(m, &step)) {
        uint64_t wait_ms = step.kind == CHANGE_REMOVE ? time_to_hear(m, step.id) : 0;
        if (wait_ms > 0) {
            return wait_ms;
        }
        m->is_changing = true;
        m->change_id = step.id;
        m->change_kind = step.kind;
        node_change(m->node, step.kind, step.id, step.address, on_changed, m);
    } else if (cluster_is_removed(cluster_of(m), m->self)) {
        m->is_transferring = true;
        node_transfer(m->node, 0, on_transferred, m);
    }
    return next_ms;
}

/* The member's time is over: nothing needs it any more. */
static bool has_ended(const struct membership *m)
{
    return m->is_told ||
           (cluster_is_removed(cluster_of(m), m->self) && node_has_left(m->node, m->self));
}

static void look(struct membership *m)
{
    bool leads = node_role(m->node) == NODE_LEADER;
    uint64_t next_ms = LOOK_MS;
    tell_addresses(m);
    node_review_peers(m->node);
    if (leads) {
        next_ms = node_ready(m->node) ? lead(m) : m->heartbeat_ms;
    }
    answer_waits(m);
    if (!leads && !m->is_removed && has_ended(m)) {
        m->is_removed = true;
        end_waits(m, OK);
        LOG_WARN(m->log, "the member has been permanently removed from the cluster",
                 LOG_HEX("member", m->self));
        m->on_removed(m->ctx);
    }
    if (!m->is_stopped) {
        env_timer_start(m->env, &m->timer, next_ms < LOOK_MS ? next_ms : LOOK_MS);
    }
}

/* ---- what may be asked for ---- */

/* Voters that have been connected for a while; this one is. */
static size_t count_healthy(const struct membership *m, size_t *voters)
{
    const struct cluster_member *members;
    size_t count = cluster_members(cluster_of(m), &members);
    size_t healthy = 0;
    *voters = 0;
    for (size_t i = 0; i < count; i++) {
        if (!members[i].learner) {
            (*voters)++;
            healthy += members[i].id == m->self ||
                       node_connected_ms(m->node, members[i].id) >= MEMBERSHIP_HEALTHY_MS;
        }
    }
    return healthy;
}

static bool may_remove(const struct membership *m, uint64_t id)
{
    const struct cluster_member *member = cluster_member(cluster_of(m), id);
    bool votes = member == NULL || !member->learner;
    /* Who is not there is no part of the majority that is. */
    if (!votes || (id != m->self && node_connected_ms(m->node, id) == 0)) {
        return true;
    }
    size_t voters;
    size_t healthy = count_healthy(m, &voters);
    return healthy >= 1 && voters >= 1 && healthy - 1 >= 1 + (voters - 1) / 2;
}

enum err membership_check(const struct membership *membership, enum command_kind kind,
                          const struct command_member *member)
{
    if (!member->strict || kind == COMMAND_MEMBER_PROMOTE) {
        return OK;
    }
    TRY(cluster_check_started(cluster_of(membership), kind, member));
    if (kind == COMMAND_MEMBER_REMOVE) {
        return may_remove(membership, member->id) ? OK : ERR_UNHEALTHY;
    }
    if (kind == COMMAND_MEMBER_ADD) {
        size_t voters;
        size_t healthy = count_healthy(membership, &voters);
        /* The new one does not run yet. */
        return voters == 1 || healthy >= (voters + 1) / 2 + 1 ? OK : ERR_UNHEALTHY;
    }
    return OK;
}

bool membership_is_behind(const struct membership *membership, uint64_t id)
{
    const struct cluster_member *member = cluster_member(cluster_of(membership), id);
    if (member == NULL || !member->learner) {
        return false; /* the command is judged when it is applied */
    }
    uint64_t all = node_match_index(membership->node, membership->self);
    return node_match_index(membership->node, id) < all - all / 10;
}
