/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/limits.h"
#include "net/grpc_client_private.h"
#include "tests/unit/api/service_fixture.h"
#include "watch/hub_private.h"

#define WATCH "/etcdserverpb.Watch/Watch"

/* A stream, and what came on it, a word for each response:
 *
 *   created 3@7      canceled 3@7      refused(reason)@7     compacted 3@5
 *   3@7[a=x@6 b-@7]  progress 3@7      a fragment ends with +
 */
struct viewer {
    struct grpc_request request;
    struct buf text;
    size_t responses;
    size_t events;
    size_t largest;
    bool ended;
    enum grpc_status status;
    char status_text[128];
};

static struct viewer v;
static struct reply reply;

static void on_message(struct grpc_request *request, struct bytes message);
static void on_end(struct grpc_request *request, enum grpc_status status, struct bytes text);

static void begin(struct viewer *viewer, const char *key, const char *value)
{
    *viewer = (struct viewer){.request = {.on_message = on_message, .on_end = on_end}};
    struct grpc_metadata metadata = {.key = key, .value = bytes_of_str(value)};
    struct grpc_request_options options = {
        .path = WATCH, .metadata = &metadata, .metadata_count = key == NULL ? 0 : 1};
    grpc_request_start(served.client, &viewer->request, &options);
}

static void end(struct viewer *viewer)
{
    if (!viewer->ended && viewer->request.call != NULL) {
        grpc_request_cancel(&viewer->request);
    }
    buf_fini(&viewer->text);
}

static void setup(void)
{
    served_start();
    begin(&v, NULL, "");
}

static void teardown(void)
{
    end(&v);
    reply_fini(&reply);
    served_stop();
}

/* ---- what comes ---- */

static void write_events(struct viewer *viewer, const Etcdserverpb__WatchResponse *response)
{
    buf_printf(&viewer->text, "%lld@%lld[", (long long)response->watch_id,
               (long long)response->header->revision);
    for (size_t i = 0; i < response->n_events; i++) {
        const Mvccpb__Event *event = response->events[i];
        const Mvccpb__KeyValue *kv = event->kv;
        buf_printf(&viewer->text, "%s%.*s", i == 0 ? "" : " ", (int)kv->key.len, kv->key.data);
        if (event->type == MVCCPB__EVENT__EVENT_TYPE__DELETE) {
            buf_printf(&viewer->text, "-");
        } else if (kv->value.len < 16) {
            buf_printf(&viewer->text, "=%.*s", (int)kv->value.len, kv->value.data);
        }
        buf_printf(&viewer->text, "@%lld", (long long)kv->mod_revision);
        if (event->prev_kv != NULL) {
            buf_printf(&viewer->text, "(%.*s@%lld)", (int)event->prev_kv->value.len,
                       event->prev_kv->value.data, (long long)event->prev_kv->mod_revision);
        }
    }
    buf_printf(&viewer->text, response->fragment ? "]+ " : "] ");
    viewer->events += response->n_events;
}

static void on_message(struct grpc_request *request, struct bytes message)
{
    struct viewer *viewer = CONTAINER_OF(request, struct viewer, request);
    Etcdserverpb__WatchResponse *r =
        etcdserverpb__watch_response__unpack(NULL, message.len, message.data);
    ck_assert_ptr_nonnull(r);
    ck_assert_uint_eq(r->header->cluster_id, CLUSTER_ID);
    ck_assert_uint_eq(r->header->member_id, MEMBER_ID);
    ck_assert_uint_eq(r->header->raft_term, TERM);
    long long id = r->watch_id;
    long long revision = r->header->revision;
    viewer->responses++;
    viewer->largest = message.len > viewer->largest ? message.len : viewer->largest;
    if (viewer->text.len > 65536) {
        buf_clear(&viewer->text); /* who looks at so much counts */
    }
    if (r->created && r->canceled) {
        ck_assert_int_eq(r->watch_id, -1);
        buf_printf(&viewer->text, "refused(%s)@%lld ", r->cancel_reason, revision);
    } else if (r->created) {
        buf_printf(&viewer->text, "created %lld@%lld ", id, revision);
    } else if (r->canceled && r->compact_revision != 0) {
        ck_assert_int_eq(revision, 0);
        buf_printf(&viewer->text, "compacted %lld@%lld ", id, (long long)r->compact_revision);
    } else if (r->canceled) {
        buf_printf(&viewer->text, "canceled %lld@%lld ", id, revision);
    } else if (r->n_events == 0) {
        buf_printf(&viewer->text, "progress %lld@%lld ", id, revision);
    } else {
        write_events(viewer, r);
    }
    etcdserverpb__watch_response__free_unpacked(r, NULL);
}

