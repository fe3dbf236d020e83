/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/frame.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/codec.h"
#include "base/limits.h"
#include "raft/confhist.h"

#define ENTRY_HEAD_BYTES   13u /* term, kind, length */
#define MANIFEST_BYTES_MAX (1024u * 1024)
#define INDEX_MAX          (1ull << 62) /* nothing that counts entries ever gets there */

enum { VOTE_DISRUPT = 1, VOTE_PRE = 2 };

static_assert(APPEND_BYTES_MAX + ENTRY_BYTES_MAX < PEER_FRAME_BYTES_MAX,
              "an append message with one entry more than its limit is still a frame");

static struct bytes address_of(const char *address)
{
    struct bytes bytes = bytes_of_str(address);
    ASSERT(bytes.len < sizeof((struct frame *)0)->address);
    return bytes;
}

size_t frame_append_size(const struct raft_append_entries *append, const char *address)
{
    size_t address_len = strlen(address);
    size_t size = 1 + 5 * 8 + varint_size(address_len) + address_len + 4;
    for (unsigned i = 0; i < append->n_entries; i++) {
        size += ENTRY_HEAD_BYTES + append->entries[i].buf.len;
    }
    return size;
}

static void encode_append(struct buf *buf, const struct raft_append_entries *append,
                          uint64_t replicated_index, const char *address)
{
    write_u64(buf, append->term);
    write_u64(buf, append->prev_log_index);
    write_u64(buf, append->prev_log_term);
    write_u64(buf, append->leader_commit);
    write_u64(buf, replicated_index);
    write_var_bytes(buf, address_of(address));
    write_u32(buf, append->n_entries);
    for (unsigned i = 0; i < append->n_entries; i++) {
        const struct raft_entry *entry = &append->entries[i];
        ASSERT(entry->buf.len <= ENTRY_BYTES_MAX);
        write_u64(buf, entry->term);
        write_u8(buf, (uint8_t)entry->type);
        write_u32(buf, (uint32_t)entry->buf.len);
        buf_append(buf, entry->buf.base, entry->buf.len);
    }
}

static void encode_vote(struct buf *buf, const struct raft_request_vote *vote, const char *address)
{
    write_u64(buf, vote->term);
    write_u64(buf, vote->candidate_id);
    write_u64(buf, vote->last_log_index);
    write_u64(buf, vote->last_log_term);
    write_u8(buf, (uint8_t)((vote->disrupt_leader ? VOTE_DISRUPT : 0) |
                            (vote->pre_vote ? VOTE_PRE : 0)));
    write_var_bytes(buf, address_of(address));
}

static void encode_snapshot(struct buf *buf, const struct raft_install_snapshot *snapshot,
                            const char *address)
{
    write_u64(buf, snapshot->term);
    write_u64(buf, snapshot->last_index);
    write_u64(buf, snapshot->last_term);
    write_u64(buf, snapshot->conf_index);
    struct raft_buffer conf = configuration_encode(&snapshot->conf);
    write_var_bytes(buf, bytes_of(conf.base, conf.len));
    raft_free(conf.base);
    ASSERT(snapshot->data.len <= MANIFEST_BYTES_MAX);
    write_var_bytes(buf, bytes_of(snapshot->data.base, snapshot->data.len));
    write_var_bytes(buf, address_of(address));
}

static void encode(struct buf *buf, const struct raft_message *message,
                   const struct frame_notes *notes, const char *address)
{
    write_u8(buf, (uint8_t)message->type);
    switch (message->type) {
    case RAFT_IO_APPEND_ENTRIES:
        encode_append(buf, &message->append_entries, notes->replicated_index, address);
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        write_u64(buf, message->append_entries_result.term);
        write_u64(buf, message->append_entries_result.rejected);
        write_u64(buf, message->append_entries_result.last_log_index);
        write_u64(buf, notes->last_term);
        write_u64(buf, notes->received_index);
        break;
    case RAFT_IO_REQUEST_VOTE:
        encode_vote(buf, &message->request_vote, address);
        break;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        write_u64(buf, message->request_vote_result.term);
        write_u8(buf, message->request_vote_result.vote_granted);
        write_u8(buf, (uint8_t)message->request_vote_result.pre_vote);
        break;
    case RAFT_IO_INSTALL_SNAPSHOT:
        encode_snapshot(buf, &message->install_snapshot, address);
        break;
    case RAFT_IO_TIMEOUT_NOW:
        write_u64(buf, message->timeout_now.term);
        write_u64(buf, message->timeout_now.last_log_index);
        write_u64(buf, message->timeout_now.last_log_term);
        break;
    default:
        fatal("a Raft message of unknown type %d", message->type);
    }
}

