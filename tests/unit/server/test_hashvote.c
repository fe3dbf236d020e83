/* SPDX-License-Identifier: Apache-2.0 */
#include "server/hashvote.h"

#include "base/cleanup.h"
#include "tests/lib/runner.h"

/* One character per member: a letter for what a voter holds, or small for what a learner does;
 * '?' and '-': a voter, a learner whose answer has not come. TRUTH: what the majority holds, or
 * '-'. */
static const struct {
    const char *members;
    enum verdict want;
    char truth;
} elections[] = {
    {"A", VERDICT_EQUAL, 'A'},       {"AA", VERDICT_EQUAL, 'A'},    {"A?", VERDICT_OPEN, '-'},
    {"AB", VERDICT_SPLIT, '-'},      {"AAA", VERDICT_EQUAL, 'A'},   {"AA?", VERDICT_OPEN, 'A'},
    {"A??", VERDICT_OPEN, '-'},      {"???", VERDICT_OPEN, '-'},    {"AAB", VERDICT_ODD, 'A'},
    {"ABB", VERDICT_ODD, 'B'},       {"BAB", VERDICT_ODD, 'B'},     {"AB?", VERDICT_SPLIT, '-'},
    {"ABC", VERDICT_SPLIT, '-'},     {"AABB", VERDICT_SPLIT, '-'},  {"AAAB", VERDICT_ODD, 'A'},
    {"AAABB", VERDICT_ODD, 'A'},     {"AABBC", VERDICT_SPLIT, '-'}, {"AABC?", VERDICT_SPLIT, '-'},
    {"AAA?B", VERDICT_ODD, 'A'},     {"Aa", VERDICT_EQUAL, 'A'},    {"A-", VERDICT_OPEN, 'A'},
    {"Ab", VERDICT_ODD, 'A'},        {"AAb", VERDICT_ODD, 'A'},     {"A?b", VERDICT_SPLIT, '-'},
    {"ABbbbbb", VERDICT_SPLIT, '-'}, {"AAbbbbb", VERDICT_ODD, 'A'}, {"BBaaAB-", VERDICT_ODD, 'B'},
};

START_TEST(the_majority_of_the_voters_is_right)
{
    const char *members = elections[_i].members;
    struct hash_vote votes[8] = {0};
    size_t count = strlen(members);
    for (size_t i = 0; i < count; i++) {
        char c = members[i];
        votes[i].is_voter = c == '?' || (c >= 'A' && c <= 'Z');
        votes[i].came = c != '?' && c != '-';
        votes[i].note = (struct hash_note){.index = 7, .hash = {.lo = (uint64_t)(c | 0x20)}};
    }
    const struct hash_note *truth;
    enum verdict got = hashvote_judge(votes, count, &truth);
    ck_assert_msg(got == elections[_i].want, "%s: %d", members, (int)got);
    char held = truth == NULL ? '-' : (char)(truth->hash.lo & ~0x20u);
    ck_assert_msg(held == elections[_i].truth, "%s: %c", members, held);
    bool complete = strpbrk(members, "?-") == NULL;
    ck_assert(hashvote_complete(votes, count) == complete);
}
END_TEST

START_TEST(notes_are_equal_when_all_is)
{
    const struct hash_note note = {5, 6, {7, 8}};
    const struct hash_note others[] = {
        {4, 6, {7, 8}}, {5, 5, {7, 8}}, {5, 6, {6, 8}}, {5, 6, {7, 9}}};
    ck_assert(hash_note_equal(&note, &note));
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        ck_assert(!hash_note_equal(&note, &others[i]));
    }
}
END_TEST

static Suite *hashvote_suite(void)
{
    Suite *suite = suite_create("hashvote");
    TCase *tc = tcase_create("hashvote");
    tcase_add_loop_test(tc, the_majority_of_the_voters_is_right, 0, ARRAY_LEN(elections));
    tcase_add_test(tc, notes_are_equal_when_all_is);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(hashvote_suite);
}