static void on_end(struct grpc_request *request, enum grpc_status status, struct bytes text)
{
    struct viewer *viewer = CONTAINER_OF(request, struct viewer, request);
    viewer->ended = true;
    viewer->status = status;
    (void)snprintf(viewer->status_text, sizeof viewer->status_text, "%.*s", (int)text.len,
                   (const char *)text.data);
}

/* Wait until so much has come, compare, forget it. */
static void ck_seen(struct viewer *viewer, const char *want)
{
    SERVE_UNTIL(viewer->text.len >= strlen(want) || viewer->ended);
    buf_append(&viewer->text, "", 1);
    ck_assert_str_eq((const char *)viewer->text.data, want);
    buf_clear(&viewer->text);
}

/* Nothing but WANT has come when the answer to something later is here. */
static void ck_seen_only(struct viewer *viewer, const char *want)
{
    loop_turns(&served.loop, 20);
    ck_seen(viewer, want);
}

static void ck_ended(const struct viewer *viewer, enum grpc_status status, const char *text)
{
    SERVE_UNTIL(viewer->ended);
    ck_assert_str_eq(grpc_status_name(viewer->status), grpc_status_name(status));
    ck_assert_str_eq(viewer->status_text, text);
}

/* ---- what is asked ---- */

static void ask_watch(struct viewer *viewer, const Etcdserverpb__WatchRequest *request)
{
    uint8_t bytes[512];
    ck_assert_uint_lt(etcdserverpb__watch_request__get_packed_size(request), sizeof bytes);
    size_t len = etcdserverpb__watch_request__pack(request, bytes);
    grpc_request_send(&viewer->request, bytes_of(bytes, len));
}

static void create_with(struct viewer *viewer, Etcdserverpb__WatchCreateRequest *create)
{
    Etcdserverpb__WatchRequest request = ETCDSERVERPB__WATCH_REQUEST__INIT;
    request.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    request.create_request = create;
    ask_watch(viewer, &request);
}

static Etcdserverpb__WatchCreateRequest create_of(const char *key)
{
    Etcdserverpb__WatchCreateRequest create = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    create.key = BINARY(key);
    return create;
}

static void create(struct viewer *viewer, const char *key)
{
    Etcdserverpb__WatchCreateRequest request = create_of(key);
    create_with(viewer, &request);
}

static void create_from(struct viewer *viewer, const char *key, int64_t start)
{
    Etcdserverpb__WatchCreateRequest request = create_of(key);
    request.start_revision = start;
    create_with(viewer, &request);
}

static void create_id(struct viewer *viewer, const char *key, int64_t id)
{
    Etcdserverpb__WatchCreateRequest request = create_of(key);
    request.watch_id = id;
    create_with(viewer, &request);
}

static void cancel(struct viewer *viewer, int64_t id)
{
    Etcdserverpb__WatchCancelRequest cancelled = ETCDSERVERPB__WATCH_CANCEL_REQUEST__INIT;
    cancelled.watch_id = id;
    Etcdserverpb__WatchRequest request = ETCDSERVERPB__WATCH_REQUEST__INIT;
    request.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST;
    request.cancel_request = &cancelled;
    ask_watch(viewer, &request);
}

static void ask_progress(struct viewer *viewer)
{
    Etcdserverpb__WatchProgressRequest progress = ETCDSERVERPB__WATCH_PROGRESS_REQUEST__INIT;
    Etcdserverpb__WatchRequest request = ETCDSERVERPB__WATCH_REQUEST__INIT;
    request.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_PROGRESS_REQUEST;
    request.progress_request = &progress;
    ask_watch(viewer, &request);
}

static void delete_key(const char *key)
{
    Etcdserverpb__DeleteRangeRequest request = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    request.key = BINARY(key);
    ask(&reply, "/etcdserverpb.KV/DeleteRange", &request.base);
}

static void compact_to(int64_t revision)
{
    Etcdserverpb__CompactionRequest request = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    request.revision = revision;
    ask(&reply, "/etcdserverpb.KV/Compact", &request.base);
}

/* ---- creation ---- */

