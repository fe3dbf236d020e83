/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/node.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/env_real.h"
#include "base/fs_real.h"
#include "base/hash.h"
#include "raft/raftlog_files.h"
#include "raft/transport_tcp.h"
#include "tests/lib/runner.h"
#include "tests/lib/tmpdir.h"

/* The core, the guard, the log on disk and TCP together: three members in one process, real files,
 * threads, sockets and time. What one member has applied, all have, in the same order. */

#define MEMBERS 3
#define DEPTH   4

static uv_loop_t loop;
static struct env_real *real;
static struct env *env;

struct member {
    uint64_t id;
    char address[32];
    uint16_t port;
    struct raftlog *raftlog;
    struct node *node;
    uint64_t applied;   /* index of the last entry */
    uint64_t hash;      /* of all values, in order */
    uint64_t count;     /* of values */
    uint64_t snapshots; /* given to the log */
    bool joins;         /* it knows no first configuration */
};
static struct member members[MEMBERS];

static struct {
    uint64_t wanted;
    uint64_t proposed;
    uint64_t acked;
    struct member *to;
    size_t size;
} load;

static void on_apply(void *ctx, uint64_t index, uint64_t term, struct bytes entry)
{
    (void)term;
    struct member *m = ctx;
    ck_assert_uint_gt(index, m->applied);
    m->applied = index;
    for (size_t i = 0; i < entry.len; i++) {
        m->hash = mix64(m->hash + entry.data[i]);
    }
    m->count += entry.len > 0;
}

static uint64_t on_durable_index(void *ctx)
{
    const struct member *m = ctx;
    return m->applied;
}

/* The whole state is in the manifest, so that a member can begin with it. */
static void on_manifest(void *ctx, uint64_t index, struct buf *data)
{
    struct member *m = ctx;
    ck_assert_uint_eq(index, m->applied);
    m->snapshots++;
    buf_append(data, &m->applied, sizeof m->applied);
    buf_append(data, &m->hash, sizeof m->hash);
    buf_append(data, &m->count, sizeof m->count);
}

static enum err on_restore(void *ctx, uint64_t index, struct bytes manifest, struct why *why)
{
    (void)why;
    struct member *m = ctx;
    ck_assert_uint_eq(manifest.len, 24);
    memcpy(&m->applied, manifest.data, 8);
    memcpy(&m->hash, manifest.data + 8, 8);
    memcpy(&m->count, manifest.data + 16, 8);
    ck_assert_uint_eq(index, m->applied);
    return OK;
}

static void on_state(void *ctx, enum node_role role, uint64_t term, uint64_t leader_id)
{
    (void)ctx;
    (void)role;
    (void)term;
    (void)leader_id;
}

static void on_frame(void *ctx, uint64_t peer_id, enum frame_kind kind, struct bytes payload)
{
    (void)ctx;
    (void)peer_id;
    (void)kind;
    (void)payload;
}

static const struct node_callbacks callbacks = {
    .apply = on_apply,
    .durable_index = on_durable_index,
    .manifest = on_manifest,
    .restore = on_restore,
    .state_changed = on_state,
    .on_frame = on_frame,
};

static void wake_up(struct env_timer *timer)
{
    (void)timer;
}

#define WAIT_FOR(condition)                                                        \
    do {                                                                           \
        uint64_t until_ms_ = env_now_ms(env) + runner_patience_ms();               \
        struct env_timer timer_;                                                   \
        env_timer_init(&timer_, wake_up);                                          \
        while (!(condition)) {                                                     \
            env_timer_start(env, &timer_, 20);                                     \
            uv_run(&loop, UV_RUN_ONCE);                                            \
            ck_assert_msg(env_now_ms(env) < until_ms_, "in vain: %s", #condition); \
        }                                                                          \
        env_timer_stop(env, &timer_);                                              \
    } while (0)

/* A port that is free now. */
static uint16_t free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, len), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    close(fd);
    return ntohs(at.sin_port);
}

