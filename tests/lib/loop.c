/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/loop.h"

#include "tests/lib/runner.h"

void loop_init(struct loop *loop)
{
    struct why why;
    ck_assert_int_eq(uv_loop_init(&loop->uv), 0);
    enum err err = env_real_new(&loop->uv, &loop->real, &why);
    ck_assert_msg(err == OK, "env_real_new: %s", err_text(err));
    loop->env = env_real_env(loop->real);
    ck_assert_int_eq(uv_timer_init(&loop->uv, &loop->patience), 0);
    uv_unref((uv_handle_t *)&loop->patience);
}

static void on_patience_over(uv_timer_t *timer)
{
    CONTAINER_OF(timer, struct loop, patience)->impatient = true;
}

void loop_wait_begin(struct loop *loop)
{
    loop->impatient = false;
    uv_update_time(&loop->uv); /* the test may have been busy elsewhere */
    ck_assert_int_eq(uv_timer_start(&loop->patience, on_patience_over, runner_patience_ms(), 0), 0);
    uv_ref((uv_handle_t *)&loop->patience); /* a loop with nothing else to do waits all the same */
}

void loop_wait_turn(struct loop *loop, const char *where, const char *what)
{
    uv_run(&loop->uv, UV_RUN_ONCE);
    ck_assert_msg(!loop->impatient, "%s: waited in vain for: %s", where, what);
}

void loop_turns(struct loop *loop, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uv_run(&loop->uv, UV_RUN_NOWAIT);
    }
}

void loop_fini(struct loop *loop)
{
    loop_wait_begin(loop);
    env_real_close(loop->real);
    uv_close((uv_handle_t *)&loop->patience, NULL);
    while (uv_loop_alive(&loop->uv)) {
        uv_run(&loop->uv, UV_RUN_ONCE);
    }
    env_real_free(loop->real);
    ck_assert_msg(uv_loop_close(&loop->uv) == 0, "something is left on the loop");
}
