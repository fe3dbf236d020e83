/* SPDX-License-Identifier: Apache-2.0 */
#include "watch/hub.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/rpc.pb-c.h"
#include "tests/lib/effort.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/runner.h"
#include "tests/lib/tmpdir.h"

/* Random puts, deletions, transactions and compactions in the real store, with a ring that holds a
 * few records, and watchers of every kind on streams that are now and then full. All that happened
 * is kept here; what each watcher is told must be exactly what it watches: from its first revision
 * on, in order, nothing twice, nothing left out, whole revisions, the right value before. Only a
 * watcher that fell behind may be ended by a compaction.
 *
 * TRIVET_SEED repeats a run. */
#define ROUNDS  1500u
#define STREAMS 6u
#define KEYS    20u
#define HISTORY 20000u
#define CHANGES 6u /* of one transaction */

struct change {
    struct record *record;
    struct record *prev; /* the value before; NULL: there was none */
};

struct model_stream {
    struct watch_stream stream;
    struct queue watchers;
    unsigned room; /* so many more batches are taken */
    bool was_full;
    unsigned number;
};

struct model_watcher {
    struct watcher watcher;
    struct queue link;
    struct watch_spec spec;
    char key[8];
    char end[8];
    size_t at; /* everything of the history before this was told, or is not watched */
    bool in_past;
};

static struct fixture {
    uint64_t seed;
    uint64_t random;
    struct env_fake *fake;
    struct store *store;
    struct hub *hub;
    uint64_t index;
    struct change history[HISTORY];
    size_t count;
    struct model_stream streams[STREAMS];
    bool small_turns; /* the hub does little in a turn, and so lags behind the store */
    size_t told;
    size_t ended;
    size_t notices;
} f;

static uint64_t next(void)
{
    return f.random = mix64(f.random + 0x9e3779b97f4a7c15u);
}

static unsigned below(unsigned n)
{
    return (unsigned)(next() % n);
}

static bool one_in(unsigned n)
{
    return below(n) == 0;
}

/* ---- what a watcher is to see ---- */

static bool watches(const struct model_watcher *w, const struct record *record)
{
    struct bytes key = record_key(record);
    const struct watch_spec *spec = &w->spec;
    bool wanted = record->tombstone ? !spec->no_delete : !spec->no_put;
    if (!wanted || record_mod_revision(record) < w->watcher.start) {
        return false;
    }
    if (spec->range_end.len == 0) {
        return bytes_equal(key, spec->key);
    }
    bool no_end = bytes_equal(spec->range_end, bytes_of("", 1));
    return bytes_compare(key, spec->key) >= 0 &&
           (no_end || bytes_compare(key, spec->range_end) < 0);
}

static void skip_unwatched(struct model_watcher *w)
{
    while (w->at < f.count && !watches(w, f.history[w->at].record)) {
        w->at++;
    }
}

static void ck_kv(const Mvccpb__KeyValue *kv, const struct record *record)
{
    ck_assert(bytes_equal(bytes_of(kv->key.data, kv->key.len), record_key(record)));
    ck_assert(bytes_equal(bytes_of(kv->value.data, kv->value.len), record_value(record)));
    ck_assert_int_eq(kv->mod_revision, record_mod_revision(record));
    ck_assert_int_eq(kv->create_revision, record->create_revision);
    ck_assert_int_eq(kv->version, record->version);
}

static void ck_event(const struct model_watcher *w, const Mvccpb__Event *event,
                     const struct change *change)
{
    ck_kv(event->kv, change->record);
    ck_assert_int_eq(event->type, change->record->tombstone ? MVCCPB__EVENT__EVENT_TYPE__DELETE
                                                            : MVCCPB__EVENT__EVENT_TYPE__PUT);
    bool compacted = record_mod_revision(change->record) - 1 < store_compacted_revision(f.store);
    if (!w->spec.prev_kv || change->prev == NULL) {
        ck_assert_ptr_null(event->prev_kv);
    } else if (event->prev_kv != NULL) {
        ck_kv(event->prev_kv, change->prev);
    } else {
        ck_assert_msg(compacted, "the value before %lld is missing",
                      (long long)record_mod_revision(change->record));
    }
}

