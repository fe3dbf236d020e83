/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/limits.h"
#include "proto/lock.pb-c.h"
#include "tests/unit/api/contend_fixture.h"

#define LOCK   "/v3lockpb.Lock/Lock"
#define UNLOCK "/v3lockpb.Lock/Unlock"

#define CALLERS 5
static struct reply replies[CALLERS];

static void setup(void)
{
    served_start();
    for (int64_t id = 1; id <= CALLERS; id++) {
        grant_lease(id);
    }
}

static void teardown(void)
{
    for (size_t i = 0; i < CALLERS; i++) {
        if (grpc_request_is_active(&replies[i].request)) {
            grpc_request_cancel(&replies[i].request);
        }
        reply_fini(&replies[i]);
    }
    served_stop();
}

static void lock(struct reply *reply, const char *name, int64_t lease)
{
    V3lockpb__LockRequest request = V3LOCKPB__LOCK_REQUEST__INIT;
    request.name = BINARY(name);
    request.lease = lease;
    call_message(reply, LOCK, &request.base);
}

static void ck_locked(const struct reply *reply, const char *key, int64_t revision)
{
    V3lockpb__LockResponse *answer = answer_of(reply, &v3lockpb__lock_response__descriptor);
    ck_assert_uint_eq(answer->header->cluster_id, CLUSTER_ID);
    ck_assert_uint_eq(answer->header->member_id, MEMBER_ID);
    ck_assert_uint_eq(answer->header->raft_term, TERM);
    ck_assert_int_eq(answer->header->revision, revision);
    ck_assert_uint_eq(answer->key.len, strlen(key));
    ck_assert_mem_eq(answer->key.data, key, strlen(key));
    v3lockpb__lock_response__free_unpacked(answer, NULL);
}

static void unlock(struct reply *reply, const char *key)
{
    V3lockpb__UnlockRequest request = V3LOCKPB__UNLOCK_REQUEST__INIT;
    request.key = BINARY(key);
    ask(reply, UNLOCK, &request.base);
}

/* Callers 0 to COUNT - 1, with leases 1 to COUNT: the first has the lock "n", the others wait. */
static void queue_up(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        lock(&replies[i], "n", i + 1);
        SERVE_UNTIL(i == 0 ? replies[0].ended : watcher_count() == 2 * i);
    }
}

/* Nobody waits, and nothing is left of who did. */
static void ck_nothing_left(void)
{
    SERVE_UNTIL(call_count() == 0 && watcher_count() == 0);
}

/* ---- alone ---- */

static const struct {
    const char *name;
    int64_t lease;
    const char *key;
} keys[] = {
    {"n", 7, "n/7"},
    {"", 7, "/7"},
    {"a/b", 0x1234abcd, "a/b/1234abcd"},
    {"n", -7, "n/-7"},
    {"n", INT64_MAX, "n/7fffffffffffffff"},
    {"n", INT64_MIN, "n/-8000000000000000"},
};

START_TEST(a_key_is_named_as_etcds_clients_do)
{
    grant_lease(keys[_i].lease);
    lock(&replies[0], keys[_i].name, keys[_i].lease);
    SERVE_UNTIL(replies[0].ended);
    ck_locked(&replies[0], keys[_i].key, 2);
    ck_assert(has_key(keys[_i].key));
    const struct lease *lease = leases_find(fsm_leases(server_fsm(served.server)), keys[_i].lease);
    ck_assert_ptr_nonnull(lease);
    revoke_lease(keys[_i].lease);
    ck_assert(!has_key(keys[_i].key));
}
END_TEST

START_TEST(who_has_no_lease_gets_one_of_a_minute)
{
    lock(&replies[0], "n", 0);
    SERVE_UNTIL(replies[0].ended);
    V3lockpb__LockResponse *answer = answer_of(&replies[0], &v3lockpb__lock_response__descriptor);
    char text[64];
    snprintf(text, sizeof text, "%.*s", (int)answer->key.len, (const char *)answer->key.data);
    v3lockpb__lock_response__free_unpacked(answer, NULL);
    ck_assert_int_eq(strncmp(text, "n/", 2), 0);
    int64_t id = (int64_t)strtoull(text + 2, NULL, 16);
    const struct lease *lease = leases_find(fsm_leases(server_fsm(served.server)), id);
    ck_assert_ptr_nonnull(lease);
    ck_assert_int_eq(lease->ttl_s, 60);
    ck_assert(has_key(text));
    revoke_lease(id);
    ck_assert(!has_key(text));
}
END_TEST

