/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/frame.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "raft/confhist.h"
#include "tests/lib/runner.h"

/* A message of each kind, with everything that it can carry. */
static struct raft_entry entries[3];
static struct raft_configuration configuration;
static struct raft_buffer encoded;
static char data[] = "manifest";
static char put[] = "put";

static void setup(void)
{
    raft_configuration_init(&configuration);
    ck_assert_int_eq(raft_configuration_add(&configuration, 1, "a:1", RAFT_VOTER), 0);
    ck_assert_int_eq(raft_configuration_add(&configuration, 2, "host.example:2380", RAFT_STANDBY),
                     0);
    encoded = configuration_encode(&configuration);
    entries[0] = (struct raft_entry){.term = 3, .type = RAFT_COMMAND, .buf = {put, 3}};
    entries[1] = (struct raft_entry){.term = 3, .type = RAFT_CHANGE, .buf = encoded};
    entries[2] = (struct raft_entry){.term = 5, .type = RAFT_BARRIER, .buf = {put, 0}};
}

static void teardown(void)
{
    raft_configuration_close(&configuration);
    raft_free(encoded.base);
}

enum { MESSAGES = 7 };

static struct raft_message message_of(int kind)
{
    struct raft_message message;
    memset(&message, 0, sizeof message);
    switch (kind) {
    case 0:
        message.type = RAFT_IO_APPEND_ENTRIES;
        message.append_entries = (struct raft_append_entries){.term = 5,
                                                              .prev_log_index = 10,
                                                              .prev_log_term = 3,
                                                              .leader_commit = 9,
                                                              .entries = entries,
                                                              .n_entries = 3};
        break;
    case 1:
        message.type = RAFT_IO_APPEND_ENTRIES;
        message.append_entries = (struct raft_append_entries){.term = 5};
        break;
    case 2:
        message.type = RAFT_IO_APPEND_ENTRIES_RESULT;
        message.append_entries_result =
            (struct raft_append_entries_result){.term = 5, .rejected = 7, .last_log_index = 6};
        break;
    case 3:
        message.type = RAFT_IO_REQUEST_VOTE;
        message.request_vote = (struct raft_request_vote){.term = 6,
                                                          .candidate_id = 2,
                                                          .last_log_index = 13,
                                                          .last_log_term = 5,
                                                          .disrupt_leader = true,
                                                          .pre_vote = false};
        break;
    case 4:
        message.type = RAFT_IO_REQUEST_VOTE_RESULT;
        message.request_vote_result = (struct raft_request_vote_result){
            .term = 6, .vote_granted = true, .pre_vote = raft_tribool_false};
        break;
    case 5:
        message.type = RAFT_IO_INSTALL_SNAPSHOT;
        message.install_snapshot = (struct raft_install_snapshot){.term = 6,
                                                                  .last_index = 40,
                                                                  .last_term = 5,
                                                                  .conf = configuration,
                                                                  .conf_index = 12,
                                                                  .data = {data, sizeof data}};
        break;
    default:
        message.type = RAFT_IO_TIMEOUT_NOW;
        message.timeout_now =
            (struct raft_timeout_now){.term = 6, .last_log_index = 13, .last_log_term = 5};
        break;
    }
    return message;
}

static void same_append(const struct raft_append_entries *a, const struct raft_append_entries *b)
{
    ck_assert_uint_eq(a->term, b->term);
    ck_assert_uint_eq(a->prev_log_index, b->prev_log_index);
    ck_assert_uint_eq(a->prev_log_term, b->prev_log_term);
    ck_assert_uint_eq(a->leader_commit, b->leader_commit);
    ck_assert_uint_eq(a->n_entries, b->n_entries);
    for (unsigned i = 0; i < a->n_entries; i++) {
        ck_assert_uint_eq(a->entries[i].term, b->entries[i].term);
        ck_assert_uint_eq(a->entries[i].type, b->entries[i].type);
        ck_assert(bytes_equal(bytes_of(a->entries[i].buf.base, a->entries[i].buf.len),
                              bytes_of(b->entries[i].buf.base, b->entries[i].buf.len)));
    }
}

static void same_snapshot(const struct raft_install_snapshot *a,
                          const struct raft_install_snapshot *b)
{
    ck_assert_uint_eq(a->last_index, b->last_index);
    ck_assert_uint_eq(a->last_term, b->last_term);
    ck_assert_uint_eq(a->conf_index, b->conf_index);
    ck_assert_uint_eq(a->conf.n, b->conf.n);
    for (unsigned i = 0; i < a->conf.n; i++) {
        ck_assert_uint_eq(a->conf.servers[i].id, b->conf.servers[i].id);
        ck_assert_int_eq(a->conf.servers[i].role, b->conf.servers[i].role);
        ck_assert_str_eq(a->conf.servers[i].address, b->conf.servers[i].address);
    }
    ck_assert_mem_eq(a->data.base, b->data.base, b->data.len);
}

static const struct frame_notes notes = {
    .replicated_index = 3, .received_index = 11, .last_term = 5};