static void open_parts(struct member *m, struct transport **transport)
{
    struct why why = {0};
    char name[16];
    snprintf(name, sizeof name, "m%u", (unsigned)m->id);
    CLEANUP(freep) char *dir = strdup(tmpdir_path(name));
    struct raftlog_files_config log_config = {.env = env,
                                              .fs = fs_real(),
                                              .dir = dir,
                                              .cluster_id = 7,
                                              .member_id = m->id,
                                              .segment_bytes = 256 * 1024};
    enum err err = raftlog_files_open(&log_config, &m->raftlog, &why);
    ck_assert_msg(err == OK, "%s", why.text);
    struct addr addr = {.host = "127.0.0.1", .port = m->port};
    struct transport_tcp_config tcp_config = {.env = env,
                                              .loop = &loop,
                                              .cluster_id = 7,
                                              .member_id = m->id,
                                              .listen = &addr,
                                              .listen_count = 1};
    ck_assert_int_eq(transport_tcp_open(&tcp_config, transport, &why), OK);
}

static void member_open(struct member *m)
{
    struct transport *transport;
    open_parts(m, &transport);
    struct node_member bootstrap[MEMBERS];
    for (unsigned i = 0; i < MEMBERS; i++) {
        bootstrap[i] = (struct node_member){
            .id = members[i].id, .address = members[i].address, .role = MEMBER_VOTER};
    }
    m->applied = m->hash = m->count = 0;
    struct node_config config = {
        .env = env,
        .raftlog = m->raftlog,
        .transport = transport,
        .id = m->id,
        .bootstrap = bootstrap,
        .bootstrap_count = m->joins ? 0 : MEMBERS,
        .heartbeat_ms = 100,
        .election_ms = 1000,
        .snapshot_entries = 300,
        .snapshot_bytes = 1 << 20,
        .trailing_entries = 10,
        .trailing_bytes = 8 << 20,
        .held_entries = 100000, /* none can catch up from behind the log */
        .held_bytes = 64 << 20,
    };
    struct why why = {0};
    enum err err = node_open(&config, &callbacks, m, &m->node, &why);
    ck_assert_msg(err == OK, "%s", why.text);
}

static void on_closed(void *ctx)
{
    struct member *m = ctx;
    m->node = NULL;
}

static void member_close(struct member *m)
{
    node_close(m->node, on_closed, m);
    WAIT_FOR(m->node == NULL);
}

static void setup(void)
{
    memset(members, 0, sizeof members);
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    ck_assert_int_eq(env_real_new(&loop, &real, NULL), OK);
    env = env_real_env(real);
    for (unsigned i = 0; i < MEMBERS; i++) {
        members[i].id = i + 1;
        members[i].port = free_port();
        snprintf(members[i].address, sizeof members[i].address, "127.0.0.1:%u", members[i].port);
    }
    for (unsigned i = 0; i < MEMBERS; i++) {
        member_open(&members[i]);
    }
}

static void teardown(void)
{
    for (unsigned i = 0; i < MEMBERS; i++) {
        if (members[i].node != NULL) {
            member_close(&members[i]);
        }
    }
    env_real_close(real);
    uv_run(&loop, UV_RUN_DEFAULT);
    env_real_free(real);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}

static struct member *leader(void)
{
    for (unsigned i = 0; i < MEMBERS; i++) {
        if (members[i].node != NULL && node_role(members[i].node) == NODE_LEADER &&
            node_ready(members[i].node)) {
            return &members[i];
        }
    }
    return NULL;
}

static void on_proposed(struct proposal *proposal, enum err status);

static void propose_one(void)
{
    struct proposal *proposal = calloc(1, sizeof *proposal);
    struct blob *entry = blob_new(load.size);
    memset(entry->data, (int)load.proposed, load.size);
    memcpy(entry->data, &load.proposed, sizeof load.proposed);
    load.proposed++;
    node_propose(load.to->node, proposal, entry, on_proposed);
    blob_unref(entry);
}

static void on_proposed(struct proposal *proposal, enum err status)
{
    free(proposal);
    ck_assert_msg(status == OK, "proposal: %s", err_text(status));
    load.acked++;
    if (load.proposed < load.wanted) {
        propose_one();
    }
}

