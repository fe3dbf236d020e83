/* SPDX-License-Identifier: Apache-2.0 */
/* The decoder of clients' messages, with every request of the API, and what it gives encoded again.
 *
 *   0  which request (modulo)
 *   1  the message */
#include "api/decode.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "proto/election.pb-c.h"
#include "proto/health.pb-c.h"
#include "proto/lock.pb-c.h"
#include "proto/rpc.pb-c.h"
#include "tests/fuzz/fuzz.h"

/* As service.c bounds it. */
#define ARENA_BYTES (256u * 1024 + 8u * (REQUEST_BYTES_DEFAULT + GRPC_OVERHEAD_BYTES))

static const ProtobufCMessageDescriptor *const types[] = {
    &etcdserverpb__range_request__descriptor,
    &etcdserverpb__put_request__descriptor,
    &etcdserverpb__delete_range_request__descriptor,
    &etcdserverpb__txn_request__descriptor,
    &etcdserverpb__compaction_request__descriptor,
    &etcdserverpb__watch_request__descriptor,
    &etcdserverpb__lease_grant_request__descriptor,
    &etcdserverpb__lease_revoke_request__descriptor,
    &etcdserverpb__lease_keep_alive_request__descriptor,
    &etcdserverpb__lease_time_to_live_request__descriptor,
    &etcdserverpb__lease_leases_request__descriptor,
    &etcdserverpb__member_add_request__descriptor,
    &etcdserverpb__member_remove_request__descriptor,
    &etcdserverpb__member_update_request__descriptor,
    &etcdserverpb__member_promote_request__descriptor,
    &etcdserverpb__member_list_request__descriptor,
    &etcdserverpb__alarm_request__descriptor,
    &etcdserverpb__status_request__descriptor,
    &etcdserverpb__defragment_request__descriptor,
    &etcdserverpb__hash_request__descriptor,
    &etcdserverpb__hash_kvrequest__descriptor,
    &etcdserverpb__move_leader_request__descriptor,
    &etcdserverpb__snapshot_request__descriptor,
    &v3lockpb__lock_request__descriptor,
    &v3lockpb__unlock_request__descriptor,
    &v3electionpb__campaign_request__descriptor,
    &v3electionpb__proclaim_request__descriptor,
    &v3electionpb__leader_request__descriptor,
    &v3electionpb__resign_request__descriptor,
    &grpc__health__v1__health_check_request__descriptor,
    &grpc__health__v1__health_list_request__descriptor,
};

/* Encoded; what the encoder says beforehand is what it takes. */
static struct bytes encoded(const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *at = malloc(size);
    CLAIM(at != NULL || size == 0);
    CLAIM(protobuf_c_message_pack(message, at) == size);
    return bytes_of(at, size);
}

/* Fields in another order, or twice, are not as they were; but what was encoded is decoded to the
 * same. */
static void check_round_trip(const ProtobufCMessageDescriptor *type,
                             const ProtobufCMessage *message)
{
    CLEANUP(fuzz_free) struct bytes once = encoded(message);
    CLEANUP(arena_fini) struct arena arena = {.max_bytes = 2 * ARENA_BYTES};
    const ProtobufCMessage *again = decode_message(type, &arena, once);
    CLAIM(again != NULL);
    CLEANUP(fuzz_free) struct bytes twice = encoded(again);
    CLAIM(bytes_equal(once, twice));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader input = reader_of(bytes_of(data, size));
    const ProtobufCMessageDescriptor *type = types[read_u8(&input) % ARRAY_LEN(types)];
    CLEANUP(fuzz_free) struct bytes message = fuzz_take(&input, SIZE_MAX);
    if (type == &etcdserverpb__txn_request__descriptor &&
        decode_check_txn(message, TXN_OPS_DEFAULT) != OK) {
        return 0;
    }
    CLEANUP(arena_fini) struct arena arena = {.max_bytes = ARENA_BYTES};
    const ProtobufCMessage *decoded = decode_message(type, &arena, message);
    CLAIM(arena.used_bytes <= ARENA_BYTES);
    if (decoded != NULL) {
        check_round_trip(type, decoded);
    }
    return 0;
}
