/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_CONFLICT_H
#define API_CONFLICT_H

#include "fsm/command.h"

/* etcd's rule that a transaction writes a key at most once, for one branch and everything nested in
 * it. ERR_DUPLICATE_KEY when
 *
 *   - two puts name the same key, unless they are on the two branches of one nested transaction, or
 *   - a put's key lies in a range that is deleted on the same level, inside it, or in a nested
 * transaction before it.
 *
 * Deletes may overlap. A delete from a key to the end of all keys (range_end one NUL) conflicts
 * with nothing: etcd takes its range_end literally here, so that it is empty. Time: n log² n in the
 * number of operations, on each level of nesting. */
MUST_CHECK enum err conflict_check(const struct txn_op *ops, size_t count);

#endif