START_TEST(a_lease_has_a_lock_once)
{
    for (unsigned i = 0; i < 2; i++) {
        lock(&replies[i], "n", 1);
        SERVE_UNTIL(replies[i].ended);
        ck_locked(&replies[i], "n/1", 2);
    }
    ck_assert_int_eq(store_revision(served.store), 2);
}
END_TEST

START_TEST(an_unlock_deletes_whatever_there_is)
{
    queue_up(1);
    unlock(&replies[1], "n/1");
    V3lockpb__UnlockResponse *answer =
        answer_of(&replies[1], &v3lockpb__unlock_response__descriptor);
    ck_assert_int_eq(answer->header->revision, 3);
    ck_assert_uint_eq(answer->header->member_id, MEMBER_ID);
    v3lockpb__unlock_response__free_unpacked(answer, NULL);
    ck_assert(!has_key("n/1"));
    unlock(&replies[1], "n/1");
    ck_status(&replies[1], GRPC_OK, "");
}
END_TEST

START_TEST(it_is_refused_with_etcds_texts_and_without_its_codes)
{
    lock(&replies[0], "n", 99);
    SERVE_UNTIL(replies[0].ended);
    ck_status(&replies[0], GRPC_UNKNOWN, "etcdserver: requested lease not found");
    unlock(&replies[0], "");
    ck_status(&replies[0], GRPC_UNKNOWN, "etcdserver: key is not provided");
    store_model_set_size(served.store, 2147483648);
    lock(&replies[0], "n", 1);
    SERVE_UNTIL(replies[0].ended);
    ck_status(&replies[0], GRPC_UNKNOWN, "etcdserver: mvcc: database space exceeded");
    ck_nothing_left();
}
END_TEST

START_TEST(a_name_has_a_size_that_the_log_takes)
{
    static const struct {
        size_t len;
        bool well;
    } sizes[] = {{REQUEST_BYTES_DEFAULT / 3 - 30, true}, {REQUEST_BYTES_DEFAULT / 3, false}};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        CLEANUP(freep) uint8_t *name = calloc(1, sizes[i].len);
        V3lockpb__LockRequest request = V3LOCKPB__LOCK_REQUEST__INIT;
        request.name = (ProtobufCBinaryData){.data = name, .len = sizes[i].len};
        request.lease = 1;
        ask(&replies[i], LOCK, &request.base);
        ck_status(&replies[i], sizes[i].well ? GRPC_OK : GRPC_UNKNOWN,
                  sizes[i].well ? "" : "etcdserver: request is too large");
    }
}
END_TEST

/* ---- several ---- */

START_TEST(who_waits_gets_it_in_order)
{
    store_model_set_dear(served.store, _i == 1);
    struct reply reply = {0};
    queue_up(CALLERS);
    ck_locked(&replies[0], "n/1", 2);
    for (unsigned i = 1; i < CALLERS; i++) {
        char key[8];
        snprintf(key, sizeof key, "n/%u", i);
        unlock(&reply, key);
        SERVE_UNTIL(replies[i].ended);
        snprintf(key, sizeof key, "n/%u", i + 1);
        ck_locked(&replies[i], key, 1 + CALLERS + i);
        for (unsigned j = i + 1; j < CALLERS; j++) {
            ck_assert(!replies[j].ended);
        }
    }
    ck_nothing_left();
    reply_fini(&reply);
}
END_TEST

START_TEST(a_lease_that_ends_lets_the_next_one_in)
{
    queue_up(3);
    revoke_lease(1);
    SERVE_UNTIL(replies[1].ended);
    ck_locked(&replies[1], "n/2", 5);
    ck_assert(!replies[2].ended);
}
END_TEST

START_TEST(who_loses_its_key_while_waiting_hears_it_and_the_next_one_waits_on)
{
    queue_up(3);
    if (_i == 0) {
        revoke_lease(2);
    } else {
        delete_key("n/2");
    }
    SERVE_UNTIL(replies[1].ended);
    ck_status(&replies[1], GRPC_UNKNOWN, "mutex: session is expired");
    SERVE_UNTIL(watcher_count() == 2);
    ck_assert(!replies[2].ended);
    delete_key("n/1");
    SERVE_UNTIL(replies[2].ended);
    ck_locked(&replies[2], "n/3", 6);
}
END_TEST

