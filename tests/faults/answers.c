/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/faults/answers.h"

#include <string.h>

#include "proto/rpc.pb-c.h"

static const Etcdserverpb__ResponseHeader *header_of(const ProtobufCMessage *answer)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(answer->descriptor, "header");
    const Etcdserverpb__ResponseHeader *header;
    memcpy(&header, (const uint8_t *)answer + field->offset, sizeof header);
    return header;
}

void *answer_take(struct actor *actor, const struct reply *reply,
                  const ProtobufCMessageDescriptor *descriptor, const char *what)
{
    if (reply->outcome != OUTCOME_DONE) {
        actor_end_badly(actor, reply);
        return NULL;
    }
    ProtobufCMessage *answer =
        protobuf_c_message_unpack(descriptor, NULL, reply->message.len, reply->message.data);
    if (answer == NULL || header_of(answer) == NULL) {
        actor_answer_is_wrong(actor, what);
    }
    return answer;
}

int64_t answer_free(ProtobufCMessage *answer)
{
    int64_t revision = header_of(answer)->revision;
    protobuf_c_message_free_unpacked(answer, NULL);
    return revision;
}

struct reply answer_unwritten(const struct reply *reply)
{
    struct reply ret = *reply;
    if (ret.outcome != OUTCOME_DONE) {
        ret.outcome = OUTCOME_DEFINITELY_NOT;
    }
    return ret;
}
