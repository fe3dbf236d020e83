/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_LOGSIZES_H
#define RAFT_LOGSIZES_H

#include <stddef.h>
#include <stdint.h>

/* The sizes of the log's entries, so that their sum is known whichever are forgotten at the front
 * or truncated at the end: running sums, 8 bytes an entry. */
struct logsizes {
    uint64_t *sums; /* sums[head + i]: bytes of all entries up to first_index + i */
    size_t head;
    size_t count;
    size_t cap;
    uint64_t first_index;
    uint64_t before; /* bytes up to first_index - 1 */
};

void logsizes_fini(struct logsizes *sizes);
void logsizes_reset(struct logsizes *sizes, uint64_t first_index); /* none, the next is this */
void logsizes_push(struct logsizes *sizes, uint64_t bytes);        /* no memory is fatal */
void logsizes_truncate(struct logsizes *sizes, uint64_t index);    /* index and all after it go */
void logsizes_forget(struct logsizes *sizes, uint64_t index);      /* all before index go */
uint64_t logsizes_sum(const struct logsizes *sizes);

#endif
