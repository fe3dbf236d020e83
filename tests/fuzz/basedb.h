/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FUZZ_BASEDB_H
#define TESTS_FUZZ_BASEDB_H

#include "base/codec.h"
#include "storage/store.h"

/* A small database as a member's copy is, and ways to damage it. Made once, always the same: keys
 * that were put, put again, deleted and made anew, one with a value of several pages, a lease, a
 * compaction, rows in every small table. */
#define BASEDB_CLUSTER_ID 7u
#define BASEDB_MEMBER_ID  1u
#define BASEDB_INDEX      40u /* the last entry in it */
#define BASEDB_PAGE_BYTES 4096u

struct basedb {
    struct buf content;
    struct store_manifest manifest;
};
const struct basedb *basedb_get(void);

/* Apply ENTRY, one of 1 to BASEDB_INDEX, to a store that has those before it. */
void basedb_apply(struct store *store, uint64_t index);

/* A copy of the content in RET, changed by the steps that INPUT goes on with: a byte that says what
 * (enum basedb_step, modulo), and what that needs. */
enum basedb_step {
    BASEDB_END,   /* no more of them */
    BASEDB_BYTES, /* page u8, offset u16, length u8, bytes */
    BASEDB_FLIP,  /* page u8, offset u16, mask u8 */
    BASEDB_PAGE,  /* page u8, page u8: the first becomes as the second */
    BASEDB_CUT,   /* pages u8, offset u16: ends there */
    BASEDB_GROW,  /* length u16: of ones behind it */
    BASEDB_STEP_COUNT
};
void basedb_damage(struct reader *input, struct buf *ret);

#endif
