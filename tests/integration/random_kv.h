/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_INTEGRATION_RANDOM_KV_H
#define TESTS_INTEGRATION_RANDOM_KV_H

#include "base/arena.h"
#include "proto/rpc.pb-c.h"

/* Random requests to the KV service: few keys, so that they meet; every option; now and then what
 * must be refused. The same seed and the same revisions make the same requests. */
struct random_kv {
    uint64_t random;
    int64_t revision;  /* of the store, as last told */
    int64_t compacted; /* 0: never */
    int64_t deleted;   /* a revision that only deleted; 0: none yet */
    struct arena arena;
};

enum kv_kind { KV_RANGE, KV_PUT, KV_DELETE, KV_TXN, KV_COMPACT, KV_KIND_COUNT };

struct kv_request {
    enum kv_kind kind;
    bool serializable; /* the answering member's own state */
    const char *path;
    const ProtobufCMessage *message; /* memory of the arena */
    const ProtobufCMessageDescriptor *answer_descriptor;
};

void random_kv_init(struct random_kv *random, uint64_t seed);
void random_kv_fini(struct random_kv *random);
uint64_t random_kv_below(struct random_kv *random, uint64_t n);

/* The next one; that before is forgotten. */
struct kv_request random_kv_next(struct random_kv *random);

/* Range of everything, for comparing states. */
struct kv_request random_kv_everything(struct random_kv *random, int64_t revision);

#endif