START_TEST(it_is_created_and_told_what_happens)
{
    create(&v, "a");
    ck_seen(&v, "created 0@1 ");
    put_key("a", "1");
    put_key("b", "1");
    delete_key("a");
    ck_seen(&v, "0@2[a=1@2] 0@4[a-@4] ");
}
END_TEST

START_TEST(ids_are_given_or_taken)
{
    create(&v, "a");
    create_id(&v, "a", 2);
    create(&v, "a"); /* 1 */
    create(&v, "a"); /* 3, as 2 is taken */
    create_id(&v, "a", 3);
    cancel(&v, 3);
    create_id(&v, "a", 3);
    create_id(&v, "a", -7);
    ck_seen(&v, "created 0@1 created 2@1 created 1@1 created 3@1 "
                "refused(mvcc: duplicate watch ID provided on the WatchStream)@1 "
                "canceled 3@1 created 3@1 created -7@1 ");
    struct viewer other;
    begin(&other, NULL, "");
    create(&other, "a");
    ck_seen(&other, "created 0@1 ");
    end(&other);
}
END_TEST

START_TEST(what_cannot_be_watched_is_refused)
{
    Etcdserverpb__WatchCreateRequest request = create_of("b");
    request.range_end = BINARY("b");
    create_with(&v, &request);
    create_from(&v, "a", -1);
    ck_seen(&v, "refused(mvcc: watcher range is empty)@1 "
                "refused(etcdserver: mvcc: required revision has been compacted)@1 ");
    create(&v, "a");
    ck_seen(&v, "created 0@1 "); /* the stream goes on */
    create_id(&v, "a", 5);
    request.watch_id = 5; /* the range is looked at first */
    create_with(&v, &request);
    ck_seen(&v, "created 5@1 refused(mvcc: watcher range is empty)@1 ");
}
END_TEST

START_TEST(no_key_and_no_end_is_everything)
{
    Etcdserverpb__WatchCreateRequest request = create_of("");
    request.range_end = (ProtobufCBinaryData){.data = (uint8_t *)"", .len = 1};
    create_with(&v, &request);
    ck_seen(&v, "created 0@1 ");
    put_key("a", "1");
    ck_seen(&v, "0@2[a=1@2] ");
}
END_TEST

START_TEST(history_comes_behind_the_answer)
{
    put_key("a", "1");
    put_key("a", "2");
    put_key("a", "3");
    create_from(&v, "a", 3);
    ck_seen(&v, "created 0@4 0@4[a=2@3 a=3@4] ");
    create_from(&v, "a", 6);
    ck_seen(&v, "created 1@4 ");
    put_key("a", "5");
    put_key("a", "6");
    ck_seen(&v, "0@5[a=5@5] 0@6[a=6@6] 1@6[a=6@6] ");
}
END_TEST

START_TEST(a_compacted_start_is_created_and_then_canceled)
{
    put_key("a", "1");
    put_key("a", "2");
    put_key("a", "3");
    compact_to(3);
    create_from(&v, "a", 2);
    create_from(&v, "a", 3);
    ck_seen(&v, "created 0@4 created 1@4 compacted 0@3 1@4[a=2@3 a=3@4] ");
    create_id(&v, "a", 0);
    ck_seen(&v, "created 2@4 ");
}
END_TEST

START_TEST(filters_and_values_before)
{
    Etcdserverpb__WatchCreateRequest__FilterType no_put[] = {0};
    Etcdserverpb__WatchCreateRequest__FilterType no_delete[] = {1, 77 /* unknown: of no effect */};
    Etcdserverpb__WatchCreateRequest request = create_of("a");
    request.prev_kv = true;
    create_with(&v, &request);
    request.n_filters = 1;
    request.filters = no_put;
    create_with(&v, &request);
    request.n_filters = 2;
    request.filters = no_delete;
    request.prev_kv = false;
    create_with(&v, &request);
    ck_seen(&v, "created 0@1 created 1@1 created 2@1 ");
    put_key("a", "1");
    ck_seen(&v, "0@2[a=1@2] 2@2[a=1@2] ");
    put_key("a", "2");
    ck_seen(&v, "0@3[a=2@3(1@2)] 2@3[a=2@3] ");
    delete_key("a");
    ck_seen(&v, "0@4[a-@4(2@3)] 1@4[a-@4(2@3)] ");
}
END_TEST

/* ---- cancelling ---- */

