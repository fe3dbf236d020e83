/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_SEGMENT_H
#define RAFT_SEGMENT_H

#include <stdatomic.h>

#include "base/fs.h"
#include "base/queue.h"
#include "raft/group.h"

/* One file of the log: "segment-" and its id in 16 hex digits. It has its full size, and its size
 * and name are durable, before the log uses it; so an append changes bytes of the file and nothing
 * else, and a file that is shorter than its header says is damaged.
 *
 *      0 u64 magic                              one page for the header, so that appends never
 *      8 u32 version                            write to the same sector
 *     12 u32 0
 *     16 u64 cluster id
 *     24 u64 member id
 *     32 u64 segment id
 *     40 u64 size of the file
 *     48 u32 0
 *     52 u32 CRC-32C of bytes 0 to 51           at this place in every version
 *   4096 groups, one after the other            what follows the last one has no meaning
 *
 * A file that the log needs no more is used again under a new id: header first, then the name. In
 * between they disagree, and the file counts as one that is being made. */
#define SEGMENT_DATA_OFFSET 4096u
#define SEGMENT_BYTES_MIN   (2u * SEGMENT_DATA_OFFSET)

/* Where the log lives; shared by its threads. */
struct logdir {
    struct fs *fs;
    const char *path;
    uint64_t cluster_id;
    uint64_t member_id;
    uint64_t salt;          /* secret of this log, from its metadata */
    uint64_t segment_bytes; /* size of an ordinary segment */
    bool no_sync;           /* for benchmarks: a power failure loses what it likes */
    _Atomic uint64_t next_id;
};

MUST_CHECK enum err logdir_sync(const struct logdir *dir, struct why *why);
MUST_CHECK enum err logdir_sync_file(const struct logdir *dir, struct fs_file *file,
                                     struct why *why);

/* One owner and thread at a time: the log thread, or the one that prepares and removes. */
struct segment {
    struct queue link;
    struct segment *next; /* while on its way between threads */
    struct fs_file *file;
    uint64_t id;
    uint64_t tag;        /* of its groups */
    uint64_t size;       /* of the file */
    uint64_t end;        /* where the next group goes */
    uint64_t last_index; /* the highest index of an entry that was written here */
    char path[];
};

/* Make one of SIZE bytes, durably. ZEROED: write the zeros, in pieces, so that appends are plain
 * overwrites (without, each sync of a first append also commits to the file system's journal:
 * 5,000 syncs a second instead of 9,000). ERR_NO_SPACE leaves nothing behind. */
MUST_CHECK enum err segment_create(struct logdir *dir, uint64_t size, bool zeroed,
                                   struct segment **ret, struct why *why);

/* Make a new one out of one that the log needs no more. */
MUST_CHECK enum err segment_recycle(struct logdir *dir, struct segment **segment, struct why *why);

/* Close and remove the file; the name is gone for sure after logdir_sync. Frees the segment. */
MUST_CHECK enum err segment_remove(struct logdir *dir, struct segment *segment, struct why *why);

void segment_close(struct segment *segment); /* NULL allowed */
void segment_closep(struct segment **segment);
void segment_close_all(struct segment *segments); /* linked by next */

/* Write GROUP at the end, as NUMBER, and sync. The caller has seen to the room. Any error ends the
 * use of the file. */
MUST_CHECK enum err segment_write(const struct logdir *dir, struct segment *segment,
                                  struct group *group, uint64_t number, struct why *why);
static inline uint64_t segment_room(const struct segment *segment)
{
    return segment->size - segment->end;
}

/* For the start: is NAME a segment's, and with which id? */
bool segment_parse_name(const char *name, uint64_t *id);

/* Open the file with this id and read all of it into memory that ALLOC gives. *in_use false: the
 * header is not one (of this id), so the file was being made, or is damaged. ERR_FOREIGN,
 * ERR_VERSION, ERR_CORRUPT when it is shorter than it was made. */
MUST_CHECK enum err segment_load(struct logdir *dir, uint64_t id,
                                 uint8_t *(*alloc)(void *ctx, size_t size), void *ctx,
                                 struct segment **ret, struct bytes *content, bool *in_use,
                                 struct why *why);

/* Make sure that no group is found at OFFSET, of which part may be on disk. Not yet durable. */
MUST_CHECK enum err segment_erase(struct segment *segment, uint64_t offset, struct why *why);

#endif
