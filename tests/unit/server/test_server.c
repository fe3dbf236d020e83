/* SPDX-License-Identifier: Apache-2.0 */
#include "server/server.h"

#include "base/cleanup.h"
#include "server/forward.h"
#include "server/hashframe.h"
#include "server/quota.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/node_fake.h"
#include "tests/lib/runner.h"
#include "tests/lib/store_model.h"

#define SELF              1u
#define OTHER             2u
#define THIRD             3u
#define ELECTION_MS       1000u
#define TIMEOUT_MS        (5000u + 2 * ELECTION_MS)
#define HOUSEKEEPING_MS   500u
#define RETRY_MS          10u
#define QUOTA             100000u
#define COMPACT_RETENTION 15
#define REQUEST_MAX       10000u

static struct env_fake *fake;
static struct store *store;
static struct server *server; /* NULL once it is stopped */
static struct node *node;
static int ready_calls;
static int stopped_calls;

static const char *const peer_urls[] = {"http://127.0.0.1:2380"};
static const char *const client_urls[] = {"http://127.0.0.1:2379", "http://[::1]:2379"};
static const struct cluster_member members[] = {
    {.id = SELF, .peer_urls = peer_urls, .peer_url_count = 1},
    {.id = OTHER, .peer_urls = peer_urls, .peer_url_count = 1},
    {.id = THIRD, .peer_urls = peer_urls, .peer_url_count = 1},
};
static const char *const addresses[] = {"127.0.0.1:2380", "127.0.0.1:2381", "127.0.0.1:2382"};

static void on_ready(void *ctx)
{
    ck_assert_ptr_eq(ctx, &ready_calls);
    ready_calls++;
}

static void on_stopped(void *ctx)
{
    ck_assert_ptr_eq(ctx, &stopped_calls);
    stopped_calls++;
    server = NULL;
}

static struct server_config config_of(size_t member_count)
{
    return (struct server_config){
        .env = env_fake_env(fake),
        .store = store,
        .cluster_id = 77,
        .member_id = SELF,
        .name = "one",
        .members = members,
        .member_addresses = addresses,
        .member_count = member_count,
        .client_urls = client_urls,
        .client_url_count = ARRAY_LEN(client_urls),
        .heartbeat_ms = 100,
        .election_ms = ELECTION_MS,
        .snapshot_entries = 1000,
        .request_bytes_max = REQUEST_MAX,
        .txn_ops_max = 128,
        .quota_bytes = QUOTA,
        .compactor_mode = COMPACTOR_REVISION,
        .compactor_retention = COMPACT_RETENTION,
        .on_ready = on_ready,
        .ctx = &ready_calls,
    };
}

static void start(size_t member_count)
{
    ready_calls = 0;
    stopped_calls = 0;
    fake = env_fake_new(1);
    store = store_model_new(env_fake_env(fake));
    struct server_config config = config_of(member_count);
    struct why why = {0};
    enum err err = server_start(&config, &server, &why);
    ck_assert_msg(err == OK, "%s", why.text);
    node = server_node(server);
}

static void set_up(void)
{
    start(ARRAY_LEN(members));
}

static void tear_down(void)
{
    if (server != NULL) {
        if (!node_fake_closing(node)) {
            node_fake_set_leader(node, node_term(node), 0);
            server_stop(server, on_stopped, &stopped_calls);
        }
        node_fake_finish_close(node);
        ck_assert_int_eq(stopped_calls, 1);
    }
    env_fake_free(fake);
}

static void set_up_untold(void)
{
    start(0);
}

static void set_up_alone(void)
{
    start(1);
}

struct waiter {
    struct op op;
    int calls;
    enum err status;
    enum err result;
    int64_t revision;
};

static void on_op(struct op *op, enum err status)
{
    struct waiter *waiter = CONTAINER_OF(op, struct waiter, op);
    waiter->calls++;
    waiter->status = status;
    if (status == OK) {
        waiter->result = op->result->status;
        waiter->revision = op->result->revision;
    }
}

struct read_waiter {
    struct read_op op;
    int calls;
    enum err status;
};

static void on_read(struct read_op *op, enum err status)
{
    struct read_waiter *waiter = CONTAINER_OF(op, struct read_waiter, op);
    waiter->calls++;
    waiter->status = status;
}

static struct command put_of(const char *key)
{
    return (struct command){
        .kind = COMMAND_PUT,
        .put = {.key = bytes_of_str(key), .value = bytes_of_str("value")},
    };
}

static void put(struct waiter *waiter, const char *key)
{
    struct command command = put_of(key);
    server_propose(server, &waiter->op, &command, on_op);
    ck_assert_int_eq(waiter->calls, 0);
}

static void commit_all(void)
{
    env_fake_run(fake);
    while (node_fake_proposal_count(node) > 0) {
        node_fake_commit(node);
        env_fake_run(fake);
    }
}

/* Leader, with its own publishing out of the way. */
static void lead(void)
{
    node_fake_set_leader(node, 2, SELF);
    env_fake_advance(fake, 1);
    commit_all();
    ck_assert_int_eq(ready_calls, 1);
}

/* What a leader says first of all: who the members are. */
static void add_members(struct buf *entry)
{
    struct bytes url = bytes_of_str(peer_urls[0]);
    struct command_member first[ARRAY_LEN(members)];
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        first[i] =
            (struct command_member){.id = members[i].id, .peer_urls = &url, .peer_url_count = 1};
    }
    struct command command = {.kind = COMMAND_MEMBER_INIT,
                              .member_init = {.members = first, .count = ARRAY_LEN(members)}};
    command_encode(entry, (struct command_origin){.member_id = OTHER, .op = 1}, &command);
}

/* Follower of OTHER, whose answer to the publishing has come. */
static void follow(void)
{
    node_fake_set_leader(node, 2, OTHER);
    env_fake_advance(fake, 1);
    ck_assert_uint_eq(node_fake_frame_count(node), 1);
    struct node_frame frame = node_fake_take_frame(node);
    CLEANUP(buf_fini) struct buf entry = {0};
    entry_encode_head(&entry, 1);
    add_members(&entry);
    buf_append(&entry, frame.payload->data + 1, frame.payload->len - 1);
    blob_unref(frame.payload);
    node_fake_apply(node, buf_bytes(&entry));
    ck_assert_int_eq(ready_calls, 1);
}