START_TEST(what_is_encoded_is_decoded)
{
    struct raft_message message = message_of(_i);
    struct blob *blob = frame_encode(&message, &notes, "me:2380");
    ck_assert_ptr_nonnull(blob);
    struct frame frame;
    enum err err = frame_decode(blob_bytes(blob), &frame);
    ck_assert_int_eq(err, OK);
    ck_assert_uint_eq(frame.message.type, message.type);
    switch (message.type) {
    case RAFT_IO_APPEND_ENTRIES:
        same_append(&frame.message.append_entries, &message.append_entries);
        ck_assert_uint_eq(frame.notes.replicated_index, 3);
        ck_assert_str_eq(frame.address, "me:2380");
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        ck_assert_mem_eq(&frame.message.append_entries_result, &message.append_entries_result,
                         sizeof message.append_entries_result);
        ck_assert_uint_eq(frame.notes.received_index, 11);
        ck_assert_uint_eq(frame.notes.last_term, 5);
        break;
    case RAFT_IO_REQUEST_VOTE:
        ck_assert_uint_eq(frame.message.request_vote.candidate_id, 2);
        ck_assert_uint_eq(frame.message.request_vote.last_log_index, 13);
        ck_assert(frame.message.request_vote.disrupt_leader);
        ck_assert(!frame.message.request_vote.pre_vote);
        break;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        ck_assert(frame.message.request_vote_result.vote_granted);
        ck_assert_int_eq(frame.message.request_vote_result.pre_vote, raft_tribool_false);
        break;
    case RAFT_IO_INSTALL_SNAPSHOT:
        same_snapshot(&frame.message.install_snapshot, &message.install_snapshot);
        break;
    default:
        ck_assert_uint_eq(frame.message.timeout_now.last_log_index, 13);
        break;
    }
    frame_release(&frame.message);
    blob_unref(blob);
}
END_TEST

START_TEST(every_truncation_is_refused)
{
    struct raft_message message = message_of(_i);
    struct blob *blob = frame_encode(&message, &notes, "me:2380");
    for (size_t len = 0; len < blob->len; len++) {
        uint8_t *exact = malloc(len + 1); /* so that a checker sees a step too far */
        memcpy(exact, blob->data, len);
        struct frame frame;
        ck_assert_int_eq(frame_decode(bytes_of(exact, len), &frame), ERR_MALFORMED);
        free(exact);
    }
    blob_unref(blob);
}
END_TEST

START_TEST(a_byte_too_many_is_refused)
{
    struct raft_message message = message_of(_i);
    struct blob *blob = frame_encode(&message, &notes, "me:2380");
    struct buf longer = {0};
    buf_append_bytes(&longer, blob_bytes(blob));
    buf_append(&longer, "", 1);
    struct frame frame;
    ck_assert_int_eq(frame_decode(buf_bytes(&longer), &frame), ERR_MALFORMED);
    buf_fini(&longer);
    blob_unref(blob);
}
END_TEST

/* Whatever is decoded from damaged bytes is something that can be encoded again. */
START_TEST(damaged_bytes_are_refused_or_make_a_message)
{
    uint64_t random = (uint64_t)_i + 1;
    for (int step = 0; step < 3000; step++) {
        struct raft_message message = message_of(step % MESSAGES);
        struct blob *blob = frame_encode(&message, &notes, "me:2380");
        for (unsigned flips = 0; flips <= random % 3; flips++) {
            random = mix64(random);
            blob->data[random % blob->len] ^= (uint8_t)(random >> 32);
        }
        struct frame frame;
        if (frame_decode(blob_bytes(blob), &frame) == OK) {
            struct blob *again = frame_encode(&frame.message, &frame.notes, frame.address);
            ck_assert_ptr_nonnull(again);
            blob_unref(again);
            frame_release(&frame.message);
        }
        blob_unref(blob);
    }
}
END_TEST

/* Appends that are well formed and make no sense. */
static const struct {
    const char *name;
    uint64_t prev_index;
    uint64_t prev_term;
    uint64_t terms[2];
    unsigned short kind;
} senseless[] = {
    {"a term that goes back", 10, 3, {4, 3}, RAFT_COMMAND},
    {"a term before the one before", 10, 3, {2, 3}, RAFT_COMMAND},
    {"a term after the message's", 10, 3, {3, 9}, RAFT_COMMAND},
    {"a kind that is none", 10, 3, {3, 3}, 4},
    {"an index without a term", 10, 0, {3, 3}, RAFT_COMMAND},
    {"a term without an index", 0, 3, {3, 3}, RAFT_COMMAND},
    {"an index that no log reaches", 1ull << 62, 3, {3, 3}, RAFT_COMMAND},
    {"a configuration that is none", 10, 3, {3, 3}, RAFT_CHANGE},
};

START_TEST(senseless_appends_are_refused)
{
    struct raft_entry two[2];
    for (int i = 0; i < 2; i++) {
        two[i] = (struct raft_entry){
            .term = senseless[_i].terms[i], .type = senseless[_i].kind, .buf = {put, 3}};
    }
    struct raft_message message = {.type = RAFT_IO_APPEND_ENTRIES};
    message.append_entries =
        (struct raft_append_entries){.term = 5,
                                     .prev_log_index = senseless[_i].prev_index,
                                     .prev_log_term = senseless[_i].prev_term,
                                     .entries = two,
                                     .n_entries = 2};
    struct blob *blob = frame_encode(&message, &notes, "");
    struct frame frame;
    enum err err = frame_decode(blob_bytes(blob), &frame);
    ck_assert_msg(err == ERR_MALFORMED, "%s", senseless[_i].name);
    blob_unref(blob);
}
END_TEST

static Suite *frame_suite(void)
{
    Suite *suite = suite_create("frame");
    TCase *tc = tcase_create("frame");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, what_is_encoded_is_decoded, 0, MESSAGES);
    tcase_add_loop_test(tc, every_truncation_is_refused, 0, MESSAGES);
    tcase_add_loop_test(tc, a_byte_too_many_is_refused, 0, MESSAGES);
    tcase_add_loop_test(tc, damaged_bytes_are_refused_or_make_a_message, 0, 4);
    tcase_add_loop_test(tc, senseless_appends_are_refused, 0,
                        (int)(sizeof senseless / sizeof senseless[0]));
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(frame_suite);
}
