/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_HASHFRAME_H
#define SERVER_HASHFRAME_H

#include "base/bytes.h"
#include "base/hash.h"

/* Members compare their states by hashes (hashcheck.h), in FRAME_APP frames:
 *
 *   question   what u8 (16), topic u8, number u64, index u64
 *   answer     what u8 (17), topic u8, number u64, index u64, revision u64, hash u64 u64
 *
 * The first byte tells them from other frames of the kind. */
enum hashframe_what { HASH_QUESTION = 16, HASH_ANSWER = 17 };

/* What is hashed: every record that was ever applied; the rows of the small tables. */
enum hash_topic { HASH_RECORDS = 1, HASH_TABLES = 2 };
#define HASH_TOPICS 2u

/* A member's state after the entry at INDEX. */
struct hash_note {
    uint64_t index;
    int64_t revision; /* of the records; 0 for the tables */
    struct set_hash hash;
};

struct hashframe {
    enum hashframe_what what;
    enum hash_topic topic;
    uint64_t number;       /* of the question, and of its answers */
    struct hash_note note; /* a question has only the index */
};

/* Is it one of these? */
bool hashframe_is(struct bytes frame);

/* NULL: no memory. */
struct blob *hashframe_encode(const struct hashframe *frame);
/* ERR_MALFORMED, also for an index of 0 or a revision that cannot be. */
MUST_CHECK enum err hashframe_decode(struct bytes frame, struct hashframe *ret);

#endif