/* ---- what the hub tells ---- */

static bool on_ready(struct watch_stream *stream)
{
    struct model_stream *s = CONTAINER_OF(stream, struct model_stream, stream);
    s->was_full |= s->room == 0;
    return s->room > 0;
}

static void on_events(struct watch_stream *stream, struct watcher *watcher,
                      const struct watch_events *events)
{
    struct model_stream *s = CONTAINER_OF(stream, struct model_stream, stream);
    struct model_watcher *w = CONTAINER_OF(watcher, struct model_watcher, watcher);
    ck_assert_uint_gt(s->room, 0);
    s->room--;
    f.told += events->count;
    const size_t *ends;
    struct blob *blob = watch_events_bytes(events, &ends);
    Etcdserverpb__WatchResponse *response =
        etcdserverpb__watch_response__unpack(NULL, blob->len, blob->data);
    ck_assert_ptr_nonnull(response);
    ck_assert_uint_eq(response->n_events, events->count);
    ck_assert_uint_eq(ends[events->count - 1], blob->len);
    int64_t last = 0;
    for (size_t i = 0; i < events->count; i++) {
        skip_unwatched(w);
        ck_assert_uint_lt(w->at, f.count);
        const struct change *change = &f.history[w->at++];
        ck_assert_int_eq((int64_t)watch_events_record(events, i)->rev,
                         (int64_t)change->record->rev);
        ck_event(w, response->events[i], change);
        last = record_mod_revision(change->record);
    }
    ck_assert_int_ge(events->revision, last);
    ck_assert_int_le(events->revision, store_revision(f.store));
    skip_unwatched(w);
    ck_assert(w->at == f.count || record_mod_revision(f.history[w->at].record) > last);
    etcdserverpb__watch_response__free_unpacked(response, NULL);
}

static void drop(struct model_watcher *w)
{
    hub_cancel(&w->watcher);
    queue_remove(&w->link);
    free(w);
}

static void on_ended(struct watch_stream *stream, struct watcher *watcher, enum err why,
                     int64_t compact_revision)
{
    struct model_stream *s = CONTAINER_OF(stream, struct model_stream, stream);
    struct model_watcher *w = CONTAINER_OF(watcher, struct model_watcher, watcher);
    ck_assert_int_eq(why, ERR_COMPACTED);
    ck_assert_int_eq(compact_revision, store_compacted_revision(f.store));
    ck_assert_msg(w->in_past || s->was_full || f.small_turns,
                  "a watcher that was in step was ended");
    f.ended++;
    drop(w);
}

static void on_progress(struct watch_stream *stream, int64_t revision)
{
    struct model_stream *s = CONTAINER_OF(stream, struct model_stream, stream);
    ck_assert_int_eq(revision, store_revision(f.store));
    ck_assert(!queue_empty(&s->watchers));
    QUEUE_FOREACH (link, &s->watchers) {
        struct model_watcher *w = QUEUE_ELEM(link, struct model_watcher, link);
        skip_unwatched(w);
        ck_assert_uint_eq(w->at, f.count);
        ck_assert_int_le(w->watcher.start, revision);
    }
    f.notices++;
}

static const struct watch_stream_ops ops = {
    .ready = on_ready, .events = on_events, .ended = on_ended, .progress = on_progress};

/* ---- random writes ---- */

static struct bytes key_of(unsigned i, char *text)
{
    (void)snprintf(text, 8, "k%02u", i);
    return bytes_of_str(text);
}

/* The newest value of the record's key before it. */
static struct record *value_before(const struct record *record)
{
    for (size_t i = f.count; i > 0; i--) {
        struct record *before = f.history[i - 1].record;
        if (bytes_equal(record_key(before), record_key(record))) {
            return before->tombstone ? NULL : before;
        }
    }
    return NULL;
}

static void remember(int64_t from)
{
    struct record_list list;
    ck_assert_int_eq(store_events_recent(f.store, from, INT64_MAX, SIZE_MAX, &list), OK);
    for (size_t i = 0; i < list.count; i++) {
        ck_assert_uint_lt(f.count, HISTORY);
        f.history[f.count] = (struct change){.record = record_ref(list.items[i]),
                                             .prev = value_before(list.items[i])};
        f.count++;
    }
    record_list_fini(&list);
}

