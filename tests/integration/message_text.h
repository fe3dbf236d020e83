/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_INTEGRATION_MESSAGE_TEXT_H
#define TESTS_INTEGRATION_MESSAGE_TEXT_H

#include <protobuf-c/protobuf-c.h>

#include "base/bytes.h"

/* Append a message as text, one field a line, nested ones indented; fields that are zero are left
 * out, as on the wire. Without what differs between any two clusters: ids, terms, and
 * hash_revision, which etcd 3.4 does not send. */
void message_text(struct buf *out, const ProtobufCMessage *message);

#endif
