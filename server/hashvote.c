/* SPDX-License-Identifier: Apache-2.0 */
#include "server/hashvote.h"

bool hash_note_equal(const struct hash_note *a, const struct hash_note *b)
{
    return a->index == b->index && a->revision == b->revision && set_hash_equal(a->hash, b->hash);
}

bool hashvote_complete(const struct hash_vote *votes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!votes[i].came) {
            return false;
        }
    }
    return true;
}

/* Voters that hold NOTE. */
static size_t holders(const struct hash_vote *votes, size_t count, const struct hash_note *note)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        n += votes[i].came && votes[i].is_voter && hash_note_equal(&votes[i].note, note);
    }
    return n;
}

static const struct hash_note *find_truth(const struct hash_vote *votes, size_t count)
{
    size_t voters = 0;
    for (size_t i = 0; i < count; i++) {
        voters += votes[i].is_voter;
    }
    for (size_t i = 0; i < count; i++) {
        if (votes[i].came && holders(votes, count, &votes[i].note) > voters / 2) {
            return &votes[i].note;
        }
    }
    return NULL;
}

static bool differ(const struct hash_vote *votes, size_t count)
{
    const struct hash_note *first = NULL;
    for (size_t i = 0; i < count; i++) {
        if (!votes[i].came) {
            continue;
        }
        if (first != NULL && !hash_note_equal(first, &votes[i].note)) {
            return true;
        }
        first = &votes[i].note;
    }
    return false;
}

enum verdict hashvote_judge(const struct hash_vote *votes, size_t count,
                            const struct hash_note **truth)
{
    *truth = find_truth(votes, count);
    if (differ(votes, count)) {
        return *truth != NULL ? VERDICT_ODD : VERDICT_SPLIT;
    }
    return hashvote_complete(votes, count) ? VERDICT_EQUAL : VERDICT_OPEN;
}
