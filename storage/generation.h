/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_GENERATION_H
#define STORAGE_GENERATION_H

#include "storage/record.h"

/* The lives of one key, each a run of revisions that a tombstone may end:
 *
 *   put @5   put @6   delete @9   put @12          {5 6 9†} {12}
 *
 *   find(6)  -> revision 6, created 5, version 2       compact(7)  -> {6 9†} {12}
 *   find(10) -> none                                   compact(9)  -> {9†} {12}
 *   find(12) -> revision 12, created 12, version 1     compact(10) -> {12}
 *
 * One word while it is a single put that began a life, as most keys are; else the word points to an
 * array (generation.c). All zero is a key without revisions. Owner: the key's entry in the index.
 */
struct generations {
    uint64_t word;
};

/* One revision of a key as the index knows it. */
struct version {
    revision_t rev;
    int64_t create_revision; /* 0 for a tombstone, as is version */
    int64_t version;
};

#define GENERATION_NO_GARBAGE INT64_MAX

/* Append the key's newest revision. A tombstone needs a living key. False: no memory, nothing
 * changed. */
MUST_CHECK bool generation_put(struct generations *g, revision_t rev);
MUST_CHECK bool generation_delete(struct generations *g, revision_t rev);

/* The first revision of a key that a compaction has left without its beginning; G is empty. A
 * tombstone has create_revision and version 0. */
MUST_CHECK bool generation_resume(struct generations *g, const struct version *first);

/* The newest revision, tombstone or not; 0: there is none. */
revision_t generation_last(const struct generations *g);
bool generation_alive(const struct generations *g);

/* G is about to be asked or written: let what it says of its newest revision come from memory
 * meanwhile. A while later: let the place where the next one goes come as well. */
void generation_expect(const struct generations *g);
void generation_expect_end(const struct generations *g);

/* The version that is visible at main revision AT; false: the key was not there. */
bool generation_find(const struct generations *g, int64_t at, struct version *ret);

/* The least revision at which a compaction finds something to remove, or GENERATION_NO_GARBAGE. */
int64_t generation_garbage_at(const struct generations *g);

/* Forget what nobody sees at AT or later: of the revisions up to AT all but the newest, and that
 * one too when it is a tombstone below AT (a tombstone of AT itself stays until the next
 * compaction). */
void generation_compact(struct generations *g, int64_t at);

/* Revisions that are kept. */
size_t generation_count(const struct generations *g);

void generation_fini(struct generations *g);
void generation_check(const struct generations *g);

#endif
