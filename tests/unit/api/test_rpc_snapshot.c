/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/evp.h>
#include <stdio.h>

#include "base/codec.h"
#include "snapshot/spool.h"
#include "tests/lib/tmpdir.h"
#include "tests/unit/api/service_fixture.h"

#define SNAPSHOT     "/etcdserverpb.Maintenance/Snapshot"
#define DIGEST_BYTES 32u

static struct reply reply;

static void setup(void)
{
    tmpdir_setup();
    served.store_path = tmpdir_path("store.db");
    served_start();
    reply = (struct reply){0};
}

static void setup_learner(void)
{
    served.learner = true;
    setup();
}

static void setup_impatient(void)
{
    served.snapshot_stall_ms = 100;
    setup();
}

static void teardown(void)
{
    reply_fini(&reply);
    served_stop();
    served.store_path = NULL;
    served.snapshot_stall_ms = 0;
    tmpdir_teardown();
}

static bool metric_is(const char *line)
{
    CLEANUP(buf_fini) struct buf text = {0};
    metrics_write(served.metrics, &text);
    write_u8(&text, 0);
    ck_assert(buf_ok(&text));
    return strstr((const char *)text.data, line) != NULL;
}

static void ask_snapshot(struct reply *to)
{
    Etcdserverpb__SnapshotRequest request = ETCDSERVERPB__SNAPSHOT_REQUEST__INIT;
    call_message(to, SNAPSHOT, &request.base);
}

/* The blobs of all messages one after the other, and what each of them says beside them. */
struct taken {
    struct buf bytes;
    size_t at; /* in the reply */
    size_t messages;
};

static void take(const struct reply *from, struct taken *taken, uint64_t size)
{
    for (size_t i = 0; i < from->message_count; i++) {
        ck_assert_uint_lt(i, ARRAY_LEN(from->sizes));
        Etcdserverpb__SnapshotResponse *message = etcdserverpb__snapshot_response__unpack(
            NULL, from->sizes[i], from->got.data + taken->at);
        ck_assert_ptr_nonnull(message);
        taken->at += from->sizes[i];
        buf_append(&taken->bytes, message->blob.data, message->blob.len);
        ck_assert_ptr_null(message->header); /* etcd sends none */
        ck_assert_str_eq(message->version, "3.7.0");
        uint64_t so_far = taken->bytes.len;
        ck_assert_uint_eq(message->remaining_bytes, so_far < size ? size - so_far : 0);
        etcdserverpb__snapshot_response__free_unpacked(message, NULL);
    }
}

/* Less than a piece, a piece, and several. */
static const uint64_t sizes[] = {4096, SPOOL_PIECE_BYTES, 5 * SPOOL_PIECE_BYTES + 8192};

START_TEST(the_store_comes_in_pieces_and_its_digest_last)
{
    uint64_t size = sizes[_i];
    store_model_set_size(served.store, size);
    ask_snapshot(&reply);
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_OK, "");
    ck_assert_uint_eq(reply.message_count, (size + SPOOL_PIECE_BYTES - 1) / SPOOL_PIECE_BYTES + 1);
    struct taken taken = {.at = 0};
    take(&reply, &taken, size);
    ck_assert_uint_eq(taken.bytes.len, size + DIGEST_BYTES);
    for (uint64_t i = 0; i < size; i++) {
        uint8_t want = i == 18 || i == 19 ? 1 : store_model_copied(i);
        ck_assert_msg(taken.bytes.data[i] == want, "byte %llu", (unsigned long long)i);
    }
    uint8_t digest[EVP_MAX_MD_SIZE];
    ck_assert_int_eq(EVP_Digest(taken.bytes.data, size, digest, NULL, EVP_sha256(), NULL), 1);
    ck_assert_mem_eq(digest, taken.bytes.data + size, DIGEST_BYTES);
    buf_fini(&taken.bytes);
}
END_TEST

START_TEST(a_copy_that_fails_is_told)
{
    store_model_fail_copy(served.store, ERR_IO);
    ask_snapshot(&reply);
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_UNKNOWN, "input/output error");
    store_model_fail_copy(served.store, ERR_NO_SPACE);
    ask_snapshot(&reply);
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_RESOURCE_EXHAUSTED,
              "no room for a copy of the database on this member's disk");
    store_model_set_size(served.store, UINT64_MAX / 2); /* that is seen before */
    ask_snapshot(&reply);
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_RESOURCE_EXHAUSTED,
              "no room for a copy of the database on this member's disk");
    store_model_fail_copy(served.store, OK);
    store_model_set_size(served.store, 4096);
    ask_snapshot(&reply);
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_OK, "");
}
END_TEST

