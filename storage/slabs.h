/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_SLABS_H
#define STORAGE_SLABS_H

#include <stddef.h>

/* Memory for records, which come and go in the same order by the hundreds, a few sizes at a time.
 * Blocks of a size stand side by side in slabs, so that what is next is in the cache already, and
 * so that records do not stand between the entries of the index, page by page: both are for the
 * processor, which waits for memory more than it computes. To give a block out or back is a handful
 * of instructions; the C library's allocator merges and splits them at ten times that.
 *
 * A slab without blocks that are out goes back to the system, but for a few. One thread. */
struct slabs;

#define SLABS_SIZE_MAX 1024u

struct slabs *slabs_new(void); /* NULL: no memory */
/* No more blocks will be asked for. Memory goes when the last one has been given back. NULL
 * allowed. */
void slabs_free(struct slabs *slabs);

/* NULL: larger than SLABS_SIZE_MAX, or no memory. The caller has malloc then. */
void *slabs_alloc(struct slabs *slabs, size_t size);
void slabs_give_back(void *block);

/* Slabs that hold memory now, with blocks that are out or without. */
size_t slabs_count(const struct slabs *slabs);

#endif
