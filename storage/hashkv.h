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
 * Left out are, of the rows up to the compacted revision, those that are not the newest of their
 * key at the REVISION THAT IS HASHED (not at the compacted one), and tombstones: so a hash changes
 * when a key that lived through the compaction is written again. With one exception, which is
 * etcd's too: when no key at all is alive at the hashed revision, everything counts that the
 * compaction kept. Any thread. */
struct hashkv {
    uint32_t crc;
};

void hashkv_init(struct hashkv *hash);
void hashkv_add(struct hashkv *hash, revision_t rev, const struct record_header *header,
                struct bytes value);

/* Superseded rows, of those that are read: collected first, then asked in the order of revisions.
 * All zero is an empty set. */
struct superseded {
    revision_t *revs;
    size_t count;
    size_t cap;
    size_t next;
};
MUST_CHECK enum err superseded_add(struct superseded *set, revision_t prev_rev);
void superseded_seal(struct superseded *set);
/* It is asked from the beginning again. */
void superseded_rewind(struct superseded *set);
/* Asked with ascending revisions. */
bool superseded_has(struct superseded *set, revision_t rev);
void superseded_fini(struct superseded *set);

#endif
