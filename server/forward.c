/* SPDX-License-Identifier: Apache-2.0 */
#include "server/forward.h"

#include "base/codec.h"

/* What a frame's commands may take while they are checked. The smallest operation of a transaction
 * is 4 bytes, and 152 when it is decoded; but a frame may also promise a long list again and again,
 * each time one level deeper, and have not one of them. */
#define ARENA_BASE_BYTES 65536u
#define ARENA_FACTOR     64u

bool forward_send(struct node *node, uint64_t peer_id, enum forward_what what,
                  struct bytes commands)
{
    struct blob *frame = blob_new(1 + commands.len);
    if (frame == NULL) {
        return false;
    }
    frame->data[0] = (uint8_t)what;
    memcpy(frame->data + 1, commands.data, commands.len);
    bool sent = node_send(node, peer_id, LANE_BULK, FRAME_FORWARD, frame);
    blob_unref(frame);
    return sent;
}

static enum err check_commands(struct reader *r, struct arena *arena, size_t *count)
{
    *count = 0;
    while (reader_left(r) > 0) {
        struct command_origin origin;
        struct command command;
        arena_reset(arena);
        TRY(command_decode(r, arena, &origin, &command));
        (*count)++;
    }
    return OK;
}

enum err forward_decode(struct bytes frame, struct arena *arena, enum forward_what *what,
                        struct bytes *commands, size_t *count)
{
    struct reader r = reader_of(frame);
    uint8_t kind = read_u8(&r);
    bool known =
        (kind >= FORWARD_COMMANDS && kind <= FORWARD_TOO_MANY) || kind == FORWARD_LEARNER_BEHIND;
    if (r.failed || !known) {
        return ERR_MALFORMED;
    }
    *what = kind;
    *commands = bytes_of(r.at, reader_left(&r));
    size_t own_max = arena->max_bytes;
    size_t max = ARENA_BASE_BYTES + ARENA_FACTOR * frame.len;
    arena->max_bytes = own_max == 0 || own_max > max ? max : own_max;
    enum err err = check_commands(&r, arena, count);
    arena->max_bytes = own_max;
    return err;
}