static void write_some(void)
{
    char text[8];
    char value[400];
    memset(value, 'v', sizeof value);
    unsigned first = below(KEYS);
    unsigned changes = one_in(3) ? 1 + below(CHANGES) : 1;
    store_txn_begin(f.store);
    for (unsigned i = 0; i < changes; i++) {
        struct bytes key = key_of((first + i) % KEYS, text);
        int64_t deleted;
        if (one_in(4)) {
            ck_assert_int_eq(store_delete_range(f.store, key, bytes_of("", 0), &deleted, NULL), OK);
        } else {
            struct store_put put = {.key = key, .value = bytes_of(value, below(sizeof value))};
            ck_assert_int_eq(store_put(f.store, &put, NULL), OK);
        }
    }
    (void)store_txn_end(f.store);
}

/* An entry of several commands, some of which compact. */
static void apply_entry(void)
{
    int64_t before = store_revision(f.store);
    store_entry_begin(f.store, ++f.index, 1);
    unsigned commands = 1 + below(one_in(10) ? 60 : 4);
    for (unsigned i = 0; i < commands; i++) {
        write_some();
    }
    int64_t compacted = store_compacted_revision(f.store);
    int64_t span = store_revision(f.store) - compacted;
    if (span > 0 && one_in(25)) {
        int64_t revision = compacted + 1 + (int64_t)(next() % (uint64_t)span);
        store_txn_begin(f.store);
        ck_assert_int_eq(store_compact(f.store, revision), OK);
        (void)store_txn_end(f.store);
    }
    store_entry_end(f.store);
    remember(before + 1);
    hub_publish(f.hub);
}

/* ---- random watchers ---- */

static void pick_range(struct model_watcher *w)
{
    unsigned a = below(KEYS);
    unsigned b = a + 1 + below(4);
    w->spec.key = key_of(a, w->key);
    if (one_in(3)) {
        w->spec.range_end = key_of(b, w->end);
    } else if (one_in(4)) {
        w->spec.range_end = bytes_of("", 1);
    }
}

static void watch_something(struct model_stream *s)
{
    struct model_watcher *w = calloc(1, sizeof *w);
    pick_range(w);
    int64_t revision = store_revision(f.store);
    if (one_in(2)) {
        w->spec.start_revision = 1 + (int64_t)(next() % (uint64_t)(revision + 20));
    }
    w->spec.prev_kv = one_in(2);
    w->spec.no_put = one_in(6);
    w->spec.no_delete = one_in(6);
    w->in_past = w->spec.start_revision > 0 && w->spec.start_revision <= revision;
    queue_push_back(&s->watchers, &w->link);
    ck_assert_int_eq(hub_watch(&s->stream, &w->watcher, &w->spec), OK);
    /* from here on only what it is to see counts */
    if (w->spec.start_revision == 0) {
        w->at = f.count;
    }
}

static struct model_watcher *some_watcher(struct model_stream *s)
{
    size_t count = 0;
    struct model_watcher *picked = NULL;
    QUEUE_FOREACH (link, &s->watchers) {
        if (next() % ++count == 0) {
            picked = QUEUE_ELEM(link, struct model_watcher, link);
        }
    }
    return picked;
}

static void open_stream(struct model_stream *s)
{
    queue_init(&s->watchers);
    s->room = 5;
    s->was_full = false;
    hub_stream_open(f.hub, &s->stream, &ops);
}

static void close_stream(struct model_stream *s)
{
    hub_stream_close(&s->stream);
    env_fake_turn(f.fake);
    while (!queue_empty(&s->watchers)) {
        drop(QUEUE_ELEM(s->watchers.next, struct model_watcher, link));
    }
}

static void act_on_stream(struct model_stream *s)
{
    switch (below(12)) {
    case 0:
    case 1:
        watch_something(s);
        break;
    case 2: {
        struct model_watcher *w = some_watcher(s);
        if (w != NULL && s->stream.watchers > 6) {
            drop(w);
        }
        break;
    }
    case 3:
        hub_stream_progress(&s->stream);
        break;
    case 4:
        if (one_in(30)) {
            close_stream(s);
            open_stream(s);
        }
        break;
    default:
        s->room += 1 + below(s->number == 0 ? 2 : 40); /* one is slower than the others */
        hub_stream_ready(&s->stream);
    }
}

