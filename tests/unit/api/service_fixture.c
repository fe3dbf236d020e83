/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/api/service_fixture.h"

#include <stdlib.h>

#include "base/fs_real.h"

struct served served;

static const char *const peer_urls[] = {"http://localhost:2380"};
static const char *const client_urls[] = {"http://localhost:2379"};

static void start_server(void)
{
    static const char *const other_urls[] = {"http://localhost:3380"};
    struct cluster_member members[] = {
        {.id = MEMBER_ID, .name = "", .peer_urls = peer_urls, .peer_url_count = 1},
        {.id = 5, .name = "", .peer_urls = other_urls, .peer_url_count = 1},
    };
    static const char *const addresses[] = {"localhost:2380", "localhost:3380"};
    members[0].learner = served.learner;
    served.store = store_model_new(served.loop.env);
    struct server_config config = {
        .env = served.loop.env,
        .metrics = served.metrics,
        .store = served.store,
        .cluster_id = CLUSTER_ID,
        .member_id = MEMBER_ID,
        .name = "default",
        .members = members,
        .member_addresses = addresses,
        .member_count = served.learner ? 2 : 1,
        .client_urls = client_urls,
        .client_url_count = 1,
        .heartbeat_ms = 100,
        .election_ms = 1000,
        .snapshot_entries = 10000,
        .request_bytes_max = REQUEST_BYTES_DEFAULT,
        .txn_ops_max = TXN_OPS_DEFAULT,
        .quota_bytes = served.no_quota ? 0 : 2147483648,
    };
    struct why why;
    ck_assert_int_eq(server_start(&config, &served.server, &why), OK);
    served.node = server_node(served.server);
    node_fake_set_leader(served.node, TERM, MEMBER_ID);
}

static void start_service(void)
{
    struct service_config config = {.server = served.server,
                                    .version = "3.7.1",
                                    .streams_max = UINT32_MAX,
                                    .fs = fs_real(),
                                    .store_path = served.store_path,
                                    .snapshot_stall_ms = served.snapshot_stall_ms,
                                    .watch_progress_ms = 100};
    ck_assert_int_eq(service_new(&config, &served.service), OK);
    struct rpc_port_config port = {
        .env = served.loop.env,
        .loop = &served.loop.uv,
        .addr = {.host = "127.0.0.1"},
        .grpc = served.metrics_only ? NULL : service_grpc(served.service),
        .http1 = served.metrics_only ? service_metrics_http1(served.service)
                                     : service_http1(served.service),
    };
    struct why why;
    ck_assert_msg(rpc_port_open(&port, &served.port, &why) == OK, "%s", why.text);
}

static void on_client_closed(void *ctx, enum err status, const char *why)
{
    (void)ctx;
    (void)status;
    (void)why;
    served.client_closed = true;
    served.client = NULL;
}

static void connect_client(void)
{
    struct grpc_client_config config = {
        .env = served.loop.env,
        .loop = &served.loop.uv,
        .addr = {.host = "127.0.0.1", .port = rpc_port_number(served.port)},
        .on_closed = on_client_closed,
    };
    ck_assert_int_eq(grpc_client_new(&config, &served.client), OK);
}

static bool is_published(void)
{
    const struct cluster *cluster = server_cluster(served.server);
    return cluster_member(cluster, MEMBER_ID)->name[0] != '\0' &&
           cluster_version(cluster)[0] != '\0';
}

void served_start(void)
{
    served = (struct served){.metrics_only = served.metrics_only,
                             .learner = served.learner,
                             .no_quota = served.no_quota,
                             .store_path = served.store_path,
                             .snapshot_stall_ms = served.snapshot_stall_ms};
    loop_init(&served.loop);
    served.metrics = metrics_new();
    ck_assert_ptr_nonnull(served.metrics);
    start_server();
    start_service();
    if (!served.metrics_only) {
        connect_client();
    }
    SERVE_UNTIL(is_published());
}

static void on_port_closed(void *ctx)
{
    (void)ctx;
    served.port_closed = true;
}

static void on_server_stopped(void *ctx)
{
    (void)ctx;
    served.server_stopped = true;
}

void served_close_port(void)
{
    served.port_closed = false;
    rpc_port_close(served.port, 0, on_port_closed, NULL);
    RUN_UNTIL(&served.loop, served.port_closed);
}

void served_stop_server(void)
{
    server_stop(served.server, on_server_stopped, NULL);
    RUN_UNTIL(&served.loop, node_fake_closing(served.node));
    node_fake_finish_close(served.node);
    RUN_UNTIL(&served.loop, served.server_stopped);
}

void served_stop(void)
{
    if (served.client != NULL) {
        grpc_client_close(served.client);
        RUN_UNTIL(&served.loop, served.client_closed);
    }
    if (!served.port_closed) {
        served_close_port();
    }
    if (!served.server_stopped) {
        served_stop_server();
    }
    service_free(served.service);
    metrics_free(served.metrics);
    loop_fini(&served.loop);
    served.metrics_only = false;
    served.learner = false;
    served.no_quota = false;
}

void served_pump(void)
{
    while (!served.hold_writes && node_fake_proposal_count(served.node) > 0) {
        node_fake_commit(served.node);
    }
    if (!served.hold_reads && node_fake_read_count(served.node) > 0) {
        node_fake_answer_reads(served.node, OK);
    }
}

/* ---- the client's side ---- */

