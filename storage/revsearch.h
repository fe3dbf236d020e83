/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_REVSEARCH_H
#define STORAGE_REVSEARCH_H

#include "storage/record.h"

/* The place of REV among COUNT things of SIZE bytes each, which begin with their revision and
 * ascend; COUNT: it is not there. Revisions are dense where nothing is compacted, so the place is
 * guessed from the distance to both ends, and guess and bisection take turns. */
static inline size_t revsearch(const void *things, size_t count, size_t size, revision_t rev)
{
#define REV_AT(i) (*(const revision_t *)(const void *)((const uint8_t *)things + (i)*size))
    size_t low = 0; /* things before are below REV */
    size_t high = count;
    bool guess = true;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        revision_t least = REV_AT(low);
        revision_t most = REV_AT(high - 1);
        if (rev < least || rev > most) {
            return count;
        }
        if (guess && most > least) {
            double part = (double)(rev - least) / (double)(most - least);
            mid = low + (size_t)(part * (double)(high - 1 - low));
        }
        guess = !guess;
        revision_t found = REV_AT(mid);
        if (found == rev) {
            return mid;
        }
        if (found < rev) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return count;
#undef REV_AT
}

#endif
