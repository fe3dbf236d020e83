/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/confhist.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "tests/lib/effort.h"
#include "tests/lib/runner.h"

static struct confhist history;

static void setup(void)
{
    history = (struct confhist){0};
    confhist_add(&history, 1, bytes_of_str("A"));
    confhist_add(&history, 7, bytes_of_str("AB"));
    confhist_add(&history, 40, bytes_of_str("ABC"));
}

static void teardown(void)
{
    confhist_fini(&history);
}

static void applies(uint64_t index, const char *want)
{
    const struct confhist_item *item = confhist_at(&history, index);
    if (want == NULL) {
        ck_assert_ptr_null(item);
        return;
    }
    ck_assert_ptr_nonnull(item);
    ck_assert(bytes_equal(blob_bytes(item->encoded), bytes_of_str(want)));
}

START_TEST(each_index_has_the_newest_configuration_before_it)
{
    applies(0, NULL);
    applies(1, "A");
    applies(6, "A");
    applies(7, "AB");
    applies(39, "AB");
    applies(40, "ABC");
    applies(UINT64_MAX, "ABC");
}
END_TEST

START_TEST(truncation_brings_back_the_one_before)
{
    confhist_truncate(&history, 41);
    ck_assert_uint_eq(confhist_last_index(&history), 40);
    confhist_truncate(&history, 40);
    ck_assert_uint_eq(confhist_last_index(&history), 7);
    confhist_add(&history, 40, bytes_of_str("AD"));
    applies(50, "AD");
    confhist_truncate(&history, 0);
    ck_assert_uint_eq(confhist_last_index(&history), 0);
}
END_TEST

START_TEST(compaction_keeps_what_applies_there)
{
    confhist_compact(&history, 20);
    applies(6, NULL);
    applies(20, "AB");
    applies(40, "ABC");
    confhist_compact(&history, 3); /* before everything: nothing happens */
    applies(20, "AB");
}
END_TEST

START_TEST(a_snapshot_replaces_everything)
{
    confhist_reset(&history, 30, bytes_of_str("S"));
    applies(29, NULL);
    applies(99, "S");
    confhist_add(&history, 31, bytes_of_str("T"));
    applies(31, "T");
}
END_TEST

static struct raft_buffer encode(unsigned count)
{
    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    for (unsigned i = 0; i < count; i++) {
        char address[32];
        snprintf(address, sizeof address, "member-%u:2380", i);
        ck_assert_int_eq(raft_configuration_add(&configuration, i + 1, address, (int)(i % 3)), 0);
    }
    struct raft_buffer encoded = configuration_encode(&configuration);
    raft_configuration_close(&configuration);
    return encoded;
}

/* The core encodes, we decode: the same members. */
START_TEST(what_the_core_encodes_is_decoded)
{
    struct raft_buffer encoded = encode((unsigned)_i);
    struct raft_configuration configuration;
    enum err err = configuration_decode(bytes_of(encoded.base, encoded.len), &configuration);
    ck_assert_int_eq(err, OK);
    ck_assert_uint_eq(configuration.n, (unsigned)_i);
    struct raft_buffer again = configuration_encode(&configuration);
    ck_assert(bytes_equal(bytes_of(again.base, again.len), bytes_of(encoded.base, encoded.len)));
    raft_configuration_close(&configuration);
    raft_free(encoded.base);
    raft_free(again.base);
}
END_TEST

START_TEST(every_truncation_is_refused)
{
    struct raft_buffer encoded = encode(3);
    size_t content = 9;
    for (unsigned i = 0; i < 3; i++) {
        content += 8 + sizeof "member-0:2380" + 1;
    }
    ck_assert_uint_lt(encoded.len - content, 8); /* the rest is padding */
    for (size_t len = 0; len < content; len++) {
        uint8_t *exact = malloc(len + 1);
        memcpy(exact, encoded.base, len);
        ck_assert_msg(!configuration_check(bytes_of(exact, len)), "%zu bytes", len);
        free(exact);
    }
    raft_free(encoded.base);
}
END_TEST

START_TEST(damaged_configurations_are_refused_or_decoded)
{
    uint64_t random = (uint64_t)_i + 1;
    int steps = (int)effort_count(5000, 500, "configurations");
    for (int step = 0; step < steps; step++) {
        struct raft_buffer encoded = encode(1 + (unsigned)(step % 5));
        for (unsigned flips = 0; flips <= random % 3; flips++) {
            random = mix64(random);
            ((uint8_t *)encoded.base)[random % encoded.len] ^= (uint8_t)(random >> 32);
        }
        struct raft_configuration configuration;
        if (configuration_decode(bytes_of(encoded.base, encoded.len), &configuration) == OK) {
            ck_assert_uint_gt(configuration.n, 0);
            ck_assert_uint_le(configuration.n, MEMBERS_MAX);
            raft_configuration_close(&configuration);
        }
        raft_free(encoded.base);
    }
}
END_TEST

START_TEST(twins_are_refused)
{
    struct raft_buffer encoded = encode(2);
    uint8_t *second = (uint8_t *)encoded.base + 9 + 8 + sizeof "member-0:2380" + 1;
    ck_assert_uint_eq(second[0], 2);
    second[0] = 1; /* the same id */
    ck_assert(!configuration_check(bytes_of(encoded.base, encoded.len)));
    second[0] = 2;
    ck_assert(configuration_check(bytes_of(encoded.base, encoded.len)));
    second[8 + strlen("member-")] = '0'; /* the same address */
    ck_assert(!configuration_check(bytes_of(encoded.base, encoded.len)));
    raft_free(encoded.base);
}
END_TEST

static Suite *confhist_suite(void)
{
    Suite *suite = suite_create("confhist");
    TCase *tc = tcase_create("history");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, each_index_has_the_newest_configuration_before_it);
    tcase_add_test(tc, truncation_brings_back_the_one_before);
    tcase_add_test(tc, compaction_keeps_what_applies_there);
    tcase_add_test(tc, a_snapshot_replaces_everything);
    suite_add_tcase(suite, tc);
    tc = tcase_create("codec");
    tcase_add_loop_test(tc, what_the_core_encodes_is_decoded, 1, MEMBERS_MAX + 1);
    tcase_add_test(tc, every_truncation_is_refused);
    tcase_add_loop_test(tc, damaged_configurations_are_refused_or_decoded, 0, 4);
    tcase_add_test(tc, twins_are_refused);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(confhist_suite);
}