/* ---- the run ---- */

static uint64_t seed_of_run(void)
{
    const char *text = getenv("TRIVET_SEED");
    return text != NULL ? strtoull(text, NULL, 0) : 1;
}

static void start(uint64_t seed)
{
    tmpdir_setup();
    f = (struct fixture){.seed = seed, .random = seed};
    f.fake = env_fake_new(seed);
    struct store_config config = {.env = env_fake_env(f.fake),
                                  .path = tmpdir_path("store.db"),
                                  .identity = {.cluster_id = 7, .member_id = 9},
                                  .ring_bytes = 6000};
    struct why why;
    ck_assert_msg(store_open(&config, &f.store, &why) == OK, "%s", why.text);
    f.small_turns = one_in(2);
    struct hub_config hub_config = {.env = env_fake_env(f.fake),
                                    .store = f.store,
                                    .turn_work = f.small_turns ? 1 + below(60) : 0};
    ck_assert_int_eq(hub_new(&hub_config, &f.hub), OK);
    for (unsigned i = 0; i < STREAMS; i++) {
        f.streams[i].number = i;
        open_stream(&f.streams[i]);
    }
}

static void stop(void)
{
    hub_stop(f.hub);
    store_close(f.store);
    hub_free(f.hub);
    for (unsigned i = 0; i < STREAMS; i++) {
        hub_stream_close(&f.streams[i].stream);
        while (!queue_empty(&f.streams[i].watchers)) {
            drop(QUEUE_ELEM(f.streams[i].watchers.next, struct model_watcher, link));
        }
    }
    for (size_t i = 0; i < f.count; i++) {
        record_unref(f.history[i].record);
    }
    env_fake_free(f.fake);
    tmpdir_teardown();
}

/* All streams have room: everybody must come to see everything. */
static void ck_everything_is_told(void)
{
    for (unsigned i = 0; i < STREAMS; i++) {
        f.streams[i].room = 1000000;
        hub_stream_ready(&f.streams[i].stream);
    }
    env_fake_hold_jobs(f.fake, false);
    env_fake_advance(f.fake, 1000);
    hub_check(f.hub);
    for (unsigned i = 0; i < STREAMS; i++) {
        ck_assert_uint_eq(f.streams[i].stream.behind, 0);
        QUEUE_FOREACH (link, &f.streams[i].watchers) {
            struct model_watcher *w = QUEUE_ELEM(link, struct model_watcher, link);
            skip_unwatched(w);
            ck_assert_uint_eq(w->at, f.count);
        }
    }
}

static void run(uint64_t seed)
{
    printf("# seed %llu\n", (unsigned long long)seed);
    fflush(stdout);
    start(seed);
    for (unsigned round = 0; round < ROUNDS; round++) {
        if (one_in(3)) {
            apply_entry();
        }
        act_on_stream(&f.streams[below(STREAMS)]);
        env_fake_hold_jobs(f.fake, one_in(3));
        if (!one_in(4)) {
            env_fake_turn(f.fake);
        }
        if (one_in(200)) {
            hub_reset(f.hub, f.store);
        }
        if (one_in(50)) {
            hub_check(f.hub);
        }
        if (one_in(300)) {
            ck_everything_is_told();
        }
    }
    ck_everything_is_told();
    ck_assert_uint_gt(f.told, 1000);
    ck_assert_uint_gt(f.ended, 0);
    ck_assert(f.small_turns || f.notices > 0);
    stop();
}

START_TEST(watchers_are_told_what_happened)
{
    run(seed_of_run() * 1000 + (uint64_t)_i);
}
END_TEST

static Suite *hub_model_suite(void)
{
    Suite *suite = suite_create("hub model");
    TCase *tc = tcase_create("random");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, watchers_are_told_what_happened, 0, (int)effort_count(12, 1, "runs"));
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(hub_model_suite);
}