static void expect(const struct waiter *waiter, int calls, enum err status)
{
    ck_assert_int_eq(waiter->calls, calls);
    ck_assert_msg(waiter->status == status, "%s", err_text(waiter->status));
}

static int64_t count_of(const char *key)
{
    struct range_query query = {.key = bytes_of_str(key), .count_only = true};
    struct range_result result = {0};
    ck_assert_int_eq(store_range(store, &query, &result), OK);
    int64_t count = result.count;
    range_result_fini(&result);
    return count;
}

/* ---- starting ---- */

START_TEST(a_member_that_cannot_open_says_why)
{
    struct env_fake *other_fake = env_fake_new(2);
    struct server_config config = config_of(3);
    config.env = env_fake_env(other_fake);
    config.store = store_model_new(config.env);
    struct server *none = NULL;
    struct why why = {0};
    node_fake_fail_open(ERR_CORRUPT);
    ck_assert_int_eq(server_start(&config, &none, &why), ERR_CORRUPT);
    ck_assert_ptr_null(none);
    ck_assert_str_ne(why.text, "");
    env_fake_free(other_fake);
}
END_TEST

/* A name that no member could decode would end them all. */
START_TEST(a_name_beyond_its_limit_is_refused_at_the_start)
{
    static char name[MEMBER_TEXT_BYTES_MAX + 2];
    struct env_fake *other_fake = env_fake_new(2);
    struct server_config config = config_of(3);
    config.env = env_fake_env(other_fake);
    config.store = store_model_new(config.env);
    memset(name, 'n', sizeof name - 1);
    config.name = name;
    struct server *none = NULL;
    struct why why = {0};
    ck_assert_int_eq(server_start(&config, &none, &why), ERR_LIMIT);
    ck_assert_ptr_null(none);
    ck_assert_str_ne(why.text, "");
    env_fake_free(other_fake);
}
END_TEST

START_TEST(a_member_publishes_itself_when_somebody_leads)
{
    env_fake_advance(fake, 5000);
    ck_assert_uint_eq(node_fake_proposal_count(node), 0);
    ck_assert_int_eq(ready_calls, 0);
    lead();
    const struct cluster_member *self = cluster_member(server_cluster(server), SELF);
    ck_assert_str_eq(self->name, "one");
    ck_assert_uint_eq(self->client_url_count, 2);
    ck_assert_str_eq(self->client_urls[1], client_urls[1]);
    ck_assert_uint_eq(self->peer_url_count, 1);
    env_fake_advance(fake, 10000);
    ck_assert_uint_eq(node_fake_proposal_count(node), 0);
    ck_assert_int_eq(ready_calls, 1);
}
END_TEST

START_TEST(publishing_is_tried_until_it_works)
{
    static const enum err failures[] = {ERR_LEADER_CHANGED, ERR_TIMEOUT};
    for (unsigned round = 0; round < 3; round++) {
        node_fake_set_leader(node, 2 + round, SELF);
        env_fake_advance(fake, HOUSEKEEPING_MS);
        ck_assert_uint_eq(node_fake_proposal_count(node), 1);
        if (failures[_i] == ERR_LEADER_CHANGED) {
            node_fake_refuse(node, ERR_LEADER_CHANGED);
            node_fake_set_leader(node, 2 + round, OTHER);
        }
        env_fake_advance(fake, TIMEOUT_MS);
        if (failures[_i] == ERR_TIMEOUT) {
            node_fake_refuse(node, ERR_LEADER_CHANGED);
        }
        ck_assert_int_eq(ready_calls, 0);
        while (node_fake_frame_count(node) > 0) {
            blob_unref(node_fake_take_frame(node).payload); /* lost */
        }
    }
    node_fake_set_leader(node, 10, SELF);
    env_fake_advance(fake, TIMEOUT_MS + HOUSEKEEPING_MS);
    commit_all();
    ck_assert_int_eq(ready_calls, 1);
}
END_TEST

/* It has data, but not yet who the members are, and its flags do not tell. */
START_TEST(a_leader_that_was_told_nothing_tells_who_consensus_is_made_of)
{
    static const struct node_member present[] = {
        {.id = SELF, .address = "1@10.0.0.1:2380", .role = MEMBER_VOTER},
        {.id = OTHER, .address = "10.0.0.2:2380", .role = MEMBER_LEARNER},
    };
    node_fake_set_members(node, present, ARRAY_LEN(present));
    node_fake_set_leader(node, 2, SELF);
    for (unsigned i = 0; i < 2; i++) { /* it is known, then it tells its name */
        env_fake_advance(fake, 1);
        commit_all();
    }
    ck_assert_int_eq(ready_calls, 1);
    const struct cluster *cluster = server_cluster(server);
    ck_assert(cluster_has_begun(cluster));
    ck_assert_str_eq(cluster_member(cluster, SELF)->name, "one");
    ck_assert_str_eq(cluster_member(cluster, SELF)->peer_urls[0], "http://10.0.0.1:2380");
    ck_assert_str_eq(cluster_member(cluster, OTHER)->peer_urls[0], "http://10.0.0.2:2380");
    ck_assert(cluster_member(cluster, OTHER)->learner);
}
END_TEST

START_TEST(the_leader_decides_the_cluster_version)
{
    follow();
    env_fake_advance(fake, 2000);
    ck_assert_str_eq(cluster_version(server_cluster(server)), "");
    ck_assert_uint_eq(node_fake_frame_count(node), 0);
    node_fake_set_leader(node, 3, SELF);
    env_fake_advance(fake, 1);
    commit_all();
    ck_assert_str_eq(cluster_version(server_cluster(server)), "3.7");
    env_fake_advance(fake, 5000);
    ck_assert_uint_eq(node_fake_proposal_count(node), 0);
}
END_TEST

/* ---- writing ---- */

START_TEST(a_put_is_answered_when_it_is_applied)
{
    struct waiter a = {0};
    struct waiter b = {0};
    lead();
    put(&a, "a");
    put(&b, "b");
    env_fake_run(fake);
    ck_assert_uint_eq(node_fake_proposal_count(node), 1);
    expect(&a, 0, OK);
    node_fake_commit(node);
    expect(&a, 1, OK);
    expect(&b, 1, OK);
    ck_assert_int_eq(a.revision, 2);
    ck_assert_int_eq(b.revision, 3);
    ck_assert_int_eq(count_of("a"), 1);
}
END_TEST