/* One more than may be; when one of them is over, another may be. */
START_TEST(only_so_many_are_served_at_once)
{
    struct reply replies[SNAPSHOTS_MAX] = {{.ended = false}};
    store_model_set_size(served.store, 4096);
    store_model_hold(served.store, true);
    for (size_t i = 0; i < SNAPSHOTS_MAX; i++) {
        ask_snapshot(&replies[i]);
    }
    SERVE_UNTIL(store_model_waiting(served.store) == SNAPSHOTS_MAX);
    ask_snapshot(&reply);
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_UNKNOWN, "etcdserver: too many requests");
    store_model_hold(served.store, false);
    for (size_t i = 0; i < SNAPSHOTS_MAX; i++) {
        SERVE_UNTIL(replies[i].ended);
        ck_status(&replies[i], GRPC_OK, "");
        reply_fini(&replies[i]);
    }
    do { /* the thread still closes their files */
        ask_snapshot(&reply);
        SERVE_UNTIL(reply.ended);
    } while (reply.status != GRPC_OK);
}
END_TEST

/* While the copy is made, and when some of it has come. */
START_TEST(who_goes_away_ends_it)
{
    store_model_set_size(served.store, 64 * SPOOL_PIECE_BYTES);
    if (_i == 0) {
        store_model_hold(served.store, true);
        ask_snapshot(&reply);
        SERVE_UNTIL(store_model_waiting(served.store) == 1);
        grpc_request_cancel(&reply.request);
        loop_turns(&served.loop, 3);
        store_model_hold(served.store, false);
        SERVE_UNTIL(store_model_waiting(served.store) == 0);
    } else {
        ask_snapshot(&reply);
        SERVE_UNTIL(reply.message_count >= 3);
        grpc_request_cancel(&reply.request);
    }
    for (size_t i = 0; i < SNAPSHOTS_MAX + 1; i++) { /* nothing is held for ever */
        store_model_set_size(served.store, 4096);
        ask_snapshot(&reply);
        SERVE_UNTIL(reply.ended);
        ck_status(&reply, GRPC_OK, "");
    }
}
END_TEST

/* They take a piece or a few, and then no more: others can have their places. When they read again
 * they get what was on its way, and hear that this was all. */
START_TEST(who_does_not_read_does_not_keep_its_place)
{
    struct reply replies[SNAPSHOTS_MAX] = {{.ended = false}};
    store_model_set_size(served.store, 64 * SPOOL_PIECE_BYTES);
    for (size_t i = 0; i < SNAPSHOTS_MAX; i++) {
        ask_snapshot(&replies[i]);
    }
    SERVE_UNTIL(replies[0].message_count >= 1);
    grpc_client_pause(served.client, true);
    SERVE_UNTIL(metric_is("trivet_snapshot_stalled_total 4"));
    grpc_client_pause(served.client, false);
    for (size_t i = 0; i < SNAPSHOTS_MAX; i++) {
        SERVE_UNTIL(replies[i].ended);
        ck_status(&replies[i], GRPC_UNAVAILABLE, "etcdserver: request timed out");
        ck_assert_uint_lt(replies[i].message_count, 64);
        reply_fini(&replies[i]);
    }
    store_model_set_size(served.store, 4096);
    do { /* the thread still closes their files */
        ask_snapshot(&reply);
        SERVE_UNTIL(reply.ended);
    } while (reply.status != GRPC_OK);
}
END_TEST

/* Slow is not stalled: each piece begins a new time. */
START_TEST(who_reads_slowly_gets_all)
{
    store_model_set_size(served.store, 64 * SPOOL_PIECE_BYTES);
    ask_snapshot(&reply);
    for (size_t seen = 1; seen < 64; seen += 8) {
        SERVE_UNTIL(reply.message_count >= seen);
        grpc_client_pause(served.client, true);
        loop_turns(&served.loop, 50);
        grpc_client_pause(served.client, false);
    }
    SERVE_UNTIL(reply.ended);
    ck_status(&reply, GRPC_OK, "");
    ck_assert_uint_eq(reply.message_count, 65);
}
END_TEST

/* The port closes under it, the member stops, in any order that there is. */
START_TEST(a_member_that_stops_ends_it)
{
    store_model_set_size(served.store, 64 * SPOOL_PIECE_BYTES);
    ask_snapshot(&reply);
    SERVE_UNTIL(reply.message_count >= 1);
    served_close_port();
    SERVE_UNTIL(reply.ended);
    served_stop_server();
}
END_TEST

static Suite *snapshot_suite(void)
{
    Suite *suite = suite_create("rpc_snapshot");
    TCase *tc = tcase_create("snapshot");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, the_store_comes_in_pieces_and_its_digest_last, 0, ARRAY_LEN(sizes));
    tcase_add_test(tc, a_copy_that_fails_is_told);
    tcase_add_test(tc, only_so_many_are_served_at_once);
    tcase_add_loop_test(tc, who_goes_away_ends_it, 0, 2);
    tcase_add_test(tc, a_member_that_stops_ends_it);
    tcase_add_test(tc, who_reads_slowly_gets_all);
    suite_add_tcase(suite, tc);
    tc = tcase_create("learner");
    tcase_add_checked_fixture(tc, setup_learner, teardown);
    tcase_add_loop_test(tc, the_store_comes_in_pieces_and_its_digest_last, 0, 1);
    suite_add_tcase(suite, tc);
    tc = tcase_create("stalled");
    tcase_add_checked_fixture(tc, setup_impatient, teardown);
    tcase_add_test(tc, who_does_not_read_does_not_keep_its_place);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(snapshot_suite);
}
