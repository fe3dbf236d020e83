/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_BATCHES_H
#define TESTS_LIB_BATCHES_H

#include "storage/backend.h"

/* What a store would hand to its backend, made up from a seed: puts and deletes of a few keys,
 * changes of the small tables, compactions; and, beside it, what the database must hold after the
 * first N of them. What cannot be made ends the process (fatal). */
struct batches {
    struct backend_batch *items; /* applied_index of items[i].state is i + 1 */
    size_t count;
    struct record **records; /* of all batches, in revision order */
    size_t record_count;
    struct backend_change *changes;
    size_t change_count;
    struct made *made; /* of each record: see batches.c */
    size_t written;
};

struct batches_config {
    uint64_t seed;
    size_t count;
    unsigned keys;           /* 0: 20 */
    unsigned records_max;    /* of a batch; 0: 6 */
    unsigned value_max;      /* bytes; 0: 100 */
    unsigned compact_one_in; /* batches; 0: never */
};

struct batches *batches_new(const struct batches_config *config);
void batches_free(struct batches *batches); /* NULL allowed; no batch may be out */

/* Hand over batch I; its status is OK when it has been written. */
void batches_write(struct batches *batches, size_t i, struct backend *backend);
/* How many have been written. */
size_t batches_written(const struct batches *batches);

/* Rows as a backend gives them. */
struct row_log {
    struct backend_row *rows;
    size_t count;
    size_t cap;
};
/* A backend_rows_cb whose ctx is a row_log: keeps copies. */
enum err row_log_add(void *ctx, const struct backend_row *rows, size_t count);
void row_log_fini(struct row_log *log);

/* Does LOG hold what the first N batches leave, removals of their compactions done not at all,
 * partly or, up to REMOVED_REVISION (-1: none), wholly? NULL, or what is wrong (static text).
 * Values are compared where the rows have them. */
const char *batches_compare(const struct batches *batches, size_t n, const struct row_log *log,
                            int64_t removed_revision);
/* The same of the small tables, asked of the backend. */
const char *batches_compare_tables(const struct batches *batches, size_t n,
                                   struct backend *backend);

#endif
