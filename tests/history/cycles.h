/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HISTORY_CYCLES_H
#define TESTS_HISTORY_CYCLES_H

#include "tests/history/cyclegraph.h"
#include "tests/history/numtable.h"
#include "tests/history/operations.h"

/* Transactions as nodes, for check_cycle.c and its parts: what each saw of the others. */
struct cycles {
    const struct operations *ops;
    struct history_report *report;
    struct cyclegraph graph;
    uint32_t nodes;          /* the first are the operations; then those that stand for moments */
    struct numtable writers; /* key, value -> the operation that writes it */
    uint64_t reads;
    bool no_memory;
};

static inline bool cycles_has(const struct cycles *c, uint32_t op, enum history_workload workload)
{
    return c->ops->ops[op].asked->workload == workload && c->ops->ops[op].asked->f == HISTORY_TXN;
}

void cycles_finding(struct cycles *c, const char *rule, uint32_t op, uint32_t other, uint32_t key,
                    uint32_t value, const char *text);
/* Who writes the value; NUMTABLE_NONE: nobody, or several. */
uint32_t cycles_known_writer(const struct cycles *c, uint32_t key, uint32_t value);
/* Who wrote the value that READER has read; NUMTABLE_NONE: nobody may have, which is reported. */
uint32_t cycles_writer(struct cycles *c, uint32_t reader, uint32_t key, uint32_t value);

/* Edges of the lists, which tell the order in which they were written ... */
void cycles_of_append(struct cycles *c);
/* ... and of plain keys: from who read and then wrote, and from revisions. */
void cycles_of_wr(struct cycles *c);

#endif
