/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_STATEFRAME_H
#define SERVER_STATEFRAME_H

#include "base/bytes.h"
#include "base/hash.h"
#include "base/limits.h"
#include "storage/store.h"

/* A whole database on its way to a member that the log cannot help, or that has lost its own:
 * frames of kind FRAME_APP, each what u8, number u64, and (integers little-endian, a manifest as in
 * docs/formats.md):
 *
 *   leader to follower                            follower to leader
 *   1 ask      size u64, about                    2 have     manifest of what is in its database
 *   3 offer    size u64, manifest of the copy     4 want     offset u64, again u8
 *   5 chunk    offset u64, bytes to the end
 *   6 end      size u64, digest u64 u64           7 refused  why u8
 *                                                 8 lack     index u64
 *
 * The number is the copy's, that of an ask is anything and comes back. A chunk has
 * STATE_CHUNK_BYTES, the last one what is left. The digest is the set-hash over the chunks, each by
 * its CRC-32C and its offset: it can be summed up as they come, and begun again with them. */
enum stateframe_what {
    STATE_ASK = 1,
    STATE_HAVE,
    STATE_OFFER,
    STATE_WANT,
    STATE_CHUNK,
    STATE_END,
    STATE_REFUSED,
    STATE_LACK,
};

enum state_refusal { STATE_BUSY = 1, STATE_NO_SPACE, STATE_WRONG };

struct stateframe {
    enum stateframe_what what;
    uint64_t number;
    uint64_t size_bytes;            /* ask, offer, end */
    uint64_t offset;                /* want: all before it is written; chunk */
    bool again;                     /* want: send from there on, whatever was sent */
    struct bytes chunk;             /* not empty */
    struct set_hash digest;         /* end */
    struct store_manifest manifest; /* have, offer */
    uint64_t index;                 /* lack: the least that will do; not 0 */
    enum state_refusal refusal;
};

/* ERR_MALFORMED: also sizes and offsets that no database has, and chunks of the wrong length. */
MUST_CHECK enum err stateframe_decode(struct bytes frame, struct stateframe *ret);

/* Any but a chunk; NULL: no memory. */
struct blob *stateframe_encode(const struct stateframe *frame);

/* A chunk's frame with room for LEN bytes behind STATEFRAME_CHUNK_HEAD. NULL: no memory. */
#define STATEFRAME_CHUNK_HEAD 17u
struct blob *stateframe_new_chunk(uint64_t number, uint64_t offset, size_t len);

/* Bytes of the chunk that begins at OFFSET in a file of SIZE. */
size_t stateframe_chunk_len(uint64_t offset, uint64_t size_bytes);

/* What a chunk adds to the digest. */
struct set_hash stateframe_element(uint64_t offset, struct bytes chunk);

#endif
