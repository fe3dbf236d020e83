/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_GROUP_H
#define RAFT_GROUP_H

#include "base/bytes.h"

/* A group is what the log writes at once and syncs at once: a header and any number of records.
 * It counts as a whole: a group that a crash has torn is not there.
 *
 *   group     0 u32 magic                record    0 u8  kind (enum record_kind)
 *             4 u32 bytes of records               1 u8  0
 *             8 u64 tag of the segment             2 u16 kind of the entry
 *            16 u64 number                         4 u32 length of the data
 *            24 u32 place: offset / 8              8 u64 index
 *            28 u32 number of records             16 u64 term
 *            32 u32 CRC-32C of the records        24 data, then zeros to a multiple of 8
 *            36 u32 CRC-32C of bytes 0 to 35
 *            40 records
 *
 * Numbers go on from group to group through the whole life of the log, whatever segment they are
 * in; only a group that a crash has torn gives its number to the next. The tag is secret and
 * differs from segment to segment: neither what an earlier use of the file has left behind nor a
 * client's value that looks like a group is ever taken for one. */
#define GROUP_HEADER_BYTES  40u
#define RECORD_HEADER_BYTES 24u

enum record_kind {
    RECORD_ENTRY = 1,    /* append the entry at index */
    RECORD_TRUNCATE = 2, /* remove index and everything after it */
    RECORD_STATE = 3     /* index: of the first entry; term: index of the next entry to come; data:
                            the manifest, if there is one. The first record of each segment repeats what
                            is so already; anywhere else it is a new manifest. */
};

struct record {
    enum record_kind kind;
    uint16_t entry_kind;
    uint64_t index;
    uint64_t term;
    struct bytes data;
};

/* A group that is being made. Large data is not copied: it stays where it is until group_clear. All
 * zero is a valid empty one. */
struct group {
    struct buf own;      /* headers and small data, in order */
    struct bytes *parts; /* data NULL: the next len bytes of own */
    size_t part_count;
    size_t part_cap;
    size_t bytes; /* of records */
    uint32_t count;
    bool failed; /* memory ended */
};

void group_fini(struct group *group);
void group_clear(struct group *group);
void group_add(struct group *group, const struct record *record);

/* Bytes that a record with LEN bytes of data adds. */
size_t record_bytes(size_t len);

/* Finish: *ret are the group's bytes, valid until group_clear. ERR_NOMEM. */
MUST_CHECK enum err group_seal(struct group *group, uint64_t tag, uint64_t number, uint64_t offset,
                               const struct bytes **ret, size_t *ret_count);

struct group_view {
    uint64_t number;
    uint32_t count;
    size_t bytes;         /* header included */
    struct bytes records; /* empty unless group_read found them whole */
};

/* Is there a group's header at OFFSET of FILE? The records may be damaged or missing. */
bool group_read_header(struct bytes file, uint64_t offset, uint64_t tag, struct group_view *ret);

/* Is there a whole group? */
bool group_read(struct bytes file, uint64_t offset, uint64_t tag, struct group_view *ret);

/* The next record of a group, taken off RECORDS. ERR_MALFORMED. */
MUST_CHECK enum err record_read(struct bytes *records, struct record *ret);

#endif
