/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_NODE_FAKE_H
#define TESTS_LIB_NODE_FAKE_H

#include "raft/node.h"

/* A node behind the door of the real one (raft/node.h) that does what the test says and nothing by
 * itself: it keeps what was proposed, read and sent until the test answers. For tests of what
 * stands upon a node (link it before raft/libraft.a). It holds its callers to the door's rules:
 * what is asked of a node that is closing is fatal. What cannot be allocated ends the process. */

/* A node of its own, without callbacks to the layers above. Follower of nobody, term 1. */
struct node *node_fake_new(struct env *env, uint64_t id);
void node_fake_free(struct node *node); /* nothing may wait */

/* Who leads: LEADER_ID may be the node's own id, or 0. The layer above is told. */
void node_fake_set_leader(struct node *node, uint64_t term, uint64_t leader_id);
/* The same, but the layer above hears of it later, as of the real one: node_fake_tell. */
void node_fake_set_leader_untold(struct node *node, uint64_t term, uint64_t leader_id);
void node_fake_tell(struct node *node);

/* Is the first entry of its term applied, when it leads? As long as the test does not say no. */
void node_fake_set_ready(struct node *node, bool ready);

/* What was proposed, oldest first, until it is answered. */
size_t node_fake_proposal_count(const struct node *node);
struct bytes node_fake_entry(const struct node *node, size_t i);

/* Answer the oldest: commit applies it before; refuse does not. */
void node_fake_commit(struct node *node);
void node_fake_refuse(struct node *node, enum err status);
/* Apply an entry that another member proposed. */
void node_fake_apply(struct node *node, struct bytes entry);

/* Reads that wait, and an answer to all of them. */
size_t node_fake_read_count(const struct node *node);
void node_fake_answer_reads(struct node *node, enum err status);

/* Frames to other members: kept in order until they are taken, or dropped when not connected. */
struct node_frame {
    uint64_t peer_id;
    enum transport_lane lane;
    enum frame_kind kind;
    struct blob *payload; /* the taker's */
};
void node_fake_set_connected(struct node *node, bool connected);
size_t node_fake_frame_count(const struct node *node);
struct node_frame node_fake_take_frame(struct node *node);
/* A frame from another member. */
void node_fake_deliver(struct node *node, uint64_t peer_id, enum frame_kind kind,
                       struct bytes payload);

/* Does PEER need a state, and from which index on does the log hold what follows one? What was
 * said of it to the node. */
void node_fake_need_state(struct node *node, uint64_t peer_id, bool needs);
void node_fake_set_log_start(struct node *node, uint64_t index);
uint64_t node_fake_held_index(const struct node *node); /* by the last node_hold_state */
size_t node_fake_install_count(const struct node *node);
uint64_t node_fake_installed_index(const struct node *node); /* by the last node_install */

/* Its store ends before its log begins, at INDEX; 0, and after node_filled: it does not. */
void node_fake_set_bare(struct node *node, uint64_t index);

/* Was a transfer of leadership asked for? And its outcome. */
bool node_fake_transferring(const struct node *node);
uint64_t node_fake_transfer_target(const struct node *node); /* 0: anybody */
void node_fake_finish_transfer(struct node *node, enum err status);

/* The change of the configuration that was asked for, until it is answered; NULL: none. And the
 * configuration, whose addresses the test keeps. */
struct node_fake_change {
    enum change_kind kind;
    uint64_t id;
    char address[256]; /* of one that is added */
};
const struct node_fake_change *node_fake_change(const struct node *node);
void node_fake_finish_change(struct node *node, enum err status);
void node_fake_set_members(struct node *node, const struct node_member *members, size_t count);
/* Is the configuration committed? As long as the test does not say no. */
void node_fake_set_settled(struct node *node, bool settled);
void node_fake_set_peer(struct node *node, uint64_t id, uint64_t connected_ms,
                        uint64_t match_index);

/* Is it being closed? And the end: everything is called back with ERR_STOPPED, the memory goes. */
bool node_fake_closing(const struct node *node);
void node_fake_finish_close(struct node *node);

/* The callbacks and configuration given to node_open, to call them as the core would. */
const struct node_callbacks *node_fake_callbacks(const struct node *node);
void *node_fake_ctx(const struct node *node);

/* The next node_open fails. */
void node_fake_fail_open(enum err err);

#endif
