/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_RAFT_FAKES_H
#define TESTS_LIB_RAFT_FAKES_H

#include "base/codec.h"
#include "raft/frame.h"
#include "raft/raftlog.h"
#include "raft/transport.h"

/* A disk and a network for one member, both under the test's command: the disk finishes what it is
 * told to, the network keeps what is sent and delivers what the test writes. What cannot be
 * allocated ends the process (fatal). */

/* ---- disk ---- */

struct log_fake_entry {
    uint64_t term;
    uint16_t kind;
    struct blob *data;
};

struct log_fake {
    struct raftlog base;
    uint64_t term;
    uint64_t vote;
    uint64_t first_index;
    struct log_fake_entry entries[4096];
    size_t count; /* asked for, finished or not */
    unsigned truncations;
    uint64_t vote_count;          /* votes that were set, over all terms */
    struct log_snapshot snapshot; /* views of these */
    struct blob *configuration;
    struct blob *manifest;
    uint64_t size_bytes;
    struct queue waiting;
    bool closed;
};

/* Made once; a member that is opened on it again finds what it had. */
struct log_fake *log_fake_new(void);
struct raftlog *log_fake_raftlog(struct log_fake *log); /* for one member's life */
void log_fake_free(struct log_fake *log);

/* Call back the first COUNT operations that wait; how many there were. */
size_t log_fake_finish(struct log_fake *log, size_t count);
size_t log_fake_waiting(const struct log_fake *log);

static inline uint64_t log_fake_last_index(const struct log_fake *log)
{
    return log->first_index + log->count - 1;
}

/* Put an entry there before a member is opened. */
void log_fake_put(struct log_fake *log, uint64_t term, uint16_t kind, struct bytes data);

/* ---- network ---- */

struct net_fake_frame {
    uint64_t peer;
    enum transport_lane lane;
    enum frame_kind kind;
    struct blob *payload;
};

struct net_fake {
    struct transport base;
    const struct transport_callbacks *callbacks;
    void *ctx;
    bool known[16];
    char addresses[16][64]; /* of those */
    bool disconnected[16];
    struct net_fake_frame frames[4096];
    size_t count;
    size_t taken; /* frames before it were looked at */
    bool closed;
};

struct net_fake *net_fake_new(void);
void net_fake_free(struct net_fake *net);

/* The next frame of KIND to PEER, or of any kind to anyone (0), among those not looked at; NULL:
 * none. What is skipped is gone. */
const struct net_fake_frame *net_fake_take(struct net_fake *net, uint64_t peer,
                                           enum frame_kind kind);
/* The next Raft message of TYPE (0: any) to PEER. Its entries point into the frame. */
bool net_fake_take_message(struct net_fake *net, uint64_t peer, unsigned short type,
                           struct frame *ret);
void net_fake_skip(struct net_fake *net);

/* PEER says MESSAGE; by way of the codec. NOTES: NULL: none. */
void net_fake_say(struct net_fake *net, uint64_t peer, const struct raft_message *message,
                  const struct frame_notes *notes);

#endif
