/* SPDX-License-Identifier: Apache-2.0 */
#include "base/codec.h"
#include "storage/store.h"

#define VERSION 1

void store_manifest_encode(const struct store_manifest *manifest, struct buf *buf)
{
    write_u8(buf, VERSION);
    write_u64(buf, manifest->cluster_id);
    write_u64(buf, manifest->applied_index);
    write_u64(buf, manifest->applied_term);
    write_u64(buf, (uint64_t)manifest->revision);
    write_u64(buf, (uint64_t)manifest->compacted_revision);
    write_u64(buf, manifest->hash.lo);
    write_u64(buf, manifest->hash.hi);
}

enum err store_manifest_decode(struct bytes bytes, struct store_manifest *ret)
{
    struct reader r = reader_of(bytes);
    uint8_t version = read_u8(&r);
    if (version > VERSION) {
        return ERR_VERSION;
    }
    struct store_manifest manifest = {.cluster_id = read_u64(&r)};
    manifest.applied_index = read_u64(&r);
    manifest.applied_term = read_u64(&r);
    manifest.revision = (int64_t)read_u64(&r);
    manifest.compacted_revision = (int64_t)read_u64(&r);
    manifest.hash.lo = read_u64(&r);
    manifest.hash.hi = read_u64(&r);
    if (reader_end(&r) != OK || version != VERSION) {
        return ERR_MALFORMED;
    }
    *ret = manifest;
    return OK;
}

bool store_manifest_equal(const struct store_manifest *a, const struct store_manifest *b)
{
    return a->cluster_id == b->cluster_id && a->applied_index == b->applied_index &&
           a->applied_term == b->applied_term && a->revision == b->revision &&
           a->compacted_revision == b->compacted_revision && set_hash_equal(a->hash, b->hash);
}