START_TEST(what_the_state_machine_refuses_is_a_result)
{
    struct waiter waiter = {0};
    struct command command = put_of("absent");
    command.put.ignore_value = true;
    lead();
    server_propose(server, &waiter.op, &command, on_op);
    commit_all();
    expect(&waiter, 1, OK);
    ck_assert_int_eq(waiter.result, ERR_KEY_NOT_FOUND);
    ck_assert_int_eq(waiter.revision, 1);
}
END_TEST

START_TEST(a_follower_answers_after_its_own_apply)
{
    struct waiter waiter = {0};
    follow();
    put(&waiter, "a");
    env_fake_run(fake);
    struct node_frame frame = node_fake_take_frame(node);
    ck_assert_uint_eq(frame.peer_id, OTHER);
    ck_assert_uint_eq(frame.payload->data[0], FORWARD_COMMANDS);
    expect(&waiter, 0, OK);
    CLEANUP(buf_fini) struct buf entry = {0};
    entry_encode_head(&entry, 1);
    buf_append(&entry, frame.payload->data + 1, frame.payload->len - 1);
    blob_unref(frame.payload);
    node_fake_apply(node, buf_bytes(&entry));
    expect(&waiter, 1, OK);
    ck_assert_int_eq(waiter.revision, 2);
    ck_assert_int_eq(count_of("a"), 1);
}
END_TEST

START_TEST(a_write_survives_a_change_of_leader_before_it_was_proposed)
{
    struct waiter waiter = {0};
    lead();
    put(&waiter, "a");
    env_fake_run(fake);
    node_fake_set_leader(node, 3, OTHER);
    node_fake_refuse(node, ERR_NOT_LEADER);
    env_fake_advance(fake, RETRY_MS);
    expect(&waiter, 0, OK);
    struct node_frame frame = node_fake_take_frame(node);
    ck_assert_uint_eq(frame.payload->data[0], FORWARD_COMMANDS);
    /* It refuses too; then this member leads again. */
    frame.payload->data[0] = FORWARD_NOT_LEADER;
    node_fake_deliver(node, OTHER, FRAME_FORWARD, blob_bytes(frame.payload));
    blob_unref(frame.payload);
    node_fake_set_leader(node, 4, SELF);
    commit_all();
    expect(&waiter, 1, OK);
    ck_assert_int_eq(count_of("a"), 1);
}
END_TEST

START_TEST(an_unknown_outcome_is_a_time_out)
{
    struct waiter waiter = {0};
    lead();
    put(&waiter, "a");
    env_fake_run(fake);
    CLEANUP(buf_fini) struct buf entry = {0};
    buf_append_bytes(&entry, node_fake_entry(node, 0));
    node_fake_set_leader(node, 3, OTHER);
    node_fake_refuse(node, ERR_LEADER_CHANGED);
    env_fake_advance(fake, TIMEOUT_MS - 1);
    expect(&waiter, 0, OK);
    env_fake_advance(fake, 1);
    expect(&waiter, 1, ERR_TIMEOUT);
    node_fake_apply(node, buf_bytes(&entry)); /* late: nobody waits */
    expect(&waiter, 1, ERR_TIMEOUT);
    ck_assert_int_eq(count_of("a"), 1);
}
END_TEST

START_TEST(a_client_that_goes_away_is_called_back_once)
{
    struct waiter early = {0};
    struct waiter late = {0};
    lead();
    put(&early, "early");
    server_cancel(server, &early.op);
    put(&late, "late");
    env_fake_run(fake);
    expect(&early, 1, ERR_CANCELLED);
    server_cancel(server, &late.op);
    server_cancel(server, &late.op);
    env_fake_run(fake);
    expect(&late, 1, ERR_CANCELLED);
    commit_all();
    expect(&early, 1, ERR_CANCELLED);
    expect(&late, 1, ERR_CANCELLED);
    ck_assert_int_eq(count_of("late"), 1); /* may still apply */
}
END_TEST

/* ---- refusals ---- */

static void propose(struct waiter *waiter, const struct command *command)
{
    *waiter = (struct waiter){0};
    server_propose(server, &waiter->op, command, on_op);
    env_fake_run(fake);
}

static bool no_space(uint64_t member_id)
{
    return alarm_is_raised(fsm_alarms(server_fsm(server)),
                           (struct alarm){ALARM_NOSPACE, member_id});
}

/* Whoever hears that there is no space finds the alarm. */
START_TEST(over_the_quota_the_alarm_comes_first)
{
    struct waiter first;
    struct waiter second = {0};
    struct waiter third;
    struct command command = put_of("a");
    lead();
    store_model_set_size(store, QUOTA - quota_cost(&command));
    propose(&first, &command);
    server_propose(server, &second.op, &command, on_op);
    env_fake_run(fake);
    ck_assert_uint_eq(node_fake_proposal_count(node), 1);
    expect(&first, 0, OK);
    ck_assert(!no_space(SELF));
    node_fake_commit(node);
    ck_assert(no_space(SELF));
    env_fake_run(fake);
    expect(&first, 1, ERR_QUOTA);
    expect(&second, 1, ERR_QUOTA);
    propose(&third, &command); /* once is enough */
    env_fake_run(fake);
    expect(&third, 1, ERR_QUOTA);
    ck_assert_uint_eq(node_fake_proposal_count(node), 0);
    ck_assert_int_eq(count_of("a"), 0);
}
END_TEST

static void change_alarm(uint32_t type, uint64_t member_id, bool is_clear)
{
    struct waiter waiter;
    struct command command = {
        .kind = COMMAND_ALARM,
        .alarm = {.type = type, .member_id = member_id, .is_clear = is_clear}};
    propose(&waiter, &command);
    commit_all();
    expect(&waiter, 1, OK);
}

