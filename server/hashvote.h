/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_HASHVOTE_H
#define SERVER_HASHVOTE_H

#include "server/hashframe.h"

/* Who is right when members tell of the same index what they hold? As etcd decides it: what a
 * majority of the voters holds is the truth, and who holds something else is damaged, the leader
 * or a learner as well. Without such a majority nobody can tell: two of two that differ, and three
 * of three. */
struct hash_vote {
    uint64_t member_id;
    bool is_voter;
    bool came;
    bool told; /* the caller's: it was found to be odd */
    struct hash_note note;
};

enum verdict {
    VERDICT_OPEN,  /* those that came agree, but not all of them came */
    VERDICT_EQUAL, /* all came and agree */
    VERDICT_ODD,   /* a majority agrees, somebody does not */
    VERDICT_SPLIT, /* some differ, and there is no majority, or not yet */
};

bool hash_note_equal(const struct hash_note *a, const struct hash_note *b);

/* TRUTH: what the majority holds; NULL without one. */
enum verdict hashvote_judge(const struct hash_vote *votes, size_t count,
                            const struct hash_note **truth);
bool hashvote_complete(const struct hash_vote *votes, size_t count);

#endif