/* Large messages are written where they stay; the small ones go by way of the stack. */
struct blob *frame_encode(const struct raft_message *message, const struct frame_notes *notes,
                          const char *address)
{
    if (message->type == RAFT_IO_APPEND_ENTRIES) {
        size_t size = frame_append_size(&message->append_entries, address);
        struct blob *blob = blob_new(size);
        if (blob == NULL) {
            return NULL;
        }
        struct buf buf = {.data = blob->data, .cap = size};
        encode(&buf, message, notes, address);
        ASSERT(buf.data == blob->data && buf.len == size);
        return blob;
    }
    struct buf buf = {0};
    encode(&buf, message, notes, address);
    struct blob *blob = buf_ok(&buf) ? blob_copy(buf_bytes(&buf)) : NULL;
    buf_fini(&buf);
    return blob;
}

static bool entry_is_sane(const struct raft_entry *entry, uint64_t term_min, uint64_t term_max)
{
    if (entry->type != RAFT_COMMAND && entry->type != RAFT_BARRIER && entry->type != RAFT_CHANGE) {
        return false;
    }
    if (entry->term < term_min || entry->term > term_max) {
        return false;
    }
    return entry->type != RAFT_CHANGE ||
           configuration_check(bytes_of(entry->buf.base, entry->buf.len));
}

static void decode_entries(struct reader *r, struct raft_append_entries *append, uint32_t count)
{
    append->entries = raft_malloc(count * sizeof *append->entries);
    ASSERT(append->entries != NULL); /* the heap is ours: no memory is fatal there */
    uint64_t term_min = append->prev_log_term;
    for (uint32_t i = 0; i < count && !r->failed; i++) {
        struct raft_entry *entry = &append->entries[i];
        entry->term = read_u64(r);
        entry->type = read_u8(r);
        uint32_t len = read_u32(r);
        struct bytes data = read_bytes(r, len);
        entry->buf.base = (void *)(uintptr_t)data.data; /* the core only reads and copies it */
        entry->buf.len = data.len;
        entry->batch = NULL;
        if (r->failed || len > ENTRY_BYTES_MAX || !entry_is_sane(entry, term_min, append->term)) {
            reader_fail(r);
            return;
        }
        term_min = entry->term;
    }
    append->n_entries = count;
}

static void decode_address(struct reader *r, struct frame *frame)
{
    struct bytes address = read_var_bytes(r, sizeof frame->address - 1);
    if (address.len > 0) {
        if (memchr(address.data, 0, address.len) != NULL) {
            reader_fail(r);
            return;
        }
        memcpy(frame->address, address.data, address.len);
    }
    frame->address[address.len] = 0;
}

static void decode_append(struct reader *r, struct frame *frame)
{
    struct raft_append_entries *append = &frame->message.append_entries;
    append->term = read_u64(r);
    append->prev_log_index = read_u64(r);
    append->prev_log_term = read_u64(r);
    append->leader_commit = read_u64(r);
    frame->notes.replicated_index = read_u64(r);
    decode_address(r, frame);
    uint32_t count = read_u32(r);
    bool sane = (append->prev_log_index == 0) == (append->prev_log_term == 0) &&
                append->prev_log_term <= append->term && append->prev_log_index < INDEX_MAX &&
                count <= reader_left(r) / ENTRY_HEAD_BYTES;
    if (r->failed || !sane) {
        reader_fail(r);
    } else if (count > 0) {
        decode_entries(r, append, count);
    }
}

static void decode_result(struct reader *r, struct frame *frame)
{
    struct raft_append_entries_result *result = &frame->message.append_entries_result;
    result->term = read_u64(r);
    result->rejected = read_u64(r);
    result->last_log_index = read_u64(r);
    frame->notes.last_term = read_u64(r);
    frame->notes.received_index = read_u64(r);
    if (result->rejected >= INDEX_MAX || result->last_log_index >= INDEX_MAX) {
        reader_fail(r);
    }
}

static void decode_vote(struct reader *r, struct frame *frame)
{
    struct raft_request_vote *vote = &frame->message.request_vote;
    vote->term = read_u64(r);
    vote->candidate_id = read_u64(r);
    vote->last_log_index = read_u64(r);
    vote->last_log_term = read_u64(r);
    uint8_t flags = read_u8(r);
    vote->disrupt_leader = (flags & VOTE_DISRUPT) != 0;
    vote->pre_vote = (flags & VOTE_PRE) != 0;
    decode_address(r, frame);
    if (vote->candidate_id == 0 || flags > (VOTE_DISRUPT | VOTE_PRE)) {
        reader_fail(r);
    }
}