START_TEST(a_canceled_watcher_is_told_nothing)
{
    create(&v, "a");
    create(&v, "a");
    cancel(&v, 0);
    cancel(&v, 5); /* nobody */
    cancel(&v, 0);
    ck_seen(&v, "created 0@1 created 1@1 canceled 0@1 ");
    put_key("a", "1");
    ck_seen_only(&v, "1@2[a=1@2] ");
}
END_TEST

START_TEST(what_asks_for_nothing_gets_nothing)
{
    grpc_request_send(&v.request, bytes_of(NULL, 0));
    create(&v, "a");
    ck_seen_only(&v, "created 0@1 ");
}
END_TEST

START_TEST(garbage_ends_the_stream)
{
    static const char *const garbage[] = {"\xff\xff\xff", "\x0a\x05\x0a\x7f", "\x12"};
    create(&v, "a");
    ck_seen(&v, "created 0@1 ");
    grpc_request_send(&v.request, bytes_of_str(garbage[_i]));
    ck_ended(&v, GRPC_INTERNAL,
             "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data");
    put_key("a", "1");
    CLEANUP(buf_fini) struct buf text = {0};
    metrics_write(served.metrics, &text);
    buf_append(&text, "", 1);
    ck_assert_ptr_nonnull(strstr((char *)text.data, "\netcd_debugging_mvcc_watcher_total 0\n"));
    ck_assert_ptr_nonnull(
        strstr((char *)text.data, "\netcd_debugging_mvcc_watch_stream_total 0\n"));
}
END_TEST

START_TEST(a_half_closed_stream_goes_on)
{
    create(&v, "a");
    grpc_request_half_close(&v.request);
    ck_seen(&v, "created 0@1 ");
    put_key("a", "1");
    ck_seen(&v, "0@2[a=1@2] ");
}
END_TEST

START_TEST(a_client_that_goes_leaves_nothing)
{
    for (int i = 0; i < 3000; i++) { /* more than are cancelled at once */
        create(&v, "a");
    }
    SERVE_UNTIL(v.responses == 3000);
    grpc_request_cancel(&v.request);
    loop_turns(&served.loop, 20);
    put_key("a", "1");
    ck_assert_uint_eq(v.responses, 3000);
}
END_TEST

/* ---- progress ---- */

START_TEST(progress_is_told_when_all_are_caught_up)
{
    ask_progress(&v); /* no watcher: silence */
    create(&v, "a");
    create_from(&v, "b", 3);
    ask_progress(&v); /* one waits for the future */
    put_key("a", "1");
    ck_seen(&v, "created 0@1 created 1@1 0@2[a=1@2] ");
    put_key("c", "1");
    ask_progress(&v);
    ck_seen(&v, "progress -1@3 ");
}
END_TEST

START_TEST(notices_come_to_who_wants_them_and_had_nothing)
{
    Etcdserverpb__WatchCreateRequest request = create_of("a");
    request.progress_notify = true;
    create_with(&v, &request);
    create(&v, "b");
    request = create_of("c");
    request.progress_notify = true;
    request.start_revision = 100;
    create_with(&v, &request);     /* not before its revision */
    SERVE_UNTIL(v.responses == 5); /* two notices of no event */
    put_key("b", "1");
    size_t before = v.responses;
    SERVE_UNTIL(v.responses == before + 4);
    buf_append(&v.text, "", 1);
    const char *text = (const char *)v.text.data;
    ck_assert_ptr_nonnull(strstr(text, "progress 0@1 progress 0@1 "));
    ck_assert_ptr_nonnull(strstr(text, "1@2[b=1@2] "));
    ck_assert_ptr_nonnull(strstr(text, "progress 0@2 "));
    ck_assert_ptr_null(strstr(text, "progress 1"));
    ck_assert_ptr_null(strstr(text, "progress 2"));
}
END_TEST

/* ---- leaders and the end ---- */

START_TEST(who_requires_a_leader_is_refused_without_one)
{
    struct viewer other;
    node_fake_set_leader(served.node, TERM, 0);
    begin(&other, "hasleader", "true");
    ck_ended(&other, GRPC_UNAVAILABLE, "etcdserver: no leader");
    create(&v, "a");
    ck_seen(&v, "created 0@1 ");
    end(&other);
}
END_TEST

