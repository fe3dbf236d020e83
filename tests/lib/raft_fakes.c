/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/raft_fakes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/cleanup.h"

/* ---- disk ---- */

static struct log_fake *log_of(struct raftlog *log)
{
    return CONTAINER_OF(log, struct log_fake, base);
}

static void put(struct log_fake *log, uint64_t term, uint16_t kind, struct bytes data)
{
    ASSERT(log->count < ARRAY_LEN(log->entries));
    struct blob *copy = blob_copy(data);
    ASSERT(copy != NULL);
    log->entries[log->count++] = (struct log_fake_entry){.term = term, .kind = kind, .data = copy};
    log->size_bytes += data.len;
}

void log_fake_put(struct log_fake *log, uint64_t term, uint16_t kind, struct bytes data)
{
    put(log, term, kind, data);
}

static void drop_last(struct log_fake *log)
{
    struct log_fake_entry *entry = &log->entries[--log->count];
    log->size_bytes -= entry->data->len;
    blob_unref(entry->data);
}

static void drop_first(struct log_fake *log, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        log->size_bytes -= log->entries[i].data->len;
        blob_unref(log->entries[i].data);
    }
    log->count -= count;
    log->first_index += count;
    memmove(log->entries, log->entries + count, log->count * sizeof log->entries[0]);
}

static enum err fake_load(struct raftlog *base, struct raftlog_image *ret, struct why *why)
{
    (void)why;
    struct log_fake *log = log_of(base);
    *ret = (struct raftlog_image){.term = log->term,
                                  .vote = log->vote,
                                  .snapshot = log->snapshot,
                                  .first_index = log->first_index,
                                  .entry_count = log->count};
    ret->entries = calloc(log->count + 1, sizeof *ret->entries);
    ASSERT(ret->entries != NULL);
    for (size_t i = 0; i < log->count; i++) {
        ret->entries[i] = (struct log_entry){.term = log->entries[i].term,
                                             .kind = log->entries[i].kind,
                                             .data = blob_bytes(log->entries[i].data)};
    }
    return OK;
}

static void fake_set_term(struct raftlog *base, uint64_t term)
{
    struct log_fake *log = log_of(base);
    ASSERT(term > log->term);
    log->term = term;
    log->vote = 0;
}

static void fake_set_vote(struct raftlog *base, uint64_t vote)
{
    struct log_fake *log = log_of(base);
    log->vote = vote;
    log->vote_count++;
}

static void wait(struct log_fake *log, struct raftlog_request *request, raftlog_cb cb)
{
    request->cb = cb;
    queue_push_back(&log->waiting, &request->job.link);
}

static void fake_append(struct raftlog *base, struct raftlog_request *request, uint64_t index,
                        const struct log_entry *entries, size_t count, raftlog_cb cb)
{
    struct log_fake *log = log_of(base);
    ASSERT(index == log_fake_last_index(log) + 1);
    for (size_t i = 0; i < count; i++) {
        put(log, entries[i].term, entries[i].kind, entries[i].data);
    }
    wait(log, request, cb);
}

static void fake_truncate(struct raftlog *base, uint64_t index)
{
    struct log_fake *log = log_of(base);
    log->truncations++;
    while (log->count > 0 && log_fake_last_index(log) >= index) {
        drop_last(log);
    }
}

static void fake_snapshot_put(struct raftlog *base, struct raftlog_request *request,
                              const struct log_snapshot *snapshot, uint64_t trailing, raftlog_cb cb)
{
    struct log_fake *log = log_of(base);
    struct blob *configuration = blob_copy(snapshot->configuration);
    struct blob *manifest = blob_copy(snapshot->data);
    ASSERT(configuration != NULL && manifest != NULL);
    blob_unref(log->configuration);
    blob_unref(log->manifest);
    log->configuration = configuration;
    log->manifest = manifest;
    log->snapshot = *snapshot;
    log->snapshot.configuration = blob_bytes(configuration);
    log->snapshot.data = blob_bytes(manifest);
    uint64_t keep = snapshot->index > trailing ? snapshot->index - trailing + 1 : 1;
    if (trailing == 0) {
        drop_first(log, log->count);
        log->first_index = snapshot->index + 1;
    } else if (keep > log->first_index) {
        drop_first(log, (size_t)(keep - log->first_index));
    }
    wait(log, request, cb);
}

static const struct log_snapshot *fake_snapshot(struct raftlog *base)
{
    return &log_of(base)->snapshot;
}

static uint64_t fake_size_bytes(struct raftlog *base)
{
    return log_of(base)->size_bytes;
}

static void fake_log_close(struct raftlog *base)
{
    struct log_fake *log = log_of(base);
    (void)log_fake_finish(log, SIZE_MAX);
    log->closed = true;
}

struct log_fake *log_fake_new(void)
{
    struct log_fake *log = calloc(1, sizeof *log);
    ASSERT(log != NULL);
    log->first_index = 1;
    queue_init(&log->waiting);
    return log;
}

