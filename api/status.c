/* SPDX-License-Identifier: Apache-2.0 */
#include "api/status.h"

#include "base/cleanup.h"

/* Two texts go out as UNKNOWN although etcd's own table declares another code: that is what its
 * servers send. */
static const struct status table[ERR_COUNT] = {
    [ERR_KEY_EMPTY] = {GRPC_INVALID_ARGUMENT, "etcdserver: key is not provided"},
    [ERR_KEY_NOT_FOUND] = {GRPC_INVALID_ARGUMENT, "etcdserver: key not found"},
    [ERR_VALUE_PROVIDED] = {GRPC_INVALID_ARGUMENT, "etcdserver: value is provided"},
    [ERR_LEASE_PROVIDED] = {GRPC_INVALID_ARGUMENT, "etcdserver: lease is provided"},
    [ERR_TOO_MANY_OPS] = {GRPC_INVALID_ARGUMENT, "etcdserver: too many operations in txn request"},
    [ERR_DUPLICATE_KEY] = {GRPC_INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request"},
    [ERR_SORT_OPTION] = {GRPC_INVALID_ARGUMENT, "etcdserver: invalid sort option"},
    [ERR_CLIENT_VERSION] = {GRPC_INVALID_ARGUMENT, "etcdserver: invalid client api version"},
    [ERR_COMPACTED] = {GRPC_OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted"},
    [ERR_FUTURE_REVISION] = {GRPC_OUT_OF_RANGE,
                             "etcdserver: mvcc: required revision is a future revision"},
    [ERR_QUOTA] = {GRPC_RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"},
    [ERR_LEASE_NOT_FOUND] = {GRPC_NOT_FOUND, "etcdserver: requested lease not found"},
    [ERR_LEASE_EXISTS] = {GRPC_FAILED_PRECONDITION, "etcdserver: lease already exists"},
    [ERR_LEASE_TTL] = {GRPC_OUT_OF_RANGE, "etcdserver: too large lease TTL"},
    [ERR_TOO_LARGE] = {GRPC_INVALID_ARGUMENT, "etcdserver: request is too large"},
    [ERR_TOO_MANY_REQUESTS] = {GRPC_UNKNOWN, "etcdserver: too many requests"},
    [ERR_NO_LEADER] = {GRPC_UNAVAILABLE, "etcdserver: no leader"},
    [ERR_NOT_LEADER] = {GRPC_FAILED_PRECONDITION, "etcdserver: not leader"},
    [ERR_LEADER_CHANGED] = {GRPC_UNAVAILABLE, "etcdserver: leader changed"},
    [ERR_STOPPED] = {GRPC_UNAVAILABLE, "etcdserver: server stopped"},
    [ERR_TIMEOUT] = {GRPC_UNAVAILABLE, "etcdserver: request timed out"},
    [ERR_CANCELLED] = {GRPC_CANCELLED, "etcdserver: request canceled"},
    [ERR_BAD_TRANSFEREE] = {GRPC_FAILED_PRECONDITION, "etcdserver: bad leader transferee"},
    [ERR_TRANSFER_TIMEOUT] = {GRPC_UNKNOWN,
                              "etcdserver: request timed out, leader transfer took too long"},
    [ERR_MEMBER_NOT_FOUND] = {GRPC_NOT_FOUND, "etcdserver: member not found"},
    [ERR_MEMBER_EXISTS] = {GRPC_FAILED_PRECONDITION, "etcdserver: member ID already exist"},
    [ERR_MEMBER_URLS] = {GRPC_INVALID_ARGUMENT, "etcdserver: given member URLs are invalid"},
    [ERR_PEER_URL_EXISTS] = {GRPC_FAILED_PRECONDITION, "etcdserver: Peer URLs already exists"},
    [ERR_FEW_STARTED] = {GRPC_UNKNOWN,
                         "etcdserver: re-configuration failed due to not enough started members"},
    [ERR_UNHEALTHY] = {GRPC_UNAVAILABLE, "etcdserver: unhealthy cluster"},
    [ERR_NOT_LEARNER] = {GRPC_FAILED_PRECONDITION, "etcdserver: can only promote a learner member"},
    [ERR_LEARNER_BEHIND] =
        {GRPC_FAILED_PRECONDITION,
         "etcdserver: can only promote a learner member which is in sync with leader"},
    [ERR_MANY_LEARNERS] = {GRPC_FAILED_PRECONDITION,
                           "etcdserver: too many learner members in cluster"},
    [ERR_LEARNER] = {GRPC_FAILED_PRECONDITION, "etcdserver: rpc not supported for learner"},
    [ERR_CORRUPT] = {GRPC_DATA_LOSS, "etcdserver: corrupt cluster"},
    [ERR_NO_SPACE] = {GRPC_RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"},
};

struct status status_of(enum err err)
{
    if ((unsigned)err < ARRAY_LEN(table) && table[err].text != NULL) {
        return table[err];
    }
    return (struct status){GRPC_UNKNOWN, err_text(err)};
}
