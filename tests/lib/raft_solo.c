/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/raft_solo.h"

#include "tests/lib/runner.h"
#include <stdlib.h>
#include <string.h>

struct raft_solo solo;

const struct node_member solo_three[3] = {
    {1, "member-1", MEMBER_VOTER}, {2, "member-2", MEMBER_VOTER}, {3, "member-3", MEMBER_VOTER}};

static void on_apply(void *ctx, uint64_t index, uint64_t term, struct bytes entry)
{
    (void)ctx;
    (void)term;
    (void)entry;
    ck_assert_uint_gt(index, solo.applied_index);
    solo.applied_index = index;
    solo.applied_count++;
}

static uint64_t on_durable_index(void *ctx)
{
    (void)ctx;
    return solo.durable_index;
}

static void on_manifest(void *ctx, uint64_t index, struct buf *data)
{
    (void)ctx;
    ck_assert_uint_le(index, solo.durable_index);
    write_u64(data, index);
    env_fake_spend(solo.env, solo.manifest_ns);
}

static enum err on_restore(void *ctx, uint64_t index, struct bytes manifest, struct why *why)
{
    (void)ctx;
    ck_assert_uint_eq(manifest.len, 8);
    ck_assert_uint_eq(get_u64(manifest.data), index);
    solo.restored_index = index;
    solo.applied_index = index;
    why_set(why, "the store is behind");
    return solo.restore_status;
}

static enum err on_may_restore(void *ctx, uint64_t index, struct why *why)
{
    (void)ctx;
    (void)index;
    (void)why;
    return solo.may_restore_status;
}

static void on_state_changed(void *ctx, enum node_role role, uint64_t term, uint64_t leader_id)
{
    (void)ctx;
    solo.states++;
    solo.role = role;
    solo.term = term;
    solo.leader_id = leader_id;
}

static void on_frame(void *ctx, uint64_t peer_id, enum frame_kind kind, struct bytes payload)
{
    (void)ctx;
    ck_assert(kind == FRAME_APP || kind == FRAME_FORWARD);
    solo.frame_peer = peer_id;
    solo.frame_byte = payload.data[0];
}

struct node_config solo_config(const struct node_member *members, size_t count)
{
    return (struct node_config){
        .env = env_fake_env(solo.env),
        .metrics = solo.metrics,
        .raftlog = log_fake_raftlog(solo.log),
        .transport = &solo.net->base,
        .id = 1,
        .bootstrap = members,
        .bootstrap_count = count,
        .heartbeat_ms = SOLO_HEARTBEAT_MS,
        .election_ms = SOLO_ELECTION_MS,
        .snapshot_entries = solo.snapshot_entries,
        .snapshot_bytes = UINT64_MAX,
        .trailing_entries = 2,
        .trailing_bytes = 1000000,
        .held_bytes = solo.held_bytes,
        .head_start = solo.head_start,
    };
}

static void on_want_state(void *ctx, uint64_t peer_id)
{
    (void)ctx;
    solo.wants++;
    solo.wanted_by = peer_id;
}

enum err solo_try_open(const struct node_member *members, size_t count, struct why *why)
{
    static struct node_callbacks callbacks = {
        .apply = on_apply,
        .durable_index = on_durable_index,
        .manifest = on_manifest,
        .restore = on_restore,
        .may_restore = on_may_restore,
        .state_changed = on_state_changed,
        .on_frame = on_frame,
    };
    callbacks.want_state = solo.sends_state ? on_want_state : NULL;
    struct node_config config = solo_config(members, count);
    return node_open(&config, &callbacks, NULL, &solo.node, why);
}

void solo_open(const struct node_member *members, size_t count)
{
    struct why why = {0};
    enum err err = solo_try_open(members, count, &why);
    ck_assert_msg(err == OK, "%s: %s", err_text(err), why.text);
    solo_settle();
}

static void on_closed(void *ctx)
{
    *(bool *)ctx = true;
}

void solo_close(void)
{
    bool closed = false;
    node_close(solo.node, on_closed, &closed);
    ck_assert(closed);
    ck_assert(solo.log->closed);
    ck_assert(solo.net->closed);
    solo.node = NULL;
    net_fake_skip(solo.net);
}

void solo_setup(void)
{
    memset(&solo, 0, sizeof solo);
    solo.env = env_fake_new(5);
    solo.log = log_fake_new();
    solo.net = net_fake_new();
    solo.snapshot_entries = UINT64_MAX;
}

void solo_teardown(void)
{
    if (solo.node != NULL) {
        solo_close();
    }
    log_fake_free(solo.log);
    net_fake_free(solo.net);
    env_fake_free(solo.env);
}

void solo_settle(void)
{
    env_fake_run(solo.env);
    while (log_fake_finish(solo.log, SIZE_MAX) > 0) {
        env_fake_run(solo.env);
    }
}

void solo_lead(bool committed)
{
    while (node_role(solo.node) != NODE_CANDIDATE) {
        env_fake_advance(solo.env, SOLO_HEARTBEAT_MS);
    }
    uint64_t term = node_term(solo.node) + 1;
    talk_grant(solo.net, 2, term, true);
    talk_grant(solo.net, 2, term, false);
    solo_settle();
    ck_assert_int_eq(node_role(solo.node), NODE_LEADER);
    if (committed) {
        talk_result(solo.net, 2, term, 0, node_last_index(solo.node));
        talk_result(solo.net, 3, term, 0, node_last_index(solo.node));
        solo_settle();
        ck_assert(node_ready(solo.node));
    }
    net_fake_skip(solo.net);
}

static void on_written(struct proposal *proposal, enum err status)
{
    (void)proposal;
    (void)status;
}

void solo_put_many(unsigned count)
{
    ck_assert_uint_le(solo.put_count + count, SOLO_PUTS_MAX);
    for (unsigned i = 0; i < count; i++) {
        struct blob *entry = blob_copy(bytes_of_str("entry"));
        ck_assert_ptr_nonnull(entry);
        node_propose(solo.node, &solo.puts[solo.put_count++], entry, on_written);
        blob_unref(entry);
    }
    solo_settle();
    talk_result(solo.net, 2, node_term(solo.node), 0, node_last_index(solo.node));
    solo_settle();
}

void solo_follow(uint64_t leader, uint64_t term)
{
    talk_append(solo.net, leader, term, 1, 1, 1, 0, 0);
    solo_settle();
    ck_assert_uint_eq(node_leader(solo.node), leader);
    net_fake_skip(solo.net);
}