static void decode_vote_result(struct reader *r, struct frame *frame)
{
    struct raft_request_vote_result *result = &frame->message.request_vote_result;
    result->term = read_u64(r);
    uint8_t granted = read_u8(r);
    uint8_t pre_vote = read_u8(r);
    if (granted > 1 || pre_vote > raft_tribool_false) {
        reader_fail(r);
        return;
    }
    result->vote_granted = granted != 0;
    result->pre_vote = (raft_tribool)pre_vote;
}

static void decode_snapshot(struct reader *r, struct frame *frame)
{
    struct raft_install_snapshot *snapshot = &frame->message.install_snapshot;
    snapshot->term = read_u64(r);
    snapshot->last_index = read_u64(r);
    snapshot->last_term = read_u64(r);
    snapshot->conf_index = read_u64(r);
    struct bytes conf = read_var_bytes(r, CONFIGURATION_BYTES_MAX);
    struct bytes data = read_var_bytes(r, MANIFEST_BYTES_MAX);
    decode_address(r, frame);
    bool sane = snapshot->last_index > 0 && snapshot->last_index < INDEX_MAX &&
                snapshot->last_term > 0 && snapshot->last_term <= snapshot->term &&
                snapshot->conf_index <= snapshot->last_index;
    if (r->failed || !sane || configuration_decode(conf, &snapshot->conf) != OK) {
        reader_fail(r);
        return;
    }
    snapshot->data.base = raft_malloc(data.len > 0 ? data.len : 1);
    ASSERT(snapshot->data.base != NULL);
    snapshot->data.len = data.len;
    if (data.len > 0) {
        memcpy(snapshot->data.base, data.data, data.len);
    }
}

static void decode_timeout_now(struct reader *r, struct frame *frame)
{
    struct raft_timeout_now *timeout_now = &frame->message.timeout_now;
    timeout_now->term = read_u64(r);
    timeout_now->last_log_index = read_u64(r);
    timeout_now->last_log_term = read_u64(r);
}

enum err frame_decode(struct bytes bytes, struct frame *ret)
{
    static void (*const decoders[])(struct reader * r, struct frame * frame) = {
        [RAFT_IO_APPEND_ENTRIES] = decode_append,
        [RAFT_IO_APPEND_ENTRIES_RESULT] = decode_result,
        [RAFT_IO_REQUEST_VOTE] = decode_vote,
        [RAFT_IO_REQUEST_VOTE_RESULT] = decode_vote_result,
        [RAFT_IO_INSTALL_SNAPSHOT] = decode_snapshot,
        [RAFT_IO_TIMEOUT_NOW] = decode_timeout_now,
    };
    struct frame frame;
    memset(&frame.message, 0, sizeof frame.message);
    frame.notes = (struct frame_notes){0};
    frame.address[0] = 0;
    struct reader r = reader_of(bytes);
    uint8_t type = read_u8(&r);
    if (type == 0 || type >= ARRAY_LEN(decoders)) {
        return ERR_MALFORMED;
    }
    frame.message.type = type;
    decoders[type](&r, &frame);
    enum err err = reader_end(&r);
    if (err != OK) {
        frame_release(&frame.message);
        return err;
    }
    *ret = frame;
    return OK;
}

uint64_t frame_term(const struct raft_message *message)
{
    switch (message->type) {
    case RAFT_IO_APPEND_ENTRIES:
        return message->append_entries.term;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        return message->append_entries_result.term;
    case RAFT_IO_REQUEST_VOTE:
        return message->request_vote.term;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        return message->request_vote_result.term;
    case RAFT_IO_INSTALL_SNAPSHOT:
        return message->install_snapshot.term;
    default:
        return message->timeout_now.term;
    }
}

void frame_release(struct raft_message *message)
{
    if (message->type == RAFT_IO_APPEND_ENTRIES) {
        raft_free(message->append_entries.entries);
        message->append_entries.entries = NULL;
        message->append_entries.n_entries = 0;
    } else if (message->type == RAFT_IO_INSTALL_SNAPSHOT) {
        raft_configuration_close(&message->install_snapshot.conf);
        raft_free(message->install_snapshot.data.base);
        message->install_snapshot.data.base = NULL;
    }
}