START_TEST(below_the_quota_the_alarm_still_refuses_until_it_is_cleared)
{
    struct waiter waiter;
    struct command command = put_of("a");
    lead();
    store_model_set_size(store, QUOTA);
    propose(&waiter, &command);
    commit_all();
    expect(&waiter, 1, ERR_QUOTA);
    store_model_set_size(store, 0);
    propose(&waiter, &command);
    commit_all();
    expect(&waiter, 1, OK);
    ck_assert_int_eq(waiter.result, ERR_QUOTA);
    change_alarm(ALARM_NOSPACE, SELF, true);
    propose(&waiter, &command);
    commit_all();
    expect(&waiter, 1, OK);
    ck_assert_int_eq(waiter.result, OK);
}
END_TEST

/* Taken when there was room, applied when there is none: it stands, but its client is told. */
START_TEST(what_goes_over_the_quota_is_applied_and_refused)
{
    struct waiter a = {0};
    struct waiter b = {0};
    lead();
    put(&a, "a");
    put(&b, "b");
    env_fake_run(fake);
    store_model_set_size(store, QUOTA);
    node_fake_commit(node);
    ck_assert_int_eq(count_of("a") + count_of("b"), 2);
    expect(&a, 0, OK);
    commit_all();
    ck_assert(no_space(SELF));
    expect(&a, 1, ERR_QUOTA);
    expect(&b, 1, ERR_QUOTA);
}
END_TEST

START_TEST(every_member_watches_its_own_quota)
{
    CLEANUP(buf_fini) struct buf entry = {0};
    struct command command = put_of("a");
    follow();
    store_model_set_size(store, QUOTA);
    entry_encode_head(&entry, 1);
    command_encode(&entry, (struct command_origin){.member_id = OTHER, .op = 1}, &command);
    node_fake_apply(node, buf_bytes(&entry));
    env_fake_run(fake);
    ck_assert_uint_eq(node_fake_frame_count(node), 1); /* the alarm, to the leader */
    struct node_frame frame = node_fake_take_frame(node);
    ck_assert_uint_eq(frame.payload->data[1], COMMAND_ALARM);
    blob_unref(frame.payload);
}
END_TEST

START_TEST(an_alarm_that_cannot_be_raised_keeps_nobody_waiting)
{
    struct waiter waiter = {0};
    struct waiter gone = {0};
    struct command command = put_of("a");
    store_model_set_size(store, QUOTA); /* nobody leads */
    server_propose(server, &waiter.op, &command, on_op);
    server_propose(server, &gone.op, &command, on_op);
    server_cancel(server, &gone.op);
    env_fake_run(fake);
    expect(&gone, 1, ERR_CANCELLED);
    expect(&waiter, 0, OK);
    env_fake_advance(fake, TIMEOUT_MS);
    expect(&waiter, 1, ERR_QUOTA);
    server_propose(server, &waiter.op, &command, on_op);
    server_stop(server, on_stopped, &stopped_calls);
    node_fake_finish_close(node);
    ck_assert_int_eq(waiter.calls, 2);
}
END_TEST

/* As for a request that is wrong as well: its caller asks for itself. */
START_TEST(a_caller_may_ask_and_refuse)
{
    struct waiter waiter = {0};
    lead();
    store_model_set_size(store, QUOTA - 10);
    ck_assert(!server_is_over_quota(server, 0));
    ck_assert(!server_is_over_quota(server, 9));
    ck_assert(server_is_over_quota(server, 10));
    server_refuse_quota(server, &waiter.op, on_op);
    expect(&waiter, 0, OK);
    commit_all();
    expect(&waiter, 1, ERR_QUOTA);
    ck_assert(no_space(SELF));
}
END_TEST

START_TEST(what_frees_space_is_never_refused_for_space)
{
    struct waiter waiter;
    struct txn_op ops[] = {
        {.kind = OP_DELETE_RANGE, .delete_range = {.key = bytes_of_str("a")}},
        {.kind = OP_RANGE, .range = {.key = bytes_of_str("a")}},
    };
    struct command commands[] = {
        {.kind = COMMAND_DELETE_RANGE, .delete_range = {.key = bytes_of_str("a")}},
        {.kind = COMMAND_COMPACT, .compact = {.revision = 1}},
        {.kind = COMMAND_TXN, .txn = {.success = ops, .success_count = 2}},
    };
    lead();
    store_model_set_size(store, 2ul * QUOTA);
    propose(&waiter, &commands[_i]);
    commit_all();
    expect(&waiter, 1, OK);
}
END_TEST

/* The whole way: the compactor's proposal, its outcome, and the next one. */
START_TEST(a_leader_compacts_by_itself)
{
    static struct waiter waiters[20];
    lead();
    for (size_t i = 0; i < ARRAY_LEN(waiters); i++) {
        put(&waiters[i], "a");
        commit_all();
    }
    env_fake_advance(fake, 300000);
    ck_assert_uint_eq(node_fake_proposal_count(node), 1);
    ck_assert_int_eq(store_compacted_revision(store), -1);
    commit_all();
    ck_assert_int_eq(store_compacted_revision(store), 21 - COMPACT_RETENTION);
    env_fake_advance(fake, 300000);
    ck_assert_uint_eq(node_fake_proposal_count(node), 0); /* nothing new */
    struct waiter last = {0};
    put(&last, "a");
    commit_all();
    node_fake_set_leader(node, 3, OTHER);
    size_t frames = node_fake_frame_count(node);
    env_fake_advance(fake, 300000);
    ck_assert_uint_eq(node_fake_frame_count(node), frames); /* a follower */
}
END_TEST

START_TEST(the_leader_removes_what_is_compacted_first)
{
    follow(); /* of OTHER */
    ck_assert_uint_eq(store_model_turn(store), 1);
    node_fake_set_leader(node, 3, THIRD);
    ck_assert_uint_eq(store_model_turn(store), 1);
    node_fake_set_leader(node, 4, 0);
    ck_assert_uint_eq(store_model_turn(store), 0);
    node_fake_set_leader(node, 5, SELF);
    ck_assert_uint_eq(store_model_turn(store), 0);
}
END_TEST

START_TEST(a_disk_that_falls_behind_refuses_writes)
{
    struct waiter waiter;
    struct command command = put_of("a");
    lead();
    store_model_set_pending(store, RING_BYTES_MAX + 1ul);
    propose(&waiter, &command);
    expect(&waiter, 1, ERR_TOO_MANY_REQUESTS);
    store_model_set_pending(store, RING_BYTES_MAX);
    propose(&waiter, &command);
    commit_all();
    expect(&waiter, 1, OK);
}
END_TEST

