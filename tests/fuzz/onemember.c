/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/onemember.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/fs_real.h"
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/store_model.h"

#define TERM          3u
#define REQUEST_BYTES 100000u
#define ROUNDS_MAX    100000u /* of turns at one instant */

static void start_server(struct fuzz_member *member, size_t member_count)
{
    static const char *const urls[] = {"http://localhost:2380"};
    static const char *const addresses[] = {"localhost:1", "localhost:2", "localhost:3"};
    static const struct cluster_member members[] = {
        {.id = FUZZ_MEMBER_ID, .name = "", .peer_urls = urls, .peer_url_count = 1},
        {.id = FUZZ_OTHER_ID, .name = "", .peer_urls = urls, .peer_url_count = 1},
        {.id = FUZZ_OTHER_ID + 1, .name = "", .peer_urls = urls, .peer_url_count = 1},
    };
    ASSERT(member_count <= ARRAY_LEN(members));
    struct server_config config = {
        .env = env_fake_env(member->fake),
        .metrics = member->metrics,
        .store = member->store,
        .cluster_id = FUZZ_CLUSTER_ID,
        .member_id = FUZZ_MEMBER_ID,
        .name = "fuzz",
        .members = members,
        .member_addresses = addresses,
        .member_count = member_count,
        .client_urls = urls,
        .client_url_count = 1,
        .heartbeat_ms = 100,
        .election_ms = 1000,
        .snapshot_entries = 10000,
        .request_bytes_max = REQUEST_BYTES,
        .txn_ops_max = TXN_OPS_DEFAULT,
        .quota_bytes = 100u << 20,
    };
    struct why why = {0};
    if (server_start(&config, &member->server, &why) != OK) {
        fatal("start the server: %s", why.text);
    }
    member->node = server_node(member->server);
}

void fuzz_member_start(struct fuzz_member *member, size_t member_count)
{
    *member = (struct fuzz_member){.fake = env_fake_new(1), .metrics = metrics_new()};
    ASSERT(member->metrics != NULL);
    (void)snprintf(member->store_path, sizeof member->store_path, "%s/store.db", fuzz_directory());
    member->store = store_model_new(env_fake_env(member->fake));
    start_server(member, member_count);
    node_fake_set_leader(member->node, TERM, FUZZ_MEMBER_ID);
    fuzz_member_settle(member);
}

void fuzz_member_serve(struct fuzz_member *member)
{
    struct service_config config = {
        .server = member->server,
        .version = "3.7.1",
        .streams_max = 1000,
        .fs = fs_real(), /* where the model writes its copies */
        .store_path = member->store_path,
        .watch_progress_ms = 10000,
    };
    if (service_new(&config, &member->service) != OK) {
        fatal("make the service");
    }
}

void fuzz_member_settle(struct fuzz_member *member)
{
    bool more = true;
    for (unsigned round = 0; more; round++) {
        ASSERT(round < ROUNDS_MAX);
        more = env_fake_turn(member->fake);
        while (node_fake_proposal_count(member->node) > 0 && !node_fake_closing(member->node)) {
            node_fake_commit(member->node);
            more = true;
        }
        if (node_fake_read_count(member->node) > 0) {
            node_fake_answer_reads(member->node, OK);
            more = true;
        }
    }
}

static void on_stopped(void *ctx)
{
    ((struct fuzz_member *)ctx)->stopped = true;
}

void fuzz_member_drain(struct fuzz_member *member)
{
    if (member->service != NULL && !member->draining) {
        member->draining = true;
        service_drain(member->service);
    }
}

void fuzz_member_stop(struct fuzz_member *member)
{
    fuzz_member_drain(member);
    node_fake_set_leader(member->node, node_term(member->node), 0);
    server_stop(member->server, on_stopped, member);
    while (!node_fake_closing(member->node)) {
        env_fake_advance(member->fake, 100);
    }
    node_fake_finish_close(member->node);
    while (!member->stopped) {
        env_fake_advance(member->fake, 100);
    }
    service_free(member->service);
    metrics_free(member->metrics);
    env_fake_free(member->fake);
}
