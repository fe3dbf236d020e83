/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_INTEGRATION_RANGE_TIES_H
#define TESTS_INTEGRATION_RANGE_TIES_H

#include "proto/rpc.pb-c.h"

/* A range sorted by anything but the key may answer keys of equal rank in any order, and a limit
 * may cut through them. Bring such answers into one form: ties in the order of their keys, and
 * without those of the last rank when there were more. For a txn, the ranges that it ran. */
void range_ties_settle(const ProtobufCMessage *request, ProtobufCMessage *answer);

#endif
