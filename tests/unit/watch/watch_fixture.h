/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_WATCH_WATCH_FIXTURE_H
#define TESTS_UNIT_WATCH_WATCH_FIXTURE_H

#include "tests/lib/env_fake.h"
#include "tests/lib/runner.h"
#include "tests/lib/store_model.h"
#include "watch/hub_private.h"

/* A hub upon the model store, under a clock that stands still, and streams that write down what
 * they are told. */
struct hub_fixture {
    struct env_fake *fake;
    struct env *env;
    struct store *store;
    struct metrics *metrics;
    struct hub *hub;
    uint64_t index;
};
extern struct hub_fixture hubbed;

void hubbed_start(void);
void hubbed_stop(void);
void hubbed_restart(size_t turn_work); /* a new hub upon the same store */

/* Each an entry of its own, published; the turn is the test's to run. Revisions begin with 2. */
void put(const char *key, const char *value);
void put_many(const char *const *keys, size_t count);  /* one operation */
void change_key(const char *key, const char *changes); /* one operation: "pd" puts and deletes */
void delete_key(const char *key);
void compact(int64_t revision);

void turn(void); /* until nothing is left to do */

/* What a stream was told, in one line: "1:a=x@2 b@3-" for watcher 1 a put and a deletion at once,
 * "1!COMPACTED@5" for its end, "progress@7". Batches are parted by " | ". */
struct told_stream {
    struct watch_stream stream;
    char text[4096];
    size_t room; /* batches that are still taken */
    size_t batches;
    size_t events;
    void (*on_told)(struct told_stream *stream, struct watcher *watcher);
};

struct told_watcher {
    struct watcher watcher;
    unsigned number;
};

void told_open(struct told_stream *stream);
void told_watch(struct told_stream *stream, struct told_watcher *watcher, unsigned number,
                const struct watch_spec *spec);
/* One key, from now on. */
void told_watch_key(struct told_stream *stream, struct told_watcher *watcher, unsigned number,
                    const char *key);
/* What was told since the last call. */
void ck_told(struct told_stream *stream, const char *want);

#endif
