/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/logreplay.h"

#include "base/cleanup.h"
#include "raft/logload.h"
#include "tests/lib/runner.h"

/* A segment's first group: its state, then the records of a case. What no log writes is told, and
 * not replayed: checksums say that it was written so, not that it makes sense. */
#define TAG         1u
#define RECORDS_MAX 4

static struct buf manifest; /* of index 1 */
static struct buf far;      /* of index 5 */
static struct why why;

static void make_manifest(struct buf *buf, uint64_t index)
{
    struct log_snapshot snapshot = {.index = index, .term = 1};
    buf_clear(buf);
    manifest_encode(&snapshot, buf);
    ck_assert(buf_ok(buf));
}

static void setup(void)
{
    make_manifest(&manifest, 1);
    make_manifest(&far, 5);
    why = (struct why){{0}};
}

static void teardown(void)
{
    buf_fini(&manifest);
    buf_fini(&far);
}

static const struct {
    struct record records[RECORDS_MAX];
    const struct buf *data; /* of the states */
    enum err want;
    const char *says;
} cases[] = {
    {{{RECORD_ENTRY, 1, 1, 1, {0}}, {RECORD_ENTRY, 3, 2, 1, {0}}}, NULL, OK, ""},
    {{{RECORD_ENTRY, 1, 2, 1, {0}}}, NULL, ERR_CORRUPT, "out of order"},
    {{{RECORD_ENTRY, 0, 1, 1, {0}}}, NULL, ERR_CORRUPT, "unknown kind"},
    {{{RECORD_ENTRY, 4, 1, 1, {0}}}, NULL, ERR_CORRUPT, "unknown kind"},
    {{{RECORD_TRUNCATE, 0, 1, 0, {0}}}, NULL, ERR_CORRUPT, "outside of the log"},
    {{{RECORD_ENTRY, 1, 1, 1, {0}}, {RECORD_STATE, 0, 2, 2, {0}}}, &manifest, OK, ""},
    {{{RECORD_STATE, 0, 6, 6, {0}}}, &far, OK, ""}, /* emptied, and begun anew */
    {{{RECORD_ENTRY, 1, 1, 1, {0}}, {RECORD_STATE, 0, 2, 2, {0}}},
     &far,
     ERR_CORRUPT,
     "does not fit"},
    {{{RECORD_ENTRY, 1, 1, 1, {0}}, {RECORD_STATE, 0, 1, 2, {0}}, {RECORD_TRUNCATE, 0, 1, 0, {0}}},
     &manifest,
     ERR_CORRUPT,
     "before its manifest"},
};

static void make_group(size_t i, struct buf *ret)
{
    CLEANUP(group_fini) struct group group = {0};
    const struct record begin = {.kind = RECORD_STATE, .index = 1, .term = 1};
    group_add(&group, &begin);
    for (size_t k = 0; k < RECORDS_MAX && cases[i].records[k].kind != 0; k++) {
        struct record record = cases[i].records[k];
        if (record.kind == RECORD_STATE) {
            record.data = buf_bytes(cases[i].data);
        }
        group_add(&group, &record);
    }
    const struct bytes *parts;
    size_t count;
    ck_assert_int_eq(group_seal(&group, TAG, 1, 0, &parts, &count), OK);
    for (size_t k = 0; k < count; k++) {
        buf_append_bytes(ret, parts[k]);
    }
    ck_assert(buf_ok(ret));
}

START_TEST(what_no_log_writes_is_told)
{
    CLEANUP(buf_fini) struct buf bytes = {0};
    struct group_view view;
    struct replay replay = {0};
    struct raftlog_image image = {0};
    size_t i = (size_t)_i;
    make_group(i, &bytes);
    ck_assert(group_read(buf_bytes(&bytes), 0, TAG, &view));
    enum err err = replay_group(&replay, &view, true, &why);
    if (err == OK) {
        err = replay_finish(&replay, &image, &why);
    }
    ck_assert_msg(err == cases[i].want, "case %zu: %s: %s", i, err_text(err), why.text);
    ck_assert_msg(strstr(why.text, cases[i].says) != NULL, "case %zu: %s", i, why.text);
    replay_fini(&replay);
    raftlog_image_fini(&image);
}
END_TEST

static Suite *logreplay_suite(void)
{
    Suite *suite = suite_create("logreplay");
    TCase *tc = tcase_create("logreplay");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, what_no_log_writes_is_told, 0, (int)ARRAY_LEN(cases));
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(logreplay_suite);
}
