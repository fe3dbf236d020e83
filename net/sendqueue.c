/* SPDX-License-Identifier: Apache-2.0 */
#include "net/sendqueue.h"

#include <stdlib.h>

#include "base/assert.h"

/* Pieces of copied bytes double up to the largest size; an idle queue has none. Behind a blob a
 * small piece will do: often it holds no more than a frame's header, with the next blob behind. A
 * blob below BLOB_BYTES_MIN is copied: a part of its own would cost more. */
#define PIECE_BYTES_BETWEEN 128u
#define PIECE_BYTES_MAX     65536u
#define BLOB_BYTES_MIN      1024u

struct piece {
    struct queue link;
    struct blob *blob; /* NULL: the bytes stand in memory */
    uint8_t *data;
    size_t start; /* sent up to here */
    size_t end;   /* filled up to here */
    size_t cap;
    uint8_t memory[];
};

void sendqueue_init(struct sendqueue *q, struct mempool *pool, size_t piece_bytes_min)
{
    queue_init(&q->pieces);
    q->bytes = 0;
    q->pool = pool;
    q->piece_bytes_min = piece_bytes_min;
}

static void drop_first(struct sendqueue *q)
{
    struct piece *piece = QUEUE_ELEM(queue_pop_front(&q->pieces), struct piece, link);
    blob_unref(piece->blob);
    if (q->pool != NULL) {
        mempool_free(q->pool, piece);
    } else {
        free(piece);
    }
}

static struct piece *alloc_piece(struct sendqueue *q, size_t cap)
{
    size_t size = sizeof(struct piece) + cap;
    return q->pool != NULL ? mempool_alloc(q->pool, size) : malloc(size);
}

void sendqueue_fini(struct sendqueue *q)
{
    while (!queue_empty(&q->pieces)) {
        drop_first(q);
    }
    q->bytes = 0;
}

static struct piece *last_piece(struct sendqueue *q)
{
    return queue_empty(&q->pieces) ? NULL : QUEUE_ELEM(q->pieces.prev, struct piece, link);
}

static struct piece *piece_new(struct sendqueue *q, const struct piece *last, size_t need)
{
    size_t cap = q->piece_bytes_min;
    if (last != NULL && last->blob != NULL) {
        cap = PIECE_BYTES_BETWEEN;
    } else if (last != NULL) {
        cap = last->cap < PIECE_BYTES_MAX / 2 ? last->cap * 2 : PIECE_BYTES_MAX;
    }
    cap = cap > need ? cap : need;
    struct piece *piece = alloc_piece(q, cap);
    if (piece == NULL) {
        return NULL;
    }
    *piece = (struct piece){.data = piece->memory, .cap = cap};
    queue_push_back(&q->pieces, &piece->link);
    return piece;
}

static void fill(struct piece *piece, const uint8_t *data, size_t n)
{
    memcpy(piece->data + piece->end, data, n);
    piece->end += n;
}

bool sendqueue_copy(struct sendqueue *q, struct bytes bytes)
{
    if (bytes.len == 0) {
        return true;
    }
    struct piece *last = last_piece(q);
    size_t room = last != NULL && last->blob == NULL ? last->cap - last->end : 0;
    size_t first = bytes.len < room ? bytes.len : room;
    if (first < bytes.len) {
        struct piece *piece = piece_new(q, last, bytes.len - first);
        if (piece == NULL) {
            return false;
        }
        fill(piece, bytes.data + first, bytes.len - first);
    }
    if (first > 0) {
        fill(last, bytes.data, first);
    }
    q->bytes += bytes.len;
    return true;
}

bool sendqueue_blob(struct sendqueue *q, struct blob *blob, size_t offset, size_t len)
{
    ASSERT(offset <= blob->len);
    ASSERT(len <= blob->len - offset);
    if (len < BLOB_BYTES_MIN) {
        return sendqueue_copy(q, bytes_of(blob->data + offset, len));
    }
    struct piece *piece = alloc_piece(q, 0);
    if (piece == NULL) {
        return false;
    }
    *piece = (struct piece){
        .blob = blob_ref(blob), .data = blob->data, .start = offset, .end = offset + len};
    queue_push_back(&q->pieces, &piece->link);
    q->bytes += len;
    return true;
}

struct bytes sendqueue_front(const struct sendqueue *q, struct blob **ret_blob)
{
    const struct piece *piece = QUEUE_ELEM(q->pieces.next, struct piece, link);
    *ret_blob = piece->blob;
    return bytes_of(piece->data + piece->start, piece->end - piece->start);
}

void sendqueue_take(struct sendqueue *q, uint8_t *to, size_t n)
{
    while (n > 0) {
        struct blob *blob;
        struct bytes front = sendqueue_front(q, &blob);
        size_t some = front.len < n ? front.len : n;
        memcpy(to, front.data, some);
        sendqueue_consume(q, some);
        to += some;
        n -= some;
    }
}

/* The first piece as it is: the pools are one, and no byte of it is copied. */
static void hand_over(struct sendqueue *q, struct sendqueue *to)
{
    struct queue *link = queue_pop_front(&q->pieces);
    const struct piece *piece = QUEUE_ELEM(link, struct piece, link);
    queue_push_back(&to->pieces, link);
    q->bytes -= piece->end - piece->start;
    to->bytes += piece->end - piece->start;
}

bool sendqueue_move(struct sendqueue *q, struct sendqueue *to, size_t n)
{
    while (n > 0) {
        struct blob *blob;
        struct bytes front = sendqueue_front(q, &blob);
        size_t some = front.len < n ? front.len : n;
        if (blob != NULL && front.len == some && some >= BLOB_BYTES_MIN && q->pool == to->pool) {
            hand_over(q, to);
        } else if (blob == NULL
                       ? sendqueue_copy(to, bytes_of(front.data, some))
                       : sendqueue_blob(to, blob, (size_t)(front.data - blob->data), some)) {
            sendqueue_consume(q, some);
        } else {
            return false;
        }
        n -= some;
    }
    return true;
}

unsigned sendqueue_parts(const struct sendqueue *q, uv_buf_t *parts, unsigned max,
                         size_t *ret_bytes)
{
    unsigned count = 0;
    size_t bytes = 0;
    QUEUE_FOREACH (link, &q->pieces) {
        if (count == max) {
            break;
        }
        struct piece *piece = QUEUE_ELEM(link, struct piece, link);
        size_t n = piece->end - piece->start;
        parts[count++] = (uv_buf_t){.base = (char *)piece->data + piece->start, .len = n};
        bytes += n;
    }
    *ret_bytes = bytes;
    return count;
}

void sendqueue_consume(struct sendqueue *q, size_t n)
{
    ASSERT(n <= q->bytes);
    q->bytes -= n;
    while (n > 0) {
        struct piece *piece = QUEUE_ELEM(q->pieces.next, struct piece, link);
        size_t have = piece->end - piece->start;
        if (n < have) {
            piece->start += n;
            return;
        }
        n -= have;
        drop_first(q);
    }
}
