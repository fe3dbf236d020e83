/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/compact.h"

#include <string.h>

#include "tests/lib/runner.h"

/* A core with 100 entries of 10 bytes after a snapshot at 50: 41 ... 140, all applied. */
enum { SLOTS = 128, OFFSET = 40, SNAPSHOT = 50, LAST = 140, LOG_BYTES = 1000 };
static struct raft_entry slots[SLOTS];
static char payload[10];
static struct raft core;
static struct compact_limits limits;

static void setup(void)
{
    memset(&core, 0, sizeof core);
    core.log = (struct raft_log){.entries = slots, .size = SLOTS, .front = 100, .offset = OFFSET};
    core.log.back = (core.log.front + LAST - OFFSET) % SLOTS; /* the ring wraps */
    core.log.snapshot.last_index = SNAPSHOT;
    core.log.snapshot.last_term = 1;
    core.last_applied = LAST;
    for (size_t i = 0; i < SLOTS; i++) {
        slots[i] =
            (struct raft_entry){.term = 1, .type = RAFT_COMMAND, .buf = {payload, sizeof payload}};
    }
    limits = (struct compact_limits){.snapshot_entries = 60,
                                     .snapshot_bytes = 1000000,
                                     .trailing_entries = 20,
                                     .trailing_bytes = 1000000};
}

START_TEST(the_ring_is_read_right)
{
    ck_assert_uint_eq(core_last_index(&core), LAST);
    ck_assert_ptr_null(core_entry(&core, OFFSET));
    ck_assert_ptr_eq(core_entry(&core, OFFSET + 1), &slots[100]);
    ck_assert_ptr_eq(core_entry(&core, LAST), &slots[core.log.back - 1]);
    ck_assert_ptr_null(core_entry(&core, LAST + 1));
    ck_assert_uint_eq(core_term_of(&core, 0), 0);
    ck_assert_uint_eq(core_term_of(&core, OFFSET), 0);
    ck_assert_uint_eq(core_term_of(&core, SNAPSHOT), 1);
}
END_TEST

static const struct {
    const char *name;
    uint64_t durable;
    uint64_t entries;
    uint64_t bytes;
    uint64_t log_bytes;
    bool due;
} cases[] = {
    {"nothing durable since the snapshot", 50, 1, 1, 1 << 20, false},
    {"nothing durable at all", 0, 1, 1, 1 << 20, false},
    {"enough entries", 110, 60, 1 << 20, 0, true},
    {"one too few", 109, 60, 1 << 20, 0, false},
    {"durable beyond what is applied counts to that", 1000, 90, 1 << 20, 0, true},
    {"and no further", 1000, 91, 1 << 20, 0, false},
    {"enough bytes in the log, a fair part of them durable", 80, 1000, 1000, 1000, true},
    {"enough bytes in the log, too few of them durable", 60, 1000, 1000, 1000, false},
    {"too few bytes in the log", 140, 1000, 1000, 999, false},
};

START_TEST(due_when_enough_is_durable)
{
    limits.snapshot_entries = cases[_i].entries;
    limits.snapshot_bytes = cases[_i].bytes;
    bool due = compact_due(&core, &limits, cases[_i].durable, cases[_i].log_bytes);
    ck_assert_msg(due == cases[_i].due, "%s", cases[_i].name);
}
END_TEST

/* 101 ... of the first case: the entry before the first that is lacked stays, too. */
START_TEST(what_a_member_lacks_is_held)
{
    limits.held_entries = 1000;
    limits.held_bytes = 1000000;
    ck_assert_uint_eq(compact_trailing(&core, &limits, LAST, 100, LOG_BYTES), 41);
    ck_assert_uint_eq(compact_trailing(&core, &limits, LAST, 130, LOG_BYTES),
                      20); /* the trailing at least */
    ck_assert_uint_eq(compact_trailing(&core, &limits, LAST, LAST + 5, LOG_BYTES), 20);
    ck_assert_uint_eq(compact_trailing(&core, &limits, LAST, 0, LOG_BYTES), LAST - OFFSET);
    limits.trailing_entries = 0;
    ck_assert_uint_eq(compact_trailing(&core, &limits, LAST, 130, LOG_BYTES), 11);
}
END_TEST

START_TEST(what_is_held_is_bounded)
{
    limits.held_entries = 30;
    limits.held_bytes = 1000000;
    ck_assert_uint_eq(compact_trailing(&core, &limits, LAST, 0, LOG_BYTES), 30);
    limits.held_entries = 1000;
    limits.held_bytes = 255;
    ck_assert_uint_eq(compact_trailing(&core, &limits, LAST, 0, LOG_BYTES), 25);
    limits.held_bytes = LOG_BYTES;
    ck_assert_uint_eq(compact_trailing(&core, &limits, LAST, 0, LOG_BYTES), LAST - OFFSET);
    ck_assert_uint_eq(compact_trailing(&core, &limits, LAST, 0, LOG_BYTES + 1), LAST - OFFSET);
}
END_TEST

START_TEST(trailing_is_the_smaller_of_entries_and_bytes)
{
    ck_assert_uint_eq(compact_trailing(&core, &limits, LAST, LAST, LOG_BYTES), 20);
    limits.trailing_bytes = 75;
    ck_assert_uint_eq(compact_trailing(&core, &limits, LAST, LAST, LOG_BYTES), 7);
    limits.trailing_entries = 1000;
    limits.trailing_bytes = 1000000;
    ck_assert_uint_eq(compact_trailing(&core, &limits, LAST, LAST, LOG_BYTES), LAST - OFFSET);
}
END_TEST

/* To the core 0 means that the snapshot replaces the log, entries after it included. */
START_TEST(trailing_is_never_nothing)
{
    limits.trailing_entries = 0;
    ck_assert_uint_eq(compact_trailing(&core, &limits, LAST, LAST, LOG_BYTES), 1);
    limits.trailing_entries = 20;
    limits.trailing_bytes = 0;
    ck_assert_uint_eq(compact_trailing(&core, &limits, LAST, LAST, LOG_BYTES), 1);
}
END_TEST

START_TEST(a_state_on_its_way_widens_what_is_held)
{
    limits.held_entries = 10;
    limits.held_bytes = 100;
    struct compact_limits wider = compact_while_installing(&limits, 64000);
    ck_assert_uint_eq(wider.held_bytes, 64000);
    ck_assert_uint_eq(wider.held_entries, 1000);
    ck_assert_uint_eq(wider.trailing_entries, limits.trailing_entries);
    wider = compact_while_installing(&limits, 50); /* a small one narrows nothing */
    ck_assert_uint_eq(wider.held_bytes, 100);
    ck_assert_uint_eq(wider.held_entries, 10);
}
END_TEST

static Suite *compact_suite(void)
{
    Suite *suite = suite_create("compact");
    TCase *tc = tcase_create("compact");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, the_ring_is_read_right);
    tcase_add_loop_test(tc, due_when_enough_is_durable, 0, (int)(sizeof cases / sizeof cases[0]));
    tcase_add_test(tc, what_a_member_lacks_is_held);
    tcase_add_test(tc, what_is_held_is_bounded);
    tcase_add_test(tc, trailing_is_the_smaller_of_entries_and_bytes);
    tcase_add_test(tc, trailing_is_never_nothing);
    tcase_add_test(tc, a_state_on_its_way_widens_what_is_held);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(compact_suite);
}
