/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>

/* Errors are values: `enum err` for programs, `struct why` for people. A code says what the caller
 * can do about it, the why says what happened, where, and to which file. */

/* X(name, text): the text is for logs; what a client of the etcd API reads stands in api/status.c.
 */
#define ERR_MAP(X)                                               \
    X(NOMEM, "out of memory")                                    \
    X(IO, "input/output error")                                  \
    X(NO_SPACE, "no space left")                                 \
    X(CORRUPT, "data is damaged")                                \
    X(FOREIGN, "data belongs to another cluster or member")      \
    X(VERSION, "format version not supported")                   \
    X(LOCKED, "in use by another process")                       \
    X(EXISTS, "exists already")                                  \
    X(NOT_FOUND, "not found")                                    \
    X(INVALID, "invalid argument")                               \
    X(TOO_LARGE, "too large")                                    \
    X(LIMIT, "limit reached")                                    \
    X(MALFORMED, "malformed input")                              \
    X(UNSUPPORTED, "not supported")                              \
    X(CANCELLED, "cancelled")                                    \
    X(TIMEOUT, "timed out")                                      \
    X(CLOSED, "closed")                                          \
    X(CONNECT, "connection failed")                              \
    X(NO_LEADER, "no leader")                                    \
    X(NOT_LEADER, "not the leader")                              \
    X(LEADER_CHANGED, "leader changed")                          \
    X(TOO_MANY_REQUESTS, "too many requests")                    \
    X(STOPPED, "stopped")                                        \
    X(COMPACTED, "required revision has been compacted")         \
    X(FUTURE_REVISION, "required revision is a future revision") \
    X(KEY_EMPTY, "key is not provided")                          \
    X(KEY_NOT_FOUND, "key not found")                            \
    X(VALUE_PROVIDED, "value is provided")                       \
    X(LEASE_PROVIDED, "lease is provided")                       \
    X(LEASE_NOT_FOUND, "requested lease not found")              \
    X(LEASE_EXISTS, "lease already exists")                      \
    X(LEASE_TTL, "too large lease TTL")                          \
    X(TOO_MANY_OPS, "too many operations in txn request")        \
    X(DUPLICATE_KEY, "duplicate key given in txn request")       \
    X(SORT_OPTION, "invalid sort option")                        \
    X(QUOTA, "database space exceeded")                          \
    X(CLIENT_VERSION, "invalid client api version")              \
    X(BAD_TRANSFEREE, "no voter to hand leadership to")          \
    X(TRANSFER_TIMEOUT, "handing leadership over took too long") \
    X(MEMBER_NOT_FOUND, "member not found")                      \
    X(MEMBER_EXISTS, "member id exists already")                 \
    X(MEMBER_URLS, "member URLs are invalid")                    \
    X(PEER_URL_EXISTS, "peer URL belongs to another member")     \
    X(FEW_STARTED, "not enough members have started")            \
    X(UNHEALTHY, "not enough members are connected")             \
    X(NOT_LEARNER, "member is not a learner")                    \
    X(LEARNER_BEHIND, "learner has not caught up")               \
    X(MANY_LEARNERS, "too many learners")                        \
    X(LEARNER, "not served by a learner")                        \
    X(REMOVED, "removed from the cluster")

enum err {
    OK = 0,
#define ERR_ENUM(name, text) ERR_##name,
    ERR_MAP(ERR_ENUM)
#undef ERR_ENUM
        ERR_COUNT
};

#define MUST_CHECK __attribute__((warn_unused_result))

/* The text of a code, never NULL. */
const char *err_text(enum err err);

/* What went wrong, for people. Filled only on failure; every function that takes one allows NULL.
 */
struct why {
    char text[512];
};

/* Set the text. */
void why_set(struct why *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Put "prefix: " before the text that is there, as an error climbs. */
void why_prefix(struct why *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Return from the calling function when the expression is not OK. */
#define TRY(expr)                   \
    do {                            \
        enum err try_err_ = (expr); \
        if (try_err_ != OK) {       \
            return try_err_;        \
        }                           \
    } while (0)

#endif
