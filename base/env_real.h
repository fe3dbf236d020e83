/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ENV_REAL_H
#define BASE_ENV_REAL_H

#include <uv.h>

#include "base/env.h"

/* The real outside: a libuv loop, the system's clocks and random source, POSIX threads. */
struct env_real;

MUST_CHECK enum err env_real_new(uv_loop_t *loop, struct env_real **ret, struct why *why);
struct env *env_real_env(struct env_real *real);
uv_loop_t *env_real_loop(struct env_real *real);

/* Stop its handles and run what is deferred; after the loop has run once more with nothing left,
 * env_real_free. */
void env_real_close(struct env_real *real);
void env_real_free(struct env_real *real);

#endif