START_TEST(the_number_that_waits_has_a_cap)
{
    static struct waiter waiters[PENDING_COMMANDS_MAX + 1];
    struct command command = put_of("a");
    lead();
    for (size_t i = 0; i < PENDING_COMMANDS_MAX; i++) {
        server_propose(server, &waiters[i].op, &command, on_op);
    }
    struct waiter *last = &waiters[PENDING_COMMANDS_MAX];
    propose(last, &command);
    expect(last, 1, ERR_TOO_MANY_REQUESTS);
    commit_all();
    for (size_t i = 0; i < PENDING_COMMANDS_MAX; i++) {
        expect(&waiters[i], 1, OK);
    }
    propose(last, &command);
    commit_all();
    expect(last, 1, OK);
}
END_TEST

/* ---- what comes from peers ---- */

static void deliver(uint64_t peer_id, enum forward_what what, struct bytes commands)
{
    CLEANUP(buf_fini) struct buf frame = {0};
    write_u8(&frame, (uint8_t)what);
    buf_append_bytes(&frame, commands);
    node_fake_deliver(node, peer_id, FRAME_FORWARD, buf_bytes(&frame));
}

static void deliver_put(uint64_t peer_id, enum forward_what what, const char *key, uint64_t op)
{
    CLEANUP(buf_fini) struct buf commands = {0};
    struct command command = put_of(key);
    command_encode(&commands, (struct command_origin){.member_id = peer_id, .op = op}, &command);
    deliver(peer_id, what, buf_bytes(&commands));
}

START_TEST(the_leader_proposes_what_others_forward)
{
    struct waiter own = {0};
    lead();
    put(&own, "own");
    deliver_put(OTHER, FORWARD_COMMANDS, "other", own.op.number); /* the same number, by chance */
    env_fake_run(fake);
    ck_assert_uint_eq(node_fake_proposal_count(node), 1);
    node_fake_commit(node);
    expect(&own, 1, OK);
    ck_assert_int_eq(count_of("own"), 1);
    ck_assert_int_eq(count_of("other"), 1);
    ck_assert_uint_eq(node_fake_frame_count(node), 0);
}
END_TEST

static void expect_back(uint64_t peer_id, enum forward_what what)
{
    ck_assert_uint_eq(node_fake_frame_count(node), 1);
    struct node_frame frame = node_fake_take_frame(node);
    ck_assert_uint_eq(frame.peer_id, peer_id);
    ck_assert_uint_eq(frame.payload->data[0], what);
    blob_unref(frame.payload);
    ck_assert_uint_eq(node_fake_proposal_count(node), 0);
}

START_TEST(who_does_not_lead_gives_commands_back)
{
    follow();
    deliver_put(THIRD, FORWARD_COMMANDS, "a", 5);
    env_fake_run(fake);
    expect_back(THIRD, FORWARD_NOT_LEADER);
}
END_TEST

START_TEST(a_leader_whose_disk_is_behind_gives_commands_back)
{
    lead();
    store_model_set_pending(store, RING_BYTES_MAX + 1ul);
    deliver_put(THIRD, FORWARD_COMMANDS, "a", 5);
    env_fake_run(fake);
    expect_back(THIRD, FORWARD_TOO_MANY);
}
END_TEST

START_TEST(commands_that_the_leader_refused_are_answered)
{
    struct waiter waiter = {0};
    follow();
    put(&waiter, "a");
    env_fake_run(fake);
    struct node_frame frame = node_fake_take_frame(node);
    frame.payload->data[0] = FORWARD_TOO_MANY;
    node_fake_deliver(node, OTHER, FRAME_FORWARD, blob_bytes(frame.payload));
    node_fake_deliver(node, OTHER, FRAME_FORWARD, blob_bytes(frame.payload)); /* again: nobody */
    blob_unref(frame.payload);
    expect(&waiter, 0, OK);
    env_fake_run(fake);
    expect(&waiter, 1, ERR_TOO_MANY_REQUESTS);
}
END_TEST

/* A returned command of somebody else, or of an op that ended, goes nowhere that it could apply. */
START_TEST(a_returned_command_that_nobody_waits_for_is_dropped)
{
    follow();
    deliver_put(SELF, FORWARD_NOT_LEADER, "a", 12345);
    env_fake_advance(fake, 1000);
    ck_assert_uint_eq(node_fake_frame_count(node), 0);
}
END_TEST

START_TEST(garbage_from_a_peer_is_ignored)
{
    struct waiter waiter = {0};
    CLEANUP(buf_fini) struct buf cut = {0};
    struct command command = put_of("a");
    command_encode(&cut, (struct command_origin){.member_id = OTHER, .op = 1}, &command);
    lead();
    deliver(OTHER, FORWARD_COMMANDS, bytes_of(cut.data, cut.len - 1));
    deliver(OTHER, (enum forward_what)9, buf_bytes(&cut));
    deliver(OTHER, FORWARD_COMMANDS, bytes_of(NULL, 0));
    node_fake_deliver(node, OTHER, FRAME_FORWARD, bytes_of(NULL, 0));
    node_fake_deliver(node, OTHER, FRAME_APP, buf_bytes(&cut));
    env_fake_run(fake);
    ck_assert_uint_eq(node_fake_proposal_count(node), 0);
    put(&waiter, "b");
    commit_all();
    expect(&waiter, 1, OK);
}
END_TEST

/* ---- hashes compared ---- */

/* The next frame about hashes, taken apart; others are dropped. */
static struct hashframe next_hashframe(uint64_t *peer_id)
{
    for (;;) {
        ck_assert_uint_gt(node_fake_frame_count(node), 0);
        struct node_frame sent = node_fake_take_frame(node);
        bool is_ours = sent.kind == FRAME_APP;
        struct hashframe frame = {0};
        ck_assert(!is_ours || hashframe_decode(blob_bytes(sent.payload), &frame) == OK);
        ck_assert(!is_ours || sent.lane == LANE_BULK);
        blob_unref(sent.payload);
        if (is_ours) {
            *peer_id = sent.peer_id;
            return frame;
        }
    }
}

static void deliver_hashframe(uint64_t peer_id, const struct hashframe *frame)
{
    struct blob *blob = hashframe_encode(frame);
    node_fake_deliver(node, peer_id, FRAME_APP, blob_bytes(blob));
    blob_unref(blob);
}

