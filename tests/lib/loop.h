/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_LOOP_H
#define TESTS_LIB_LOOP_H

#include "base/env_real.h"

/* A libuv loop with the real env, for tests of what lives on sockets. The test says what it waits
 * for; a test that waits for ever fails and says where. */
struct loop {
    uv_loop_t uv;
    struct env_real *real;
    struct env *env;
    uv_timer_t patience;
    bool impatient;
};

void loop_init(struct loop *loop);

/* Turn the loop until COND holds. */
#define RUN_UNTIL(loop, cond)                                           \
    for (loop_wait_begin(loop); !(cond);) {                             \
        loop_wait_turn((loop), __FILE__ ":" RUN_LINE(__LINE__), #cond); \
    }
#define RUN_LINE_(x) #x
#define RUN_LINE(x)  RUN_LINE_(x)

/* N turns that do not wait for anything. */
void loop_turns(struct loop *loop, unsigned n);

/* Close the env, and check that nothing else is left on the loop. */
void loop_fini(struct loop *loop);

/* Private, of RUN_UNTIL. */
void loop_wait_begin(struct loop *loop);
void loop_wait_turn(struct loop *loop, const char *where, const char *what);

#endif
