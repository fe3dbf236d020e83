/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/scrub.h"

#include "storage/store_private.h"

/* ---- when ---- */

static uint64_t now_ms(const struct scrub *scrub)
{
    return env_now_ms(scrub->store->env);
}

static void wait_for_next_pass(struct scrub *scrub)
{
    scrub->next = 0;
    if (!scrub->store->closing) {
        uint64_t passed_ms = now_ms(scrub) - scrub->began_ms;
        uint64_t left_ms = scrub->interval_ms > passed_ms ? scrub->interval_ms - passed_ms : 1;
        env_timer_start(scrub->store->env, &scrub->timer, left_ms);
    }
}

static void end_in_failure(struct scrub *scrub, enum err status, const struct why *why)
{
    (void)store_read_failed(scrub->store, "cannot read all of the database", status, why);
    wait_for_next_pass(scrub);
}

/* ---- tables: at the end of a pass ---- */

static void on_checked(struct backend_check *check)
{
    struct scrub *scrub = CONTAINER_OF(check, struct scrub, check);
    if (check->status != OK) {
        end_in_failure(scrub, check->status, &check->why);
        return;
    }
    counter_add(scrub->passes, 1);
    wait_for_next_pass(scrub);
}

static void check_tables(struct scrub *scrub)
{
    scrub->check = (struct backend_check){.status = OK};
    backend_check(scrub->store->backend, &scrub->check, on_checked);
}

/* ---- rows ---- */

/* ERR_LIMIT: it is enough. Thread: a reader. */
static enum err take_rows(void *ctx, const struct backend_row *rows, size_t count)
{
    struct scrub *scrub = ctx;
    for (size_t i = 0; i < count; i++) {
        scrub->slice_bytes += rows[i].header_len + rows[i].value_len;
        scrub->slice_rows++;
        scrub->next = rows[i].rev + 1;
    }
    return scrub->slice_bytes >= SCRUB_SLICE_BYTES ? ERR_LIMIT : OK;
}

static void on_slice(struct backend_scan *scan)
{
    struct scrub *scrub = CONTAINER_OF(scan, struct scrub, scan);
    counter_add(scrub->rows, (double)scrub->slice_rows);
    counter_add(scrub->bytes, (double)scrub->slice_bytes);
    if (scan->status != OK && scan->status != ERR_LIMIT) {
        end_in_failure(scrub, scan->status, &scan->why);
        return;
    }
    scrub->at_tables = scan->status == OK;
    if (!scrub->store->closing) {
        env_timer_start(scrub->store->env, &scrub->timer,
                        1 + scrub->slice_bytes / SCRUB_RATE_BYTES);
    }
}

static void read_slice(struct scrub *scrub)
{
    scrub->slice_bytes = 0;
    scrub->slice_rows = 0;
    scrub->scan = (struct backend_scan){
        .from = scrub->next,
        .to = revision_pack(scrub->last, REVISION_SUB_MAX),
        .with_values = true,
        .from_file = true,
        .rows = take_rows,
        .rows_ctx = scrub,
    };
    backend_scan(scrub->store->backend, &scrub->scan, on_slice);
}

static void on_time(struct env_timer *timer)
{
    struct scrub *scrub = CONTAINER_OF(timer, struct scrub, timer);
    if (scrub->next == 0) {
        scrub->next = 1;
        scrub->at_tables = false;
        scrub->began_ms = now_ms(scrub);
        scrub->last = scrub->store->committed_revision;
    }
    if (scrub->at_tables) {
        check_tables(scrub);
    } else {
        read_slice(scrub);
    }
}

/* ---- life ---- */

void scrub_start(struct scrub *scrub, struct store *store, uint64_t interval_ms,
                 struct metrics *metrics)
{
    *scrub = (struct scrub){.store = store, .interval_ms = interval_ms};
    env_timer_init(&scrub->timer, on_time);
    if (interval_ms == 0) {
        return;
    }
    if (metrics != NULL) {
        scrub->passes = metrics_counter(metrics, "trivet_scrub_passes_total",
                                        "Times that all of the database was read and sound.", NULL);
        scrub->rows = metrics_counter(metrics, "trivet_scrub_rows_total",
                                      "Rows that were read for that, and checked.", NULL);
        scrub->bytes =
            metrics_counter(metrics, "trivet_scrub_bytes_total", "Bytes of those rows.", NULL);
    }
    env_timer_start(store->env, &scrub->timer, 1 + env_random_u64(store->env) % interval_ms);
}

void scrub_stop(struct scrub *scrub)
{
    env_timer_stop(scrub->store->env, &scrub->timer);
}