/* A member that was cut off sees the end of the lock before its own lease's: what it believes is
 * confirmed first. */
START_TEST(who_was_cut_off_does_not_believe_to_have_it)
{
    queue_up(2);
    served.hold_reads = true;
    delete_key("n/1");
    SERVE_UNTIL(node_fake_read_count(served.node) == 1);
    revoke_lease(2);
    ck_assert(!replies[1].ended);
    served.hold_reads = false;
    SERVE_UNTIL(replies[1].ended);
    ck_status(&replies[1], GRPC_UNKNOWN, "mutex: session is expired");
    ck_nothing_left();
}
END_TEST

START_TEST(names_are_apart)
{
    static const char *const names[] = {"n", "n/", "m", "n0", ""};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        lock(&replies[i], names[i], i + 1);
        SERVE_UNTIL(replies[i].ended);
        ck_status(&replies[i], GRPC_OK, "");
    }
}
END_TEST

START_TEST(what_is_compacted_meanwhile_does_not_matter)
{
    queue_up(2);
    for (unsigned i = 0; i < 5; i++) {
        put_key("other", "x");
    }
    struct buf entry;
    entry_begin(&entry);
    struct command command = {.kind = COMMAND_DELETE_RANGE,
                              .delete_range.key = bytes_of_str("n/1")};
    command_encode(&entry, (struct command_origin){.member_id = 1}, &command);
    entry_compact(&entry, 9);
    entry_apply(&entry);
    SERVE_UNTIL(replies[1].ended);
    ck_locked(&replies[1], "n/2", 9);
}
END_TEST

/* ---- clients that go away ---- */

static void leave(struct reply *reply)
{
    grpc_request_cancel(&reply->request);
    SERVE_UNTIL(call_count() == 0);
}

START_TEST(who_goes_away_while_waiting_leaves_no_key)
{
    queue_up(3);
    grpc_request_cancel(&replies[1].request);
    SERVE_UNTIL(!has_key("n/2"));
    SERVE_UNTIL(watcher_count() == 2);
    ck_assert(has_key("n/1"));
    ck_assert(!replies[2].ended);
    delete_key("n/1");
    SERVE_UNTIL(replies[2].ended);
    ck_locked(&replies[2], "n/3", 6);
    ck_nothing_left();
}
END_TEST

START_TEST(a_connection_that_breaks_leaves_no_key)
{
    queue_up(CALLERS);
    grpc_client_close(served.client);
    SERVE_UNTIL(served.client_closed && store_key_count(served.store) == 1);
    ck_assert(has_key("n/1")); /* the lock itself is held by its lease */
    ck_nothing_left();
}
END_TEST

START_TEST(a_deadline_leaves_no_key)
{
    V3lockpb__LockRequest request = V3LOCKPB__LOCK_REQUEST__INIT;
    request.name = BINARY("n");
    request.lease = 2;
    uint8_t bytes[16];
    size_t size = v3lockpb__lock_request__pack(&request, bytes);
    struct grpc_request_options options = {.path = LOCK, .timeout_ms = 50};
    queue_up(1);
    struct grpc_request timed = replies[0].request; /* its callbacks */
    reply_fini(&replies[1]);
    replies[1].request =
        (struct grpc_request){.on_message = timed.on_message, .on_end = timed.on_end};
    grpc_request_unary(served.client, &replies[1].request, &options, bytes_of(bytes, size));
    SERVE_UNTIL(replies[1].ended);
    ck_assert_int_eq(replies[1].status, GRPC_DEADLINE_EXCEEDED);
    SERVE_UNTIL(!has_key("n/2") && call_count() == 0);
    ck_nothing_left();
}
END_TEST

START_TEST(who_goes_away_before_its_key_is_there_leaves_none)
{
    queue_up(1);
    served.hold_writes = true;
    lock(&replies[1], "n", 2);
    SERVE_UNTIL(node_fake_proposal_count(served.node) == 1);
    leave(&replies[1]);
    served.hold_writes = false;
    SERVE_UNTIL(store_revision(served.store) == 4); /* put, and deleted */
    ck_assert(!has_key("n/2"));
    ck_assert(has_key("n/1"));
}
END_TEST

START_TEST(who_goes_away_while_it_is_looked_for_others_leaves_none)
{
    queue_up(1);
    store_model_set_dear(served.store, true);
    store_model_hold(served.store, true);
    lock(&replies[1], "n", 2);
    SERVE_UNTIL(has_key("n/2"));
    leave(&replies[1]);
    store_model_hold(served.store, false);
    SERVE_UNTIL(!has_key("n/2"));
}
END_TEST