START_TEST(who_requires_a_leader_is_ended_when_there_is_none_for_long)
{
    struct viewer other;
    begin(&other, "hasleader", "true");
    create(&other, "a");
    create(&v, "a");
    ck_seen(&v, "created 0@1 ");
    ck_seen(&other, "created 0@1 ");
    node_fake_set_leader(served.node, TERM, 0);
    uint64_t before = env_now_ms(served.loop.env);
    ck_ended(&other, GRPC_UNAVAILABLE, "etcdserver: no leader");
    ck_assert_uint_ge(env_now_ms(served.loop.env) - before, 2900); /* three election timeouts */
    ck_assert(!v.ended);
    end(&other);
}
END_TEST

START_TEST(a_member_that_stops_ends_its_streams)
{
    create(&v, "a");
    ck_seen(&v, "created 0@1 ");
    service_drain(served.service);
    ck_ended(&v, GRPC_UNAVAILABLE, "etcdserver: server stopped");
    struct viewer other;
    begin(&other, NULL, "");
    ck_ended(&other, GRPC_UNAVAILABLE, "etcdserver: server stopped");
    end(&other);
}
END_TEST

/* ---- sizes ---- */

/* COUNT keys of one revision, written by another member in one operation. */
static void put_at_once(unsigned count, size_t value_bytes)
{
    CLEANUP(freep) uint8_t *value = calloc(1, value_bytes);
    struct txn_op *ops = calloc(count, sizeof *ops);
    char(*keys)[16] = calloc(count, sizeof *keys);
    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(keys[i], sizeof keys[i], "a%04u", i);
        ops[i] = (struct txn_op){
            .kind = OP_PUT,
            .put = {.key = bytes_of_str(keys[i]), .value = bytes_of(value, value_bytes)}};
    }
    struct command command = {.kind = COMMAND_TXN, .txn = {.success = ops, .success_count = count}};
    struct buf entry;
    entry_begin(&entry);
    command_encode(&entry, (struct command_origin){.member_id = MEMBER_ID + 1}, &command);
    entry_apply(&entry);
    free(ops);
    free(keys);
}

START_TEST(what_is_large_comes_in_fragments_if_asked)
{
    enum { COUNT = 9 };
    Etcdserverpb__WatchCreateRequest request = create_of("a");
    request.range_end = BINARY("b");
    request.fragment = _i == 1;
    create_with(&v, &request);
    ck_seen(&v, "created 0@1 ");
    put_at_once(COUNT, 1024 * 1024);
    SERVE_UNTIL(v.events == COUNT);
    size_t most = REQUEST_BYTES_DEFAULT + GRPC_OVERHEAD_BYTES;
    buf_append(&v.text, "", 1);
    if (request.fragment) {
        ck_assert_uint_eq(v.responses, 1 + COUNT); /* two would be more than 2 MiB */
        ck_assert_uint_lt(v.largest, most);
        ck_assert_str_eq((char *)v.text.data,
                         "0@2[a0000@2]+ 0@2[a0001@2]+ 0@2[a0002@2]+ 0@2[a0003@2]+ 0@2[a0004@2]+ "
                         "0@2[a0005@2]+ 0@2[a0006@2]+ 0@2[a0007@2]+ 0@2[a0008@2] ");
    } else {
        ck_assert_uint_eq(v.responses, 2);
        ck_assert_uint_gt(v.largest, COUNT * 1024 * 1024);
    }
}
END_TEST

START_TEST(small_events_share_a_fragment)
{
    Etcdserverpb__WatchCreateRequest request = create_of("a");
    request.range_end = BINARY("b");
    request.fragment = true;
    create_with(&v, &request);
    ck_seen(&v, "created 0@1 ");
    put_at_once(5, 1000 * 1000);
    SERVE_UNTIL(v.events == 5);
    ck_seen(&v, "0@2[a0000@2 a0001@2]+ 0@2[a0002@2 a0003@2]+ 0@2[a0004@2] ");
}
END_TEST

/* ---- clients that do not read ---- */

/* What the server sends stays in the sockets, and then with the server. */
static void stop_reading(bool stop)
{
    stream_pause(served.client->h2.stream, stop);
}

