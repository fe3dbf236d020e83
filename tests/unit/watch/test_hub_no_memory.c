/* SPDX-License-Identifier: Apache-2.0 */
/* Every allocation of the hub, and of the store's reads for it, fails once. A watcher that cannot
 * be made is refused; what cannot be told for want of memory is told a little later, complete and
 * in order. */
#include "watch/hub.h"

#include "tests/lib/env_fake.h"
#include "tests/lib/fault.h"
#include "tests/lib/runner.h"
#include "tests/lib/tmpdir.h"

enum { PUTS = 40, WATCHERS = 4 };

static struct fixture {
    struct env_fake *fake;
    struct store *store;
    struct hub *hub;
    struct watch_stream stream;
    struct watcher watchers[WATCHERS];
    int64_t last[WATCHERS]; /* the revision that was told last */
    size_t events;
    size_t ended;
} f;

static void on_events(struct watch_stream *stream, struct watcher *watcher,
                      const struct watch_events *events)
{
    (void)stream;
    int64_t *last = &f.last[watcher - f.watchers];
    for (size_t i = 0; i < events->count; i++) {
        int64_t revision = record_mod_revision(watch_events_record(events, i));
        f.ended += revision != *last + 1; /* Check's assertions allocate: looked at later */
        *last = revision;
    }
    f.events += events->count;
    (void)watch_events_bytes(events, NULL); /* NULL without memory: the caller's to deal with */
}

static void on_ended(struct watch_stream *stream, struct watcher *watcher, enum err why,
                     int64_t compact_revision)
{
    (void)stream;
    (void)watcher;
    (void)why;
    (void)compact_revision;
    f.ended++;
}

static const struct watch_stream_ops ops = {.events = on_events, .ended = on_ended};

static void start(size_t ring_bytes)
{
    f = (struct fixture){.fake = env_fake_new(1)};
    tmpdir_setup();
    struct store_config config = {.env = env_fake_env(f.fake),
                                  .path = tmpdir_path("store.db"),
                                  .identity = {.cluster_id = 7, .member_id = 9},
                                  .ring_bytes = ring_bytes};
    struct why why;
    ck_assert_msg(store_open(&config, &f.store, &why) == OK, "%s", why.text);
    for (uint64_t i = 1; i <= PUTS; i++) {
        store_entry_begin(f.store, i, 1);
        struct store_put put = {.key = bytes_of_str("a"), .value = bytes_of_str("value")};
        ck_assert_int_eq(store_put(f.store, &put, NULL), OK);
        store_entry_end(f.store);
    }
    env_fake_advance(f.fake, 5000);
    struct hub_config hub_config = {.env = env_fake_env(f.fake), .store = f.store};
    ck_assert_int_eq(hub_new(&hub_config, &f.hub), OK);
    hub_stream_open(f.hub, &f.stream, &ops);
    for (unsigned i = 0; i < WATCHERS; i++) {
        f.last[i] = 1;
    }
}

static void stop(void)
{
    hub_stop(f.hub);
    store_close(f.store);
    hub_free(f.hub);
    env_fake_free(f.fake);
    tmpdir_teardown();
}

/* A key and a range, with the value before and without. */
static enum err watch_all(void)
{
    for (unsigned i = 0; i < WATCHERS; i++) {
        struct watch_spec spec = {.key = bytes_of_str("a"),
                                  .range_end = bytes_of_str(i % 2 == 0 ? "" : "b"),
                                  .start_revision = 2,
                                  .prev_kv = i >= 2};
        TRY(hub_watch(&f.stream, &f.watchers[i], &spec));
    }
    return OK;
}

START_TEST(a_hub_is_made_or_not)
{
    start(0);
    FAULT_SWEEP (sweep) {
        struct hub_config config = {.env = env_fake_env(f.fake), .store = f.store};
        struct hub *hub = NULL;
        enum err err = hub_new(&config, &hub);
        if (err == OK) {
            hub_stop(hub);
            hub_free(hub);
        }
        fault_pause();
        ck_assert_int_eq(err, fault_fired() ? ERR_NOMEM : OK);
    }
    stop();
}
END_TEST

START_TEST(a_watcher_is_made_or_refused)
{
    bool fired = true;
    for (uint64_t k = 1; fired; k++) {
        start(0);
        fault_arm(k);
        enum err err = watch_all();
        fired = fault_fired();
        fault_arm(0);
        ck_assert_int_eq(err, fired ? ERR_NOMEM : OK);
        hub_check(f.hub);
        size_t made = f.stream.watchers;
        ck_assert(fired ? made < WATCHERS : made == WATCHERS);
        for (unsigned i = 0; i < made; i++) {
            hub_cancel(&f.watchers[i]);
        }
        ck_assert_uint_eq(f.stream.watchers, 0);
        stop();
    }
}
END_TEST

/* From memory, and from disk. */
START_TEST(what_could_not_be_told_is_told_later)
{
    bool fired = true;
    uint64_t k;
    for (k = 1; fired; k++) {
        start(_i == 0 ? 0 : 1);
        ck_assert_int_eq(watch_all(), OK);
        fault_arm(k);
        for (unsigned turns = 0; turns < 6; turns++) {
            env_fake_turn(f.fake);
        }
        fired = fault_fired();
        fault_arm(0);
        env_fake_advance(f.fake, 1000);
        hub_check(f.hub);
        ck_assert_uint_eq(f.stream.behind, 0);
        ck_assert_uint_eq(f.ended, 0);
        ck_assert_uint_eq(f.events, WATCHERS * PUTS);
        stop();
    }
    ck_assert_uint_gt(k, 10);
}
END_TEST

static Suite *hub_no_memory_suite(void)
{
    Suite *suite = suite_create("hub without memory");
    TCase *tc = tcase_create("memory");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_hub_is_made_or_not);
    tcase_add_test(tc, a_watcher_is_made_or_refused);
    tcase_add_loop_test(tc, what_could_not_be_told_is_told_later, 0, 2);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(hub_no_memory_suite);
}