START_TEST(who_goes_away_while_it_is_confirmed_leaves_no_key)
{
    queue_up(2);
    served.hold_reads = true;
    delete_key("n/1");
    SERVE_UNTIL(node_fake_read_count(served.node) == 1);
    leave(&replies[1]);
    SERVE_UNTIL(!has_key("n/2"));
    ck_assert_uint_eq(node_fake_read_count(served.node), 0);
}
END_TEST

/* The same lease has the lock through an earlier call: that is not this one's to give back. */
START_TEST(who_goes_away_gives_nothing_back_that_it_had_before)
{
    queue_up(1);
    if (_i == 0) {
        served.hold_writes = true;
    } else {
        store_model_set_dear(served.store, true);
        store_model_hold(served.store, true);
    }
    lock(&replies[1], "n", 1);
    SERVE_UNTIL(_i == 0 ? node_fake_proposal_count(served.node) == 1
                        : store_model_waiting(served.store) == 1);
    leave(&replies[1]);
    served.hold_writes = false;
    store_model_hold(served.store, false);
    SERVE_UNTIL(store_model_waiting(served.store) == 0);
    put_key("other", "x");
    ck_assert(has_key("n/1"));
    ck_assert_int_eq(store_revision(served.store), 3);
}
END_TEST

/* But a place that it only waited with is given up, whoever made it. */
START_TEST(who_goes_away_while_waiting_leaves_no_key_that_it_found)
{
    queue_up(2);
    lock(&replies[2], "n", 2);
    SERVE_UNTIL(watcher_count() == 4);
    leave(&replies[2]);
    SERVE_UNTIL(replies[1].ended);
    ck_status(&replies[1], GRPC_UNKNOWN, "mutex: session is expired");
    ck_assert(!has_key("n/2"));
}
END_TEST

START_TEST(a_lease_that_was_made_for_it_goes_with_it)
{
    const struct leases *leases = fsm_leases(server_fsm(served.server));
    queue_up(1);
    lock(&replies[1], "n", 0);
    SERVE_UNTIL(watcher_count() == 2);
    ck_assert_uint_eq(leases_count(leases), CALLERS + 1);
    ck_assert_uint_eq(store_key_count(served.store), 2);
    leave(&replies[1]);
    SERVE_UNTIL(leases_count(leases) == CALLERS);
    ck_assert_uint_eq(store_key_count(served.store), 1);
}
END_TEST

START_TEST(who_goes_away_before_its_lease_is_there_leaves_none)
{
    const struct leases *leases = fsm_leases(server_fsm(served.server));
    served.hold_writes = true;
    lock(&replies[0], "n", 0);
    SERVE_UNTIL(node_fake_proposal_count(served.node) == 1);
    leave(&replies[0]);
    served.hold_writes = false;
    put_key("other", "x");
    SERVE_UNTIL(leases_count(leases) == CALLERS);
    ck_assert_uint_eq(store_key_count(served.store), 1);
}
END_TEST

START_TEST(a_key_that_cannot_be_deleted_is_deleted_later)
{
    queue_up(2);
    store_model_set_pending(served.store, RING_BYTES_MAX + 1); /* too many requests */
    leave(&replies[1]);
    ck_assert(has_key("n/2"));
    store_model_set_pending(served.store, 0);
    SERVE_UNTIL(!has_key("n/2"));
}
END_TEST

START_TEST(somebody_elses_key_of_the_same_name_is_not_deleted)
{
    queue_up(2);
    store_model_set_pending(served.store, RING_BYTES_MAX + 1);
    leave(&replies[1]);
    store_model_set_pending(served.store, 0);
    struct buf entry;
    entry_begin(&entry);
    struct command command = {.kind = COMMAND_DELETE_RANGE,
                              .delete_range.key = bytes_of_str("n/2")};
    command_encode(&entry, (struct command_origin){.member_id = 1}, &command);
    entry_put(&entry, bytes_of_str("n/2"), bytes_of_str("made again"));
    entry_apply(&entry);
    uint64_t before = env_now_ms(served.loop.env);
    SERVE_UNTIL(env_now_ms(served.loop.env) - before > 1000); /* it has been tried again */
    ck_assert(has_key("n/2"));
}
END_TEST

/* ---- what fails ---- */