START_TEST(a_client_that_does_not_read_costs_little)
{
    enum { WATCHERS = 50, VALUE = 20000, PUTS = 60 };
    for (int i = 0; i < WATCHERS; i++) {
        create(&v, "a");
    }
    SERVE_UNTIL(v.responses == WATCHERS);
    stop_reading(true);
    for (unsigned i = 0; i < PUTS; i++) {
        struct buf entry;
        CLEANUP(freep) uint8_t *value = calloc(1, VALUE);
        entry_begin(&entry);
        entry_put(&entry, bytes_of_str("a"), bytes_of(value, VALUE));
        entry_apply(&entry);
        loop_turns(&served.loop, 3);
        /* sockets take something, then the cap and one batch per stream: never all of it */
        size_t pending = grpc_server_stats(service_grpc(served.service))->pending_bytes;
        ck_assert_uint_le(pending, WATCH_STREAM_BYTES_MAX + WATCH_SLICE_BYTES + 2 * VALUE);
    }
    stop_reading(false);
    SERVE_UNTIL(v.events == WATCHERS * PUTS);
}
END_TEST

START_TEST(creates_without_reading_do_not_pile_up)
{
    enum { COUNT = 100000 };
    stop_reading(true);
    for (int i = 0; i < COUNT; i++) {
        create(&v, "some key or other");
    }
    loop_turns(&served.loop, 200);
    ck_assert_uint_le(grpc_server_stats(service_grpc(served.service))->pending_bytes,
                      STREAM_SEND_BYTES_MAX + STREAM_WINDOW_BYTES * 4);
    stop_reading(false);
    SERVE_UNTIL(v.responses == COUNT);
    put_key("some key or other", "1");
    SERVE_UNTIL(v.events == COUNT);
}
END_TEST

/* Of several streams of one connection no more than of one. */
START_TEST(watchers_of_streams_that_end_together_go_some_at_a_time)
{
    enum { STREAMS = 3, WATCHERS = 900, SLICE = 1024 };
    static struct viewer viewers[STREAMS];
    const struct hub *hub = server_hub(served.server);
    for (unsigned i = 0; i < STREAMS; i++) {
        begin(&viewers[i], NULL, "");
        for (unsigned j = 0; j < WATCHERS; j++) {
            create(&viewers[i], "a");
        }
        SERVE_UNTIL(viewers[i].responses == WATCHERS);
    }
    ck_assert_uint_eq(hub->watchers, STREAMS * WATCHERS);
    for (unsigned i = 0; i < STREAMS; i++) {
        end(&viewers[i]);
    }
    while (hub->watchers > 0) {
        size_t before = hub->watchers;
        SERVE_UNTIL(hub->watchers < before); /* looks behind a turn and the timers of the next */
        ck_assert_uint_le(before - hub->watchers, 2 * SLICE);
    }
}
END_TEST

static Suite *rpc_watch_suite(void)
{
    Suite *suite = suite_create("rpc_watch");
    TCase *tc = tcase_create("create");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, it_is_created_and_told_what_happens);
    tcase_add_test(tc, ids_are_given_or_taken);
    tcase_add_test(tc, what_cannot_be_watched_is_refused);
    tcase_add_test(tc, no_key_and_no_end_is_everything);
    tcase_add_test(tc, history_comes_behind_the_answer);
    tcase_add_test(tc, a_compacted_start_is_created_and_then_canceled);
    tcase_add_test(tc, filters_and_values_before);
    suite_add_tcase(suite, tc);
    tc = tcase_create("cancel");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_canceled_watcher_is_told_nothing);
    tcase_add_test(tc, what_asks_for_nothing_gets_nothing);
    tcase_add_loop_test(tc, garbage_ends_the_stream, 0, 3);
    tcase_add_test(tc, a_half_closed_stream_goes_on);
    tcase_add_test(tc, a_client_that_goes_leaves_nothing);
    suite_add_tcase(suite, tc);
    tc = tcase_create("progress");
    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, progress_is_told_when_all_are_caught_up);
    tcase_add_test(tc, notices_come_to_who_wants_them_and_had_nothing);
    tcase_add_test(tc, who_requires_a_leader_is_refused_without_one);
    tcase_add_test(tc, who_requires_a_leader_is_ended_when_there_is_none_for_long);
    tcase_add_test(tc, a_member_that_stops_ends_its_streams);
    tcase_add_test(tc, watchers_of_streams_that_end_together_go_some_at_a_time);
    suite_add_tcase(suite, tc);
    tc = tcase_create("size");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, what_is_large_comes_in_fragments_if_asked, 0, 2);
    tcase_add_test(tc, small_events_share_a_fragment);
    tcase_add_test(tc, a_client_that_does_not_read_costs_little);
    tcase_add_test(tc, creates_without_reading_do_not_pile_up);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(rpc_watch_suite);
}