START_TEST(a_member_tells_what_its_state_hashes_to)
{
    follow();
    struct hashframe question = {
        HASH_QUESTION, (enum hash_topic)_i, 99, {.index = store_applied_index(store)}};
    deliver_hashframe(OTHER, &question);
    uint64_t peer_id;
    struct hashframe got = next_hashframe(&peer_id);
    ck_assert_uint_eq(peer_id, OTHER);
    ck_assert_int_eq((int)got.what, HASH_ANSWER);
    ck_assert_uint_eq(got.number, 99);
    ck_assert_uint_eq(got.note.index, question.note.index);
    bool records = question.topic == HASH_RECORDS;
    ck_assert_int_eq(got.note.revision, records ? store_revision(store) : 0);
    ck_assert(
        set_hash_equal(got.note.hash, records ? store_set_hash(store) : store_tables_hash(store)));
}
END_TEST

START_TEST(a_member_that_differs_gets_the_alarm_through_the_log)
{
    struct waiter waiter = {0};
    const struct alarm corrupt = {ALARM_CORRUPT, THIRD};
    lead();
    put(&waiter, "a");
    commit_all();
    env_fake_advance(fake, 1000);
    uint64_t peer_id;
    struct hashframe answer = next_hashframe(&peer_id);
    ck_assert_int_eq((int)answer.topic, HASH_RECORDS);
    ck_assert_uint_eq(answer.note.index, store_applied_index(store));
    answer.what = HASH_ANSWER;
    answer.note.revision = store_revision(store);
    answer.note.hash = store_set_hash(store);
    deliver_hashframe(OTHER, &answer);
    answer.note.hash.lo ^= 1;
    deliver_hashframe(THIRD, &answer);
    env_fake_run(fake);
    ck_assert_uint_eq(node_fake_proposal_count(node), 1);
    ck_assert(!alarm_is_raised(fsm_alarms(server_fsm(server)), corrupt));
    commit_all();
    ck_assert(alarm_is_raised(fsm_alarms(server_fsm(server)), corrupt));
    waiter = (struct waiter){0};
    put(&waiter, "b");
    commit_all();
    ck_assert_int_eq(waiter.result, ERR_CORRUPT);
}
END_TEST

START_TEST(a_member_that_finds_damage_raises_the_alarm)
{
    const struct alarm corrupt = {ALARM_CORRUPT, SELF};
    lead();
    store_model_set_damage(store, "there");
    env_fake_advance(fake, 1000);
    node_fake_set_leader(node, 3, 0); /* it is on its way, and nobody leads any more */
    node_fake_refuse(node, ERR_NOT_LEADER);
    env_fake_advance(fake, TIMEOUT_MS + 1000);
    ck_assert(!alarm_is_raised(fsm_alarms(server_fsm(server)), corrupt));
    node_fake_set_leader(node, 4, SELF);
    env_fake_advance(fake, 1000);
    commit_all();
    ck_assert(alarm_is_raised(fsm_alarms(server_fsm(server)), corrupt));
}
END_TEST

/* ---- reading ---- */

START_TEST(a_read_waits_for_a_leader)
{
    struct read_waiter waiter = {0};
    server_read(server, &waiter.op, on_read);
    node_fake_answer_reads(node, ERR_NO_LEADER);
    ck_assert_int_eq(waiter.calls, 0);
    node_fake_set_leader(node, 2, OTHER);
    ck_assert_uint_eq(node_fake_read_count(node), 1);
    node_fake_answer_reads(node, OK);
    ck_assert_int_eq(waiter.calls, 1);
    ck_assert_int_eq(waiter.status, OK);
}
END_TEST

START_TEST(a_read_times_out)
{
    struct read_waiter waiter = {0};
    struct read_waiter cancelled = {0};
    server_read(server, &waiter.op, on_read);
    server_read(server, &cancelled.op, on_read);
    server_read_cancel(server, &cancelled.op);
    env_fake_advance(fake, TIMEOUT_MS);
    ck_assert_int_eq(waiter.calls, 1);
    ck_assert_int_eq(waiter.status, ERR_TIMEOUT);
    ck_assert_int_eq(cancelled.calls, 0);
}
END_TEST

START_TEST(the_leader_is_missed_after_three_elections)
{
    ck_assert(server_has_leader(server));
    env_fake_advance(fake, 3 * ELECTION_MS - 1);
    ck_assert(server_has_leader(server));
    env_fake_advance(fake, 1);
    ck_assert(!server_has_leader(server));
    node_fake_set_leader(node, 2, OTHER);
    ck_assert(server_has_leader(server));
    ck_assert_uint_eq(server_leader(server), OTHER);
    env_fake_advance(fake, 60000);
    ck_assert(server_has_leader(server));
    node_fake_set_leader(node, 3, 0);
    ck_assert(server_has_leader(server));
    env_fake_advance(fake, 3 * ELECTION_MS);
    ck_assert(!server_has_leader(server));
}
END_TEST

/* ---- the callbacks of consensus ---- */

START_TEST(a_store_behind_the_log_is_told_plainly)
{
    const struct node_callbacks *callbacks = node_fake_callbacks(node);
    void *ctx = node_fake_ctx(node);
    struct why why = {0};
    lead();
    uint64_t applied = store_applied_index(store);
    ck_assert_uint_gt(applied, 0);
    ck_assert_uint_eq(callbacks->durable_index(ctx), applied);
    ck_assert_int_eq(callbacks->restore(ctx, applied, bytes_of(NULL, 0), &why), OK);
    ck_assert_int_eq(callbacks->restore(ctx, applied + 1, bytes_of(NULL, 0), &why), ERR_NOT_FOUND);
    ck_assert_int_eq(callbacks->may_restore(ctx, applied + 1, &why), ERR_CORRUPT);
    ck_assert_str_ne(why.text, "");
    CLEANUP(buf_fini) struct buf manifest = {0};
    callbacks->manifest(ctx, applied, &manifest);
    ck_assert_uint_gt(manifest.len, 0);
}
END_TEST