static void on_message(struct grpc_request *request, struct bytes message)
{
    struct reply *reply = CONTAINER_OF(request, struct reply, request);
    if (reply->message_count < ARRAY_LEN(reply->sizes)) {
        reply->sizes[reply->message_count] = message.len;
    }
    reply->message_count++;
    buf_append_bytes(&reply->got, message);
    ck_assert(buf_ok(&reply->got));
}

static void on_end(struct grpc_request *request, enum grpc_status status, struct bytes text)
{
    struct reply *reply = CONTAINER_OF(request, struct reply, request);
    reply->ended = true;
    reply->status = status;
    buf_append_bytes(&reply->text, text);
    buf_append(&reply->text, "", 1);
}

void reply_fini(struct reply *reply)
{
    buf_fini(&reply->got);
    buf_fini(&reply->text);
    *reply = (struct reply){0};
}

static void begin(struct reply *reply, const struct grpc_request_options *options,
                  struct bytes message)
{
    reply_fini(reply);
    reply->request = (struct grpc_request){.on_message = on_message, .on_end = on_end};
    grpc_request_unary(served.client, &reply->request, options, message);
}

void call_bytes(struct reply *reply, const char *path, struct bytes message)
{
    struct grpc_request_options options = {.path = path};
    begin(reply, &options, message);
}

void call_stream_with_metadata(struct reply *reply, const char *path, const char *key,
                               const char *value)
{
    struct grpc_metadata metadata = {.key = key, .value = bytes_of_str(value)};
    struct grpc_request_options options = {
        .path = path, .metadata = &metadata, .metadata_count = key == NULL ? 0 : 1};
    reply_fini(reply);
    reply->request = (struct grpc_request){.on_message = on_message, .on_end = on_end};
    grpc_request_start(served.client, &reply->request, &options);
}

void call_stream(struct reply *reply, const char *path)
{
    call_stream_with_metadata(reply, path, NULL, "");
}

static struct buf packed(const ProtobufCMessage *message)
{
    struct buf bytes = {0};
    size_t size = protobuf_c_message_get_packed_size(message);
    if (size > 0) {
        uint8_t *at = buf_extend(&bytes, size);
        ck_assert_ptr_nonnull(at);
        ck_assert_uint_eq(protobuf_c_message_pack(message, at), size);
    }
    return bytes;
}

void call_message(struct reply *reply, const char *path, const ProtobufCMessage *message)
{
    CLEANUP(buf_fini) struct buf bytes = packed(message);
    call_bytes(reply, path, buf_bytes(&bytes));
}

void call_with_metadata(struct reply *reply, const char *path, const ProtobufCMessage *message,
                        const char *key, struct bytes value)
{
    CLEANUP(buf_fini) struct buf bytes = packed(message);
    struct grpc_metadata metadata = {.key = key, .value = value};
    struct grpc_request_options options = {
        .path = path, .metadata = &metadata, .metadata_count = 1};
    begin(reply, &options, buf_bytes(&bytes));
}

void ask(struct reply *reply, const char *path, const ProtobufCMessage *message)
{
    call_message(reply, path, message);
    SERVE_UNTIL(reply->ended);
}

void *answer_of(const struct reply *reply, const ProtobufCMessageDescriptor *type)
{
    ck_status(reply, GRPC_OK, "");
    void *message = protobuf_c_message_unpack(type, NULL, reply->got.len, reply->got.data);
    ck_assert_ptr_nonnull(message);
    return message;
}

void ck_status(const struct reply *reply, enum grpc_status status, const char *text)
{
    ck_assert(reply->ended);
    ck_assert_str_eq((const char *)reply->text.data, text);
    ck_assert_str_eq(grpc_status_name(reply->status), grpc_status_name(status));
}

int64_t put_key(const char *key, const char *value)
{
    struct reply reply = {0};
    Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;
    request.key = BINARY(key);
    request.value = BINARY(value);
    ask(&reply, "/etcdserverpb.KV/Put", &request.base);
    Etcdserverpb__PutResponse *answer = answer_of(&reply, &etcdserverpb__put_response__descriptor);
    int64_t revision = answer->header->revision;
    etcdserverpb__put_response__free_unpacked(answer, NULL);
    reply_fini(&reply);
    return revision;
}

/* ---- other members ---- */

static const struct command_origin elsewhere = {.member_id = MEMBER_ID + 1};

void entry_begin(struct buf *entry)
{
    *entry = (struct buf){0};
    entry_encode_head(entry, 0);
}

void entry_put(struct buf *entry, struct bytes key, struct bytes value)
{
    struct command command = {.kind = COMMAND_PUT, .put = {.key = key, .value = value}};
    command_encode(entry, elsewhere, &command);
}

void entry_compact(struct buf *entry, int64_t revision)
{
    struct command command = {.kind = COMMAND_COMPACT, .compact = {.revision = revision}};
    command_encode(entry, elsewhere, &command);
}

void entry_apply(struct buf *entry)
{
    ck_assert(buf_ok(entry));
    node_fake_apply(served.node, buf_bytes(entry));
    buf_fini(entry);
}

void fill_store(unsigned count, size_t value_bytes)
{
    CLEANUP(freep) uint8_t *value = malloc(value_bytes + 1);
    ck_assert_ptr_nonnull(value);
    struct buf entry;
    entry_begin(&entry);
    for (unsigned i = 0; i < count; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%08u", i);
        memset(value, (int)i, value_bytes);
        entry_put(&entry, bytes_of_str(key), bytes_of(value, value_bytes));
    }
    entry_apply(&entry);
}
