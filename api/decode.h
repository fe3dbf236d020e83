/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_DECODE_H
#define API_DECODE_H

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"

/* Messages of clients, decoded. */

/* MESSAGE as TYPE, in ARENA, whose cap bounds what hostile bytes can take. NULL: malformed, a text
 * that is not UTF-8, or too much. Unknown fields are passed over. */
void *decode_message(const ProtobufCMessageDescriptor *type, struct arena *arena,
                     struct bytes message);

/* Asked of a TxnRequest's bytes before a decoder recurses into them and makes an array of what they
 * count: ERR_TOO_MANY_OPS when a list of the outermost is longer than OPS_MAX or one of a nested
 * one than TXN_OPS_MAX, or when they nest deeper than TXN_DEPTH_MAX. What is malformed is the
 * decoder's to refuse. */
MUST_CHECK enum err decode_check_txn(struct bytes message, unsigned ops_max);

/* RFC 3629: no surrogates, nothing beyond U+10FFFF, nothing longer than need be. */
bool text_is_utf8(struct bytes text);

#endif
