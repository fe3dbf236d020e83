/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAULTS_ANSWERS_H
#define TESTS_FAULTS_ANSWERS_H

#include "tests/faults/actor.h"

/* Answers of etcd's API: messages that have a header. */

/* That of REPLY, of DESCRIPTOR's type, to free with answer_free. NULL: there is none, and the
 * operation has ended so. What is no such message ends the program; WHAT: "answer to a put". */
void *answer_take(struct actor *actor, const struct reply *reply,
                  const ProtobufCMessageDescriptor *descriptor, const char *what);

/* The revision of its header. */
int64_t answer_free(ProtobufCMessage *answer);

/* The same of a call that had no effect, whatever became of it, of an operation that writes later.
 */
struct reply answer_unwritten(const struct reply *reply);

#define answer_to_put(actor, reply) \
    answer_take(actor, reply, &etcdserverpb__put_response__descriptor, "answer to a put")
#define answer_to_range(actor, reply) \
    answer_take(actor, reply, &etcdserverpb__range_response__descriptor, "answer to a read")
#define answer_to_delete(actor, reply)                                          \
    answer_take(actor, reply, &etcdserverpb__delete_range_response__descriptor, \
                "answer to a delete")
#define answer_to_txn(actor, reply) \
    answer_take(actor, reply, &etcdserverpb__txn_response__descriptor, "answer to a transaction")

#endif
