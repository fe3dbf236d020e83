/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_SENDQUEUE_H
#define NET_SENDQUEUE_H

#include <uv.h>

#include "base/bytes.h"
#include "base/queue.h"
#include "net/mempool.h"

/* What a connection has yet to send: copied bytes in pieces that fill up, and counted blobs between
 * them. Bytes leave at the front only after the kernel took them, so an unfinished write may point
 * into the pieces while more is added behind. */
struct sendqueue {
    struct queue pieces;
    struct mempool *pool; /* of the pieces; NULL: malloc */
    size_t bytes;
    size_t piece_bytes_min; /* of the first piece of copied bytes */
};

/* PIECE_BYTES_MIN: what is expected to be copied at once; 0: exactly what comes first. */
void sendqueue_init(struct sendqueue *q, struct mempool *pool, size_t piece_bytes_min);
void sendqueue_fini(struct sendqueue *q);

/* False: no memory, and nothing was added. */
bool sendqueue_copy(struct sendqueue *q, struct bytes bytes);
bool sendqueue_blob(struct sendqueue *q, struct blob *blob, size_t offset, size_t len);

/* The first bytes that lie together, and whose they are (NULL: the queue's); the queue is not
 * empty.
 */
struct bytes sendqueue_front(const struct sendqueue *q, struct blob **ret_blob);

/* Copy the first N bytes out and consume them. */
void sendqueue_take(struct sendqueue *q, uint8_t *to, size_t n);

/* The first N bytes become the last ones of TO: blobs change hands, other bytes are copied. False:
 * no memory, and some may have. */
bool sendqueue_move(struct sendqueue *q, struct sendqueue *to, size_t n);

/* The first bytes as at most MAX parts: the count of parts, and *ret_bytes in them. */
unsigned sendqueue_parts(const struct sendqueue *q, uv_buf_t *parts, unsigned max,
                         size_t *ret_bytes);
void sendqueue_consume(struct sendqueue *q, size_t n);

#endif
