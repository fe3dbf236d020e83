/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_RECORD_H
#define STORAGE_RECORD_H

#include "base/bytes.h"
#include "base/limits.h"

/* One revision of one key. Made once when it is applied or read back from disk, never changed,
 * counted on the loop; worker threads read it while the loop holds a count for them.
 *
 * A revision is (main, sub): main is the store's revision, sub the place inside the operation.
 * Packed in one integer it is the row number in the log table: main << 20 | sub. */
typedef uint64_t revision_t; /* packed; 0: none */

#define REVISION_SUB_MAX ((1u << REVISION_SUB_BITS) - 1)

static inline revision_t revision_pack(int64_t main, uint32_t sub)
{
    return (uint64_t)main << REVISION_SUB_BITS | sub;
}

static inline int64_t revision_main(revision_t rev)
{
    return (int64_t)(rev >> REVISION_SUB_BITS);
}

static inline uint32_t revision_sub(revision_t rev)
{
    return (uint32_t)(rev & REVISION_SUB_MAX);
}

struct record {
    uint32_t refs;
    bool tombstone;
    bool in_slab; /* the memory is of slabs, not malloc's */
    revision_t rev;
    revision_t prev_rev;     /* the revision of the same key that this one supersedes; 0: none */
    int64_t create_revision; /* 0 in a tombstone, as are version and lease */
    int64_t version;
    int64_t lease;
    uint32_t key_len;
    uint32_t value_len;
    uint32_t value_checksum;
    uint32_t checksum; /* of the header, once it was encoded by record_seal; 0 before */
    uint8_t data[];    /* key, then value */
};

struct slabs;

/* One count, every field but refs, the lengths and the checksum zero, key and value copied. NULL:
 * no memory. */
struct record *record_new(struct bytes key, struct bytes value);
/* The same in memory of SLABS (slabs.h) if there is some for it; its last count is given back on
 * their thread. */
struct record *record_new_in(struct slabs *slabs, struct bytes key, struct bytes value);
struct record *record_ref(struct record *record);
void record_unref(struct record *record); /* NULL allowed */

static inline struct bytes record_key(const struct record *record)
{
    return bytes_of(record->data, record->key_len);
}

static inline struct bytes record_value(const struct record *record)
{
    return bytes_of(record->data + record->key_len, record->value_len);
}

static inline int64_t record_mod_revision(const struct record *record)
{
    return revision_main(record->rev);
}

/* Memory that the record takes. */
size_t record_size(const struct record *record);

/* The header column of the log table: checksums, flags, prev_rev, create_revision, version, lease,
 * key. docs/formats.md has every byte. A header checks itself, its revision included, and carries
 * the checksum of its value, so that headers can be read and trusted without their values. */
struct record_header {
    bool tombstone;
    revision_t prev_rev;
    int64_t create_revision;
    int64_t version;
    int64_t lease;
    struct bytes key;
    uint32_t value_checksum;
    uint32_t checksum; /* of revision and header, the value's checksum included: the whole row's */
};

/* Appended to BUF. Any thread that may read the record. */
void record_encode_header(const struct record *record, struct buf *buf);
/* The record is complete: from here on its header has the checksum that it has now, whatever
 * becomes of its bytes in memory. SCRATCH is overwritten; not buf_ok: no memory. */
void record_seal(struct record *record, struct buf *scratch);
/* RET's key points into HEADER. ERR_CORRUPT when a byte is not as it was written. Any thread. */
MUST_CHECK enum err record_decode_header(revision_t rev, struct bytes header,
                                         struct record_header *ret);
/* Is VALUE what was written with this header? */
bool record_value_matches(const struct record_header *header, struct bytes value);

/* A record from a row whose header was decoded and whose value matches, or was left out. NULL: no
 * memory. Any thread. */
struct record *record_of_row(revision_t rev, const struct record_header *header,
                             struct bytes value);

/* A record from a row; ERR_CORRUPT when a byte of it is not as it was written. Any thread. */
MUST_CHECK enum err record_decode(revision_t rev, struct bytes header, struct bytes value,
                                  struct record **ret);

#endif
