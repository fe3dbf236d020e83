/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_API_CONTEND_FIXTURE_H
#define TESTS_UNIT_API_CONTEND_FIXTURE_H

#include "tests/unit/api/service_fixture.h"

/* What tests of locks and elections need beside service_fixture. */

/* Grant lease ID for a minute; and take it back. */
void grant_lease(int64_t id);
void revoke_lease(int64_t id);
void delete_key(const char *key);

bool has_key(const char *key);
/* How many watchers the member has: two for each who waits. */
unsigned watcher_count(void);
uint64_t call_count(void);

#endif
