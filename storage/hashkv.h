/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_HASHKV_H
#define STORAGE_HASHKV_H

#include "storage/record.h"

/* etcd's HashKV, bit for bit: CRC-32C of the bytes "key" and then, for each row in the order of
 * revisions, of what etcd would have on disk:
 *
 *   key    8 bytes main, '_', 8 bytes sub, both big endian, and 't' for a tombstone
 *   value  protobuf KeyValue: key = 1, create_revision = 2, mod_revision = 3, version = 4,
 *          value = 5, lease = 6; zeros left out; of a tombstone the key alone
 *
 * Left out are the rows that the last compaction removes, whether they are gone already or not: the
 * superseded ones up to it, and its own tombstones. Any thread. */
struct hashkv {
    uint32_t crc;
};

void hashkv_init(struct hashkv *hash);
void hashkv_add(struct hashkv *hash, revision_t rev, const struct record_header *header,
                struct bytes value);

/* The rows that compactions have superseded, of those that are read: collected first, then asked in
 * the order of revisions. All zero is an empty set. */
struct superseded {
    revision_t *revs;
    size_t count;
    size_t cap;
    size_t next;
};
/* A row up to the compacted revision supersedes PREV_REV. */
MUST_CHECK enum err superseded_add(struct superseded *set, revision_t prev_rev);
void superseded_seal(struct superseded *set);
/* Asked with ascending revisions. */
bool superseded_has(struct superseded *set, revision_t rev);
void superseded_fini(struct superseded *set);

#endif
