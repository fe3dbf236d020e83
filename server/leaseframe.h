/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_LEASEFRAME_H
#define SERVER_LEASEFRAME_H

#include "base/bytes.h"

/* Questions to the leader's clock of leases, and its answers, in FRAME_FORWARD frames whose first
 * byte is none of forward.h's:
 *
 *   question   what u8 (4 renew, 5 how much is left), number u64, ids u64 each
 *   answer     what u8 (6), number u64, answers u64 each, as many and in that order;
 *              none at all: whoever was asked does not lead, or not for certain
 *
 * A number is of one question and one sending of it, so that an answer that is late, or comes
 * twice, is known. */
enum leaseframe_what { LEASE_RENEW = 4, LEASE_REMAINING = 5, LEASE_ANSWER = 6 };

struct leaseframe {
    enum leaseframe_what what;
    uint64_t number;
    struct bytes words; /* 8 bytes each, whole */
};

/* Is it one of these? Else forward_decode knows it. */
bool leaseframe_is(struct bytes frame);

/* ERR_MALFORMED, also for a question without ids or one of more than LEASE_ASK_MAX. */
MUST_CHECK enum err leaseframe_decode(struct bytes frame, struct leaseframe *ret);
size_t leaseframe_count(const struct leaseframe *frame);
int64_t leaseframe_word(const struct leaseframe *frame, size_t i);

/* A frame with room for COUNT words, to be filled by leaseframe_set. NULL: no memory. */
struct blob *leaseframe_new(enum leaseframe_what what, uint64_t number, size_t count);
void leaseframe_set(struct blob *frame, size_t i, int64_t word);

#endif