/* COUNT values of SIZE bytes through the leader, DEPTH at a time. */
static void propose(uint64_t count, size_t size)
{
    WAIT_FOR(leader() != NULL);
    load.to = leader();
    load.size = size;
    load.proposed = 0;
    load.acked = 0;
    load.wanted = count;
    for (unsigned i = 0; i < DEPTH; i++) {
        propose_one();
    }
    WAIT_FOR(load.acked == count);
}

static bool all_have(uint64_t count)
{
    for (unsigned i = 0; i < MEMBERS; i++) {
        if (members[i].node != NULL && members[i].count != count) {
            return false;
        }
    }
    return true;
}

static void check_same(uint64_t count)
{
    WAIT_FOR(all_have(count));
    for (unsigned i = 1; i < MEMBERS; i++) {
        ck_assert_uint_eq(members[i].hash, members[0].hash);
    }
}

START_TEST(what_is_proposed_is_applied_by_all)
{
    propose(2000, 256);
    check_same(2000);
    propose(20, 300000); /* each of them larger than a segment */
    check_same(2020);
    ck_assert_uint_gt(leader()->snapshots, 0);
}
END_TEST

START_TEST(a_follower_that_was_away_catches_up)
{
    propose(500, 200);
    struct member *away = leader() == &members[0] ? &members[1] : &members[0];
    member_close(away);
    propose(500, 2000);
    member_open(away);
    check_same(1000);
}
END_TEST

START_TEST(another_leads_when_the_leader_is_gone)
{
    propose(100, 200);
    struct member *gone = leader();
    member_close(gone);
    propose(100, 200);
    member_open(gone);
    check_same(200);
    propose(100, 200);
    check_same(300);
}
END_TEST

START_TEST(all_come_back_after_all_were_gone)
{
    propose(700, 1000);
    check_same(700);
    for (unsigned i = 0; i < MEMBERS; i++) {
        member_close(&members[i]);
    }
    for (unsigned i = 0; i < MEMBERS; i++) {
        member_open(&members[i]);
    }
    propose(10, 1000);
    check_same(710);
}
END_TEST

static void on_changed(void *ctx, enum err status)
{
    ck_assert_int_eq(status, OK);
    *(bool *)ctx = true;
}

static void remove_log(const struct member *m)
{
    char name[16];
    snprintf(name, sizeof name, "m%u", (unsigned)m->id);
    CLEANUP(freep) char *dir = strdup(tmpdir_path(name));
    struct fs_names names = {0};
    ck_assert_int_eq(fs_list(fs_real(), dir, &names, NULL), OK);
    for (size_t i = 0; i < names.count; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", dir, names.names[i]);
        ck_assert_int_eq(unlink(path), 0);
    }
    fs_names_fini(&names);
}

/* Somebody who joins, and is started anew with nothing before it votes, has still its id. */
START_TEST(a_learner_that_has_lost_everything_begins_anew)
{
    propose(100, 200);
    struct member *learner = leader() == &members[2] ? &members[1] : &members[2];
    bool changed = false;
    node_change(leader()->node, CHANGE_DEMOTE, learner->id, NULL, on_changed, &changed);
    WAIT_FOR(changed);
    propose(100, 200);
    check_same(200);
    member_close(learner);
    remove_log(learner);
    learner->joins = true;
    member_open(learner);
    check_same(200);
    propose(100, 200);
    check_same(300);
}
END_TEST

static Suite *three_members_suite(void)
{
    Suite *suite = suite_create("three_members");
    TCase *tc = tcase_create("three_members");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, tmpdir_setup, tmpdir_teardown);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, what_is_proposed_is_applied_by_all);
    tcase_add_test(tc, a_follower_that_was_away_catches_up);
    tcase_add_test(tc, another_leads_when_the_leader_is_gone);
    tcase_add_test(tc, all_come_back_after_all_were_gone);
    tcase_add_test(tc, a_learner_that_has_lost_everything_begins_anew);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(three_members_suite);
}