START_TEST(who_cannot_be_told_where_it_stands_leaves_no_key)
{
    queue_up(1);
    store_model_set_dear(served.store, _i == 1);
    store_model_fail_range(served.store, ERR_IO);
    lock(&replies[1], "n", 2);
    SERVE_UNTIL(replies[1].ended);
    ck_status(&replies[1], GRPC_UNKNOWN, "input/output error");
    ck_assert(!has_key("n/2"));
    ck_nothing_left();
}
END_TEST

START_TEST(a_read_that_fails_leaves_no_key)
{
    queue_up(2);
    served.hold_reads = true;
    delete_key("n/1");
    SERVE_UNTIL(node_fake_read_count(served.node) == 1);
    node_fake_answer_reads(served.node, ERR_TIMEOUT);
    SERVE_UNTIL(replies[1].ended);
    ck_status(&replies[1], GRPC_UNKNOWN, "etcdserver: request timed out");
    ck_assert(!has_key("n/2"));
}
END_TEST

START_TEST(who_fails_hears_it_though_its_key_cannot_be_deleted_yet)
{
    queue_up(2);
    served.hold_reads = true;
    delete_key("n/1");
    SERVE_UNTIL(node_fake_read_count(served.node) == 1);
    store_model_set_pending(served.store, RING_BYTES_MAX + 1); /* too many requests */
    node_fake_answer_reads(served.node, ERR_TIMEOUT);
    SERVE_UNTIL(replies[1].ended);
    ck_status(&replies[1], GRPC_UNKNOWN, "etcdserver: request timed out");
    ck_assert(has_key("n/2"));
    store_model_set_pending(served.store, 0);
    SERVE_UNTIL(!has_key("n/2"));
    ck_nothing_left();
}
END_TEST

START_TEST(who_gets_no_lease_hears_it_at_once)
{
    served.hold_writes = true;
    lock(&replies[0], "n", 0);
    SERVE_UNTIL(node_fake_proposal_count(served.node) == 1);
    node_fake_refuse(served.node, ERR_TIMEOUT);
    SERVE_UNTIL(replies[0].ended);
    ck_status(&replies[0], GRPC_UNKNOWN, "etcdserver: request timed out");
    SERVE_UNTIL(node_fake_proposal_count(served.node) == 1); /* the lease may be there */
    served.hold_writes = false;
    ck_nothing_left();
}
END_TEST

/* "n" is held by lease 1, and what lease 2 waits for is looked for, with the answer held back. */
static void wait_for_a_look(void)
{
    queue_up(1);
    store_model_set_dear(served.store, true);
    store_model_hold(served.store, true);
    lock(&replies[1], "n", 2);
    SERVE_UNTIL(has_key("n/2"));
    ck_assert_uint_eq(store_model_waiting(served.store), 1);
}

START_TEST(a_history_that_cannot_be_read_ends_the_wait)
{
    wait_for_a_look();
    put_key("other", "x"); /* between the look and the watch, and not in memory any more */
    store_model_forget(served.store, store_revision(served.store));
    store_model_fail_events(served.store, ERR_IO);
    store_model_hold(served.store, false);
    SERVE_UNTIL(replies[1].ended);
    ck_status(&replies[1], GRPC_UNKNOWN, "input/output error");
    ck_assert(!has_key("n/2"));
    ck_nothing_left();
}
END_TEST

/* What ended the wait is between the look and the watch, and compacted. */
START_TEST(a_history_that_is_gone_is_looked_over)
{
    wait_for_a_look();
    delete_key("n/1");
    put_key("other", "x");
    struct buf entry;
    entry_begin(&entry);
    entry_compact(&entry, store_revision(served.store));
    entry_apply(&entry);
    store_model_hold(served.store, false);
    SERVE_UNTIL(replies[1].ended);
    ck_locked(&replies[1], "n/2", 5);
    ck_nothing_left();
}
END_TEST

/* ---- the end of a member ---- */

START_TEST(a_member_that_is_about_to_stop_ends_the_wait)
{
    queue_up(2);
    service_drain(served.service);
    SERVE_UNTIL(replies[1].ended);
    ck_status(&replies[1], GRPC_UNAVAILABLE, "etcdserver: server stopped");
    ck_assert(!has_key("n/2"));
    lock(&replies[2], "n", 3);
    SERVE_UNTIL(replies[2].ended);
    ck_status(&replies[2], GRPC_UNAVAILABLE, "etcdserver: server stopped");
    ck_assert(!has_key("n/3"));
}
END_TEST

