/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_DISK_H
#define TESTS_LIB_DISK_H

#include <stdbool.h>

#include "base/bytes.h"

/* A disk in memory that knows what a crash may take away. It keeps two states, the one that
 * programs see and the one that is durable, and for every file and directory the operations between
 * them:
 *
 *   durable  ──▶ write ──▶ truncate ──▶ write ──▶ seen          a sync moves durable up to seen
 *                  ?           ?          ?                     a crash keeps some of these
 *
 * Files are sparse. What cannot be allocated ends the process (fatal). */
struct disk;

/* Files and directories are numbered in the order of their making. */
#define DISK_ROOT 0u
#define DISK_NONE (~0u)

enum disk_op_kind {
    DISK_LINK,     /* name -> target in directory node; target is made when it is the next number */
    DISK_UNLINK,   /* name from directory node */
    DISK_RENAME,   /* name to to_name within directory node */
    DISK_WRITE,    /* data at offset */
    DISK_TRUNCATE, /* to offset bytes */
    DISK_ALLOCATE, /* the first offset bytes */
    DISK_SYNC,     /* of a file or a directory */
    DISK_SYNC_FAILED, /* what is pending is seen, and never durable by a later sync */
};

struct disk_op {
    enum disk_op_kind kind;
    unsigned node;
    unsigned target;
    bool target_is_dir;
    char *name;
    char *to_name;
    uint64_t offset;
    uint8_t *data;
    size_t len;
};

struct disk *disk_new(void);
void disk_free(struct disk *disk); /* NULL allowed */

/* A copy of what is durable. */
struct disk *disk_copy(const struct disk *disk);

/* Do OP, which must be possible. It is kept by reference until a sync has made it durable. */
void disk_apply(struct disk *disk, const struct disk_op *op);

/* From now on FN is told of every operation that is kept no more; it may free it. */
void disk_on_release(struct disk *disk, void (*fn)(const struct disk_op *op));

/* Turn the bits of MASK in the byte at OFFSET, behind everybody's back: in what programs see and in
 * what is durable. Beyond the end, nothing happens. */
void disk_flip(struct disk *disk, unsigned node, uint64_t offset, uint8_t mask);

/* What is durable after a crash now, chosen by SEED; programs see just that afterwards.
 *
 *   0          nothing that was not synced
 *   1          everything
 *   the rest   either the operations before a random moment, the one at that moment torn at a
 * random byte; or of every operation, and of a write every sector of its own, a random subset.
 *              Names of a directory change in order in either case. */
void disk_crash(struct disk *disk, uint64_t seed);

/* What programs see. */
unsigned disk_lookup(const struct disk *disk, unsigned dir, const char *name); /* or DISK_NONE */
bool disk_is_dir(const struct disk *disk, unsigned node);
unsigned disk_next_node(const struct disk *disk);
uint64_t disk_size(const struct disk *disk, unsigned node);
size_t disk_read(const struct disk *disk, unsigned node, uint64_t offset, void *data, size_t len);
size_t disk_name_count(const struct disk *disk, unsigned dir);
const char *disk_name(const struct disk *disk, unsigned dir, size_t i); /* in order of bytes */

/* Bytes that files hold or have allocated; and how many more LEN bytes at OFFSET would need. */
uint64_t disk_used_bytes(const struct disk *disk);
uint64_t disk_bytes_needed(const struct disk *disk, unsigned node, uint64_t offset, uint64_t len);

#endif