/* What it could say would be of a state that is not there. */
START_TEST(a_member_without_its_database_does_nothing)
{
    struct waiter refused = {0};
    struct read_waiter read = {0};
    node_fake_set_bare(node, 9);
    ck_assert(server_is_bare(server));
    node_fake_set_leader(node, 2, SELF);
    env_fake_advance(fake, 10 * HOUSEKEEPING_MS);
    ck_assert_uint_eq(node_fake_proposal_count(node), 0); /* nor does it publish itself */
    put(&refused, "a");
    server_read(server, &read.op, on_read);
    env_fake_run(fake);
    expect(&refused, 1, ERR_NO_LEADER);
    ck_assert_int_eq(read.calls, 1);
    ck_assert_int_eq(read.status, ERR_NO_LEADER);
    node_filled(node);
    node_fake_set_leader(node, 3, SELF);
    env_fake_advance(fake, HOUSEKEEPING_MS);
    ck_assert_uint_gt(node_fake_proposal_count(node), 0);
}
END_TEST

/* ---- stopping ---- */

START_TEST(a_stop_answers_what_waits)
{
    struct waiter open = {0};
    struct waiter late = {0};
    struct read_waiter read = {0};
    struct read_waiter waiting = {0};
    follow();
    server_read(server, &waiting.op, on_read);
    node_fake_set_leader(node, 2, 0);
    node_fake_answer_reads(node, ERR_NO_LEADER);
    put(&open, "open");
    env_fake_run(fake);
    server_read(server, &read.op, on_read);
    server_stop(server, on_stopped, &stopped_calls);
    ck_assert(node_fake_closing(node));
    put(&late, "late");
    env_fake_run(fake);
    expect(&late, 1, ERR_STOPPED);
    expect(&open, 0, OK);
    node_fake_finish_close(node);
    expect(&open, 1, ERR_STOPPED);
    ck_assert_int_eq(read.calls, 1);
    ck_assert_int_eq(read.status, ERR_STOPPED);
    ck_assert_int_eq(waiting.calls, 1);
    ck_assert_int_eq(waiting.status, ERR_STOPPED);
    ck_assert_int_eq(stopped_calls, 1);
}
END_TEST

/* The last answers are still on their way to clients when their next requests come. */
START_TEST(a_member_that_is_closing_refuses)
{
    struct waiter waiter = {0};
    struct read_waiter read = {0};
    struct read_waiter cancelled = {0};
    follow();
    server_stop(server, on_stopped, &stopped_calls);
    server_read(server, &read.op, on_read);
    server_read(server, &cancelled.op, on_read);
    server_read_cancel(server, &cancelled.op);
    put(&waiter, "a");
    env_fake_run(fake);
    ck_assert_int_eq(read.calls, 1);
    ck_assert_int_eq(read.status, ERR_STOPPED);
    ck_assert_int_eq(cancelled.calls, 0);
    expect(&waiter, 1, ERR_STOPPED);
}
END_TEST

START_TEST(what_is_in_flight_is_answered_with_the_stop)
{
    struct waiter waiter = {0};
    lead();
    put(&waiter, "a");
    env_fake_run(fake);
    server_stop(server, on_stopped, &stopped_calls);
    node_fake_finish_transfer(node, OK);
    ck_assert(node_fake_closing(node));
    expect(&waiter, 0, OK);
    node_fake_finish_close(node);
    expect(&waiter, 1, ERR_STOPPED);
}
END_TEST

START_TEST(a_leader_hands_over_before_it_goes)
{
    static const enum err outcomes[] = {OK, ERR_TIMEOUT, ERR_NOT_FOUND};
    struct waiter refused = {0};
    struct waiter committed = {0};
    lead();
    put(&committed, "a");
    env_fake_run(fake);
    server_stop(server, on_stopped, &stopped_calls);
    ck_assert(node_fake_transferring(node));
    ck_assert(!node_fake_closing(node));
    put(&refused, "b");
    node_fake_commit(node);
    env_fake_run(fake);
    expect(&committed, 1, OK);
    expect(&refused, 1, ERR_STOPPED);
    node_fake_finish_transfer(node, outcomes[_i]);
    ck_assert(node_fake_closing(node));
}
END_TEST

START_TEST(handing_over_has_a_time_limit)
{
    lead();
    server_stop(server, on_stopped, &stopped_calls);
    env_fake_advance(fake, 2 * ELECTION_MS - 1);
    ck_assert(!node_fake_closing(node));
    env_fake_advance(fake, 1);
    ck_assert(node_fake_closing(node));
    node_fake_finish_close(node); /* the transfer is answered with ERR_STOPPED */
    ck_assert_int_eq(stopped_calls, 1);
}
END_TEST

START_TEST(a_leader_that_is_leaving_gives_commands_back)
{
    lead();
    server_stop(server, on_stopped, &stopped_calls);
    deliver_put(THIRD, FORWARD_COMMANDS, "a", 5);
    env_fake_run(fake);
    expect_back(THIRD, FORWARD_NOT_LEADER);
    node_fake_finish_transfer(node, OK);
}
END_TEST

START_TEST(a_member_alone_leaves_at_once)
{
    lead();
    server_stop(server, on_stopped, &stopped_calls);
    ck_assert(node_fake_closing(node));
}
END_TEST

/* ---- promotions ---- */

#define LEARNER 4u

static struct command promotion_of(uint64_t id)
{
    return (struct command){.kind = COMMAND_MEMBER_PROMOTE, .member = {.id = id}};
}

static void add_learner(void)
{
    struct waiter waiter;
    struct bytes url = bytes_of_str("http://127.0.0.1:2383");
    struct command command = {.kind = COMMAND_MEMBER_ADD,
                              .member = {.id = LEARNER,
                                         .learner = true,
                                         .learners_max = 1,
                                         .peer_urls = &url,
                                         .peer_url_count = 1}};
    propose(&waiter, &command);
    commit_all();
    expect(&waiter, 1, OK);
    ck_assert_int_eq(waiter.result, OK);
    node_fake_set_peer(node, SELF, 0, 1000);
}

/* A frame of OTHER with a put, two promotions and a put. */
static void deliver_promotions(void)
{
    CLEANUP(buf_fini) struct buf frame = {0};
    struct command commands[] = {put_of("a"), promotion_of(LEARNER), promotion_of(77), put_of("b")};
    write_u8(&frame, FORWARD_COMMANDS);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        command_encode(&frame, (struct command_origin){.member_id = OTHER, .op = i + 1},
                       &commands[i]);
    }
    node_fake_deliver(node, OTHER, FRAME_FORWARD, buf_bytes(&frame));
    env_fake_run(fake);
}