struct raftlog *log_fake_raftlog(struct log_fake *log)
{
    static const struct raftlog_ops ops = {
        .load = fake_load,
        .set_term = fake_set_term,
        .set_vote = fake_set_vote,
        .append = fake_append,
        .truncate = fake_truncate,
        .snapshot_put = fake_snapshot_put,
        .snapshot = fake_snapshot,
        .size_bytes = fake_size_bytes,
        .close = fake_log_close,
    };
    log->base.ops = &ops;
    log->closed = false;
    return &log->base;
}

void log_fake_free(struct log_fake *log)
{
    ASSERT(queue_empty(&log->waiting));
    drop_first(log, log->count);
    blob_unref(log->configuration);
    blob_unref(log->manifest);
    free(log);
}

size_t log_fake_waiting(const struct log_fake *log)
{
    size_t count = 0;
    QUEUE_FOREACH (link, &log->waiting) {
        count++;
    }
    return count;
}

size_t log_fake_finish(struct log_fake *log, size_t count)
{
    size_t done = 0;
    while (done < count && !queue_empty(&log->waiting)) {
        struct job *job = QUEUE_ELEM(queue_pop_front(&log->waiting), struct job, link);
        struct raftlog_request *request = CONTAINER_OF(job, struct raftlog_request, job);
        request->cb(request);
        done++;
    }
    return done;
}

/* ---- network ---- */

static struct net_fake *net_of(struct transport *transport)
{
    return CONTAINER_OF(transport, struct net_fake, base);
}

static enum err fake_start(struct transport *base, const struct transport_callbacks *callbacks,
                           void *ctx, struct why *why)
{
    (void)why;
    net_of(base)->callbacks = callbacks;
    net_of(base)->ctx = ctx;
    return OK;
}

static enum err fake_add_peer(struct transport *base, uint64_t peer_id, const char *address)
{
    ASSERT(peer_id < ARRAY_LEN(net_of(base)->known));
    net_of(base)->known[peer_id] = true;
    snprintf(net_of(base)->addresses[peer_id], sizeof net_of(base)->addresses[0], "%s", address);
    return OK;
}

static void fake_review(struct transport *transport)
{
    (void)transport;
}

static void fake_remove_peer(struct transport *base, uint64_t peer_id)
{
    net_of(base)->known[peer_id] = false;
}

static bool fake_connected(struct transport *base, uint64_t peer_id)
{
    return !net_of(base)->disconnected[peer_id];
}

static bool fake_send(struct transport *base, uint64_t peer_id, enum transport_lane lane,
                      enum frame_kind kind, struct blob *payload)
{
    struct net_fake *net = net_of(base);
    if (net->disconnected[peer_id]) {
        return false;
    }
    ASSERT(net->count < ARRAY_LEN(net->frames));
    net->frames[net->count++] = (struct net_fake_frame){
        .peer = peer_id, .lane = lane, .kind = kind, .payload = blob_ref(payload)};
    return true;
}

static void fake_net_close(struct transport *base, void (*cb)(void *ctx), void *ctx)
{
    net_of(base)->closed = true;
    net_of(base)->callbacks = NULL;
    cb(ctx);
}

struct net_fake *net_fake_new(void)
{
    static const struct transport_ops ops = {
        .start = fake_start,
        .add_peer = fake_add_peer,
        .remove_peer = fake_remove_peer,
        .review = fake_review,
        .send = fake_send,
        .connected = fake_connected,
        .close = fake_net_close,
    };
    struct net_fake *net = calloc(1, sizeof *net);
    ASSERT(net != NULL);
    net->base.ops = &ops;
    return net;
}

void net_fake_free(struct net_fake *net)
{
    for (size_t i = 0; i < net->count; i++) {
        blob_unref(net->frames[i].payload);
    }
    free(net);
}

const struct net_fake_frame *net_fake_take(struct net_fake *net, uint64_t peer,
                                           enum frame_kind kind)
{
    while (net->taken < net->count) {
        const struct net_fake_frame *frame = &net->frames[net->taken++];
        if ((peer == 0 || frame->peer == peer) && (kind == 0 || frame->kind == kind)) {
            return frame;
        }
    }
    return NULL;
}

bool net_fake_take_message(struct net_fake *net, uint64_t peer, unsigned short type,
                           struct frame *ret)
{
    const struct net_fake_frame *frame;
    while ((frame = net_fake_take(net, peer, FRAME_RAFT)) != NULL) {
        enum err err = frame_decode(blob_bytes(frame->payload), ret);
        ASSERT(err == OK);
        if (type == 0 || ret->message.type == type) {
            return true;
        }
        frame_release(&ret->message);
    }
    return false;
}

void net_fake_skip(struct net_fake *net)
{
    net->taken = net->count;
}

void net_fake_say(struct net_fake *net, uint64_t peer, const struct raft_message *message,
                  const struct frame_notes *notes)
{
    static const struct frame_notes none;
    struct blob *frame = frame_encode(message, notes != NULL ? notes : &none, "somewhere:1");
    ASSERT(frame != NULL);
    net->callbacks->on_frame(net->ctx, peer, FRAME_RAFT, blob_bytes(frame));
    blob_unref(frame);
}