/* Where it stands, one of these: waiting, looking, confirming, entering, leaving later. */
START_TEST(a_member_that_stops_lets_go_of_who_waits)
{
    queue_up(_i == 1 || _i == 3 ? 1 : 2);
    if (_i == 1) {
        store_model_set_dear(served.store, true);
        store_model_hold(served.store, true);
        lock(&replies[1], "n", 2);
        SERVE_UNTIL(has_key("n/2"));
    } else if (_i == 2) {
        served.hold_reads = true;
        delete_key("n/1");
        SERVE_UNTIL(node_fake_read_count(served.node) == 1);
    } else if (_i == 3) {
        served.hold_writes = true;
        lock(&replies[1], "n", _i == 3 ? 0 : 2);
        SERVE_UNTIL(node_fake_proposal_count(served.node) == 1);
    } else if (_i == 4) {
        store_model_set_pending(served.store, RING_BYTES_MAX + 1);
        leave(&replies[1]);
    }
    served_stop_server();
    if (_i != 4) {
        RUN_UNTIL(&served.loop, replies[1].ended);
        ck_status(&replies[1], GRPC_UNAVAILABLE, "etcdserver: server stopped");
    }
}
END_TEST

static Suite *rpc_lock_suite(void)
{
    Suite *suite = suite_create("rpc_lock");
    TCase *tc = tcase_create("alone");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, a_key_is_named_as_etcds_clients_do, 0, ARRAY_LEN(keys));
    tcase_add_test(tc, who_has_no_lease_gets_one_of_a_minute);
    tcase_add_test(tc, a_lease_has_a_lock_once);
    tcase_add_test(tc, an_unlock_deletes_whatever_there_is);
    tcase_add_test(tc, it_is_refused_with_etcds_texts_and_without_its_codes);
    tcase_add_test(tc, a_name_has_a_size_that_the_log_takes);
    suite_add_tcase(suite, tc);
    tc = tcase_create("several");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, who_waits_gets_it_in_order, 0, 2);
    tcase_add_test(tc, a_lease_that_ends_lets_the_next_one_in);
    tcase_add_loop_test(tc, who_loses_its_key_while_waiting_hears_it_and_the_next_one_waits_on, 0,
                        2);
    tcase_add_test(tc, who_was_cut_off_does_not_believe_to_have_it);
    tcase_add_test(tc, names_are_apart);
    tcase_add_test(tc, what_is_compacted_meanwhile_does_not_matter);
    suite_add_tcase(suite, tc);
    tc = tcase_create("leaving");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, who_goes_away_while_waiting_leaves_no_key);
    tcase_add_test(tc, a_connection_that_breaks_leaves_no_key);
    tcase_add_test(tc, a_deadline_leaves_no_key);
    tcase_add_test(tc, who_goes_away_before_its_key_is_there_leaves_none);
    tcase_add_test(tc, who_goes_away_while_it_is_looked_for_others_leaves_none);
    tcase_add_test(tc, who_goes_away_while_it_is_confirmed_leaves_no_key);
    tcase_add_loop_test(tc, who_goes_away_gives_nothing_back_that_it_had_before, 0, 2);
    tcase_add_test(tc, who_goes_away_while_waiting_leaves_no_key_that_it_found);
    tcase_add_test(tc, a_lease_that_was_made_for_it_goes_with_it);
    tcase_add_test(tc, who_goes_away_before_its_lease_is_there_leaves_none);
    tcase_add_test(tc, a_key_that_cannot_be_deleted_is_deleted_later);
    tcase_add_test(tc, somebody_elses_key_of_the_same_name_is_not_deleted);
    suite_add_tcase(suite, tc);
    tc = tcase_create("failing");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, who_cannot_be_told_where_it_stands_leaves_no_key, 0, 2);
    tcase_add_test(tc, a_read_that_fails_leaves_no_key);
    tcase_add_test(tc, who_fails_hears_it_though_its_key_cannot_be_deleted_yet);
    tcase_add_test(tc, who_gets_no_lease_hears_it_at_once);
    tcase_add_test(tc, a_history_that_cannot_be_read_ends_the_wait);
    tcase_add_test(tc, a_history_that_is_gone_is_looked_over);
    tcase_add_test(tc, a_member_that_is_about_to_stop_ends_the_wait);
    tcase_add_loop_test(tc, a_member_that_stops_lets_go_of_who_waits, 0, 5);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(rpc_lock_suite);
}