START_TEST(a_leader_sends_back_what_promotes_too_early)
{
    lead();
    add_learner();
    node_fake_set_peer(node, LEARNER, 1, 100);
    deliver_promotions();
    ck_assert_uint_eq(node_fake_frame_count(node), 1);
    struct node_frame back = node_fake_take_frame(node);
    ck_assert_uint_eq(back.peer_id, OTHER);
    ck_assert_uint_eq(back.payload->data[0], FORWARD_LEARNER_BEHIND);
    ck_assert_uint_eq(back.payload->data[1], COMMAND_MEMBER_PROMOTE);
    blob_unref(back.payload);
    commit_all();
    ck_assert_int_eq(count_of("a"), 1); /* the others are applied, in their order */
    ck_assert_int_eq(count_of("b"), 1);
    ck_assert(cluster_member(server_cluster(server), LEARNER)->learner);
    node_fake_set_peer(node, LEARNER, 1, 1000);
    deliver_promotions();
    ck_assert_uint_eq(node_fake_frame_count(node), 0);
    commit_all();
    ck_assert(!cluster_member(server_cluster(server), LEARNER)->learner);
}
END_TEST

START_TEST(a_promotion_that_the_leader_refused_is_answered)
{
    struct waiter waiter;
    struct command command = promotion_of(LEARNER);
    follow();
    propose(&waiter, &command);
    env_fake_run(fake);
    ck_assert_uint_eq(node_fake_frame_count(node), 1);
    struct node_frame sent = node_fake_take_frame(node);
    sent.payload->data[0] = FORWARD_LEARNER_BEHIND;
    node_fake_deliver(node, OTHER, FRAME_FORWARD, blob_bytes(sent.payload));
    blob_unref(sent.payload);
    env_fake_run(fake);
    expect(&waiter, 1, ERR_LEARNER_BEHIND);
}
END_TEST

static Suite *server_suite(void)
{
    Suite *suite = suite_create("server");
    TCase *tc = tcase_create("server");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_member_that_cannot_open_says_why);
    tcase_add_test(tc, a_name_beyond_its_limit_is_refused_at_the_start);
    tcase_add_test(tc, a_member_publishes_itself_when_somebody_leads);
    tcase_add_loop_test(tc, publishing_is_tried_until_it_works, 0, 2);
    tcase_add_test(tc, the_leader_decides_the_cluster_version);
    tcase_add_test(tc, a_put_is_answered_when_it_is_applied);
    tcase_add_test(tc, what_the_state_machine_refuses_is_a_result);
    tcase_add_test(tc, a_follower_answers_after_its_own_apply);
    tcase_add_test(tc, a_write_survives_a_change_of_leader_before_it_was_proposed);
    tcase_add_test(tc, an_unknown_outcome_is_a_time_out);
    tcase_add_test(tc, a_client_that_goes_away_is_called_back_once);
    tcase_add_test(tc, over_the_quota_the_alarm_comes_first);
    tcase_add_test(tc, below_the_quota_the_alarm_still_refuses_until_it_is_cleared);
    tcase_add_test(tc, what_goes_over_the_quota_is_applied_and_refused);
    tcase_add_test(tc, every_member_watches_its_own_quota);
    tcase_add_test(tc, an_alarm_that_cannot_be_raised_keeps_nobody_waiting);
    tcase_add_test(tc, a_caller_may_ask_and_refuse);
    tcase_add_loop_test(tc, what_frees_space_is_never_refused_for_space, 0, 3);
    tcase_add_test(tc, a_leader_compacts_by_itself);
    tcase_add_test(tc, the_leader_removes_what_is_compacted_first);
    tcase_add_test(tc, a_disk_that_falls_behind_refuses_writes);
    tcase_add_test(tc, the_number_that_waits_has_a_cap);
    tcase_add_test(tc, the_leader_proposes_what_others_forward);
    tcase_add_test(tc, who_does_not_lead_gives_commands_back);
    tcase_add_test(tc, a_leader_whose_disk_is_behind_gives_commands_back);
    tcase_add_test(tc, commands_that_the_leader_refused_are_answered);
    tcase_add_test(tc, a_returned_command_that_nobody_waits_for_is_dropped);
    tcase_add_test(tc, garbage_from_a_peer_is_ignored);
    tcase_add_loop_test(tc, a_member_tells_what_its_state_hashes_to, HASH_RECORDS, HASH_TABLES + 1);
    tcase_add_test(tc, a_member_that_differs_gets_the_alarm_through_the_log);
    tcase_add_test(tc, a_member_that_finds_damage_raises_the_alarm);
    tcase_add_test(tc, a_read_waits_for_a_leader);
    tcase_add_test(tc, a_read_times_out);
    tcase_add_test(tc, the_leader_is_missed_after_three_elections);
    tcase_add_test(tc, a_store_behind_the_log_is_told_plainly);
    tcase_add_test(tc, a_member_without_its_database_does_nothing);
    tcase_add_test(tc, a_stop_answers_what_waits);
    tcase_add_test(tc, a_member_that_is_closing_refuses);
    tcase_add_test(tc, what_is_in_flight_is_answered_with_the_stop);
    tcase_add_loop_test(tc, a_leader_hands_over_before_it_goes, 0, 3);
    tcase_add_test(tc, handing_over_has_a_time_limit);
    tcase_add_test(tc, a_leader_that_is_leaving_gives_commands_back);
    tcase_add_test(tc, a_leader_sends_back_what_promotes_too_early);
    tcase_add_test(tc, a_promotion_that_the_leader_refused_is_answered);
    suite_add_tcase(suite, tc);
    tc = tcase_create("untold");
    tcase_add_checked_fixture(tc, set_up_untold, tear_down);
    tcase_add_test(tc, a_leader_that_was_told_nothing_tells_who_consensus_is_made_of);
    suite_add_tcase(suite, tc);
    tc = tcase_create("alone");
    tcase_add_checked_fixture(tc, set_up_alone, tear_down);
    tcase_add_test(tc, a_member_alone_leaves_at_once);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(server_suite);
}
