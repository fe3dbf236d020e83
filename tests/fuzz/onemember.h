/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FUZZ_ONEMEMBER_H
#define TESTS_FUZZ_ONEMEMBER_H

#include "api/service.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/node_fake.h"

/* A member as it is, but for what is below it: the real server, upon a store as simple as can be
 * (ten times as many inputs as with the real one) and a node that commits when it is told to. Made
 * anew for each input. */
#define FUZZ_MEMBER_ID  1u
#define FUZZ_OTHER_ID   2u
#define FUZZ_CLUSTER_ID 7u

struct fuzz_member {
    struct env_fake *fake;
    char store_path[512];
    struct store *store; /* the server's */
    struct metrics *metrics;
    struct server *server;
    struct node *node;
    struct service *service; /* NULL: none was asked for */
    bool draining;
    bool stopped;
};

/* Of a cluster of MEMBER_COUNT (1 to 3), whose leader it is; published. */
void fuzz_member_start(struct fuzz_member *member, size_t member_count);
void fuzz_member_serve(struct fuzz_member *member); /* with a service */
void fuzz_member_drain(struct fuzz_member *member); /* it is about to stop */
void fuzz_member_stop(struct fuzz_member *member);  /* connections are gone already */

/* Commit and answer what waits, until nothing happens any more at this instant. */
void fuzz_member_settle(struct fuzz_member *member);

#endif
