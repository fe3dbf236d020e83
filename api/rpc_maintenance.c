/* SPDX-License-Identifier: Apache-2.0 */
/* Maintenance: Alarm, Status, Defragment, Hash, HashKV, MoveLeader. */
#include <inttypes.h>
#include <stdio.h>

#include "api/message.h"
#include "base/cleanup.h"
#include "base/crc32c.h"

static const struct alarm_set *alarms_of(const struct call *call)
{
    return fsm_alarms(server_fsm(call->server));
}

/* ---- Alarm ---- */

struct alarm_call {
    struct call call;
    struct alarm alarm;
};

static void answer_alarms(struct call *call, const struct alarm *alarms, size_t count)
{
    Etcdserverpb__AlarmMember messages[ALARMS_MAX];
    Etcdserverpb__AlarmMember *pointers[ALARMS_MAX];
    for (size_t i = 0; i < count; i++) {
        etcdserverpb__alarm_member__init(&messages[i]);
        messages[i].memberid = alarms[i].member_id;
        messages[i].alarm = (Etcdserverpb__AlarmType)alarms[i].type;
        pointers[i] = &messages[i];
    }
    Etcdserverpb__ResponseHeader header =
        message_header(call, store_revision(server_store(call->server)));
    Etcdserverpb__AlarmResponse answer = ETCDSERVERPB__ALARM_RESPONSE__INIT;
    answer.header = &header;
    answer.alarms = pointers;
    answer.n_alarms = count;
    call_answer_message(call, &answer.base);
}

static void on_alarm_changed(struct call *call)
{
    struct alarm_call *state = CONTAINER_OF(call, struct alarm_call, call);
    answer_alarms(call, &state->alarm, call->op.result->alarm_found ? 1 : 0);
}

/* Alarms of one type are neighbours. */
static void list_alarms(struct call *call)
{
    struct alarm_call *state = CONTAINER_OF(call, struct alarm_call, call);
    const struct alarm *alarms;
    size_t count = alarm_list(alarms_of(call), &alarms);
    uint32_t type = state->alarm.type;
    size_t first = 0;
    while (type != ALARM_NONE && first < count && alarms[first].type != type) {
        first++;
    }
    size_t end = first;
    while (end < count && (type == ALARM_NONE || alarms[end].type == type)) {
        end++;
    }
    answer_alarms(call, alarms + first, end - first);
}

static void rpc_maintenance_alarm(struct call *call, const void *message)
{
    const Etcdserverpb__AlarmRequest *request = message;
    struct alarm_call *state = CONTAINER_OF(call, struct alarm_call, call);
    state->alarm = (struct alarm){(uint32_t)request->alarm, request->memberid};
    struct command command = {
        .kind = COMMAND_ALARM,
        .alarm = {.type = state->alarm.type, .member_id = state->alarm.member_id}};
    switch (request->action) {
    case ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__GET:
        call_read(call, list_alarms);
        break;
    case ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE:
        call_propose(call, &command, on_alarm_changed);
        break;
    case ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__DEACTIVATE:
        command.alarm.is_clear = true;
        call_propose(call, &command, on_alarm_changed);
        break;
    default: /* a number from the future: nothing was done */
        answer_alarms(call, NULL, 0);
    }
}

/* ---- Status ---- */

#define ALARM_TEXT_SIZE 64

/* As protobuf's text: what is zero is not there. */
static void write_alarm(struct alarm alarm, char ret[ALARM_TEXT_SIZE])
{
    char member[32] = "";
    if (alarm.member_id != 0) {
        snprintf(member, sizeof member, "memberID:%" PRIu64 " ", alarm.member_id);
    }
    const char *name = alarm_type_name(alarm.type);
    if (name != NULL) {
        snprintf(ret, ALARM_TEXT_SIZE, "%salarm:%s", member, name);
    } else {
        snprintf(ret, ALARM_TEXT_SIZE, "%salarm:%" PRIu32, member, alarm.type);
    }
}

static void rpc_maintenance_status(struct call *call, const void *request)
{
    (void)request; /* has no fields */
    struct server *server = call->server;
    struct store *store = server_store(server);
    struct node *node = server_node(server);
    Etcdserverpb__ResponseHeader header = message_header(call, store_revision(store));
    Etcdserverpb__DowngradeInfo downgrade = ETCDSERVERPB__DOWNGRADE_INFO__INIT;
    Etcdserverpb__StatusResponse answer = ETCDSERVERPB__STATUS_RESPONSE__INIT;
    char storage_version[VERSION_TEXT_SIZE];
    char texts[ALARMS_MAX][ALARM_TEXT_SIZE];
    char *errors[ALARMS_MAX + 1];
    size_t error_count = 0;
    if (server_leader(server) == 0) {
        errors[error_count++] = (char *)(uintptr_t)status_of(ERR_NO_LEADER).text;
    }
    const struct alarm *alarms;
    size_t alarm_count = alarm_list(alarms_of(call), &alarms);
    for (size_t i = 0; i < alarm_count; i++) {
        write_alarm(alarms[i], texts[i]);
        errors[error_count++] = texts[i];
    }
    version_of_minor(call_version(call), storage_version);
    answer.header = &header;
    answer.version = (char *)(uintptr_t)call_version(call);
    answer.dbsize = (int64_t)store_size_bytes(store);
    answer.dbsizeinuse = (int64_t)store_size_in_use_bytes(store);
    answer.dbsizequota = server_quota_bytes(server);
    answer.leader = server_leader(server);
    answer.raftindex = node_commit_index(node);
    answer.raftappliedindex = node_applied_index(node);
    answer.raftterm = node_term(node);
    answer.islearner = server_is_learner(server);
    answer.errors = errors;
    answer.n_errors = error_count;
    answer.storageversion = storage_version;
    answer.downgradeinfo = &downgrade; /* always there, also when it says nothing */
    call_answer_message(call, &answer.base);
}

/* ---- Defragment ---- */

struct defragment_call {
    struct call call;
    struct store_copy_request request;
};

static void answer_defragment(struct call *call)
{
    Etcdserverpb__DefragmentResponse answer = ETCDSERVERPB__DEFRAGMENT_RESPONSE__INIT;
    call_answer_message(call, &answer.base); /* etcd's has no header */
}

static void on_defragmented(struct store_copy_request *request)
{
    struct defragment_call *state = CONTAINER_OF(request, struct defragment_call, request);
    call_wake(&state->call, request->status);
}

static void rpc_maintenance_defragment(struct call *call, const void *request)
{
    (void)request;
    struct defragment_call *state = CONTAINER_OF(call, struct defragment_call, call);
    call_sleep(call, answer_defragment);
    store_defragment_start(server_store(call->server), &state->request, on_defragmented);
}

/* ---- Hash, HashKV ---- */

/* All that this member keeps: the rows of the keys and those of the small tables. */
static void on_whole_hashed(struct call *call)
{
    const struct store_hash_request *hash = &call->hash;
    struct set_hash tables = store_tables_hash(server_store(call->server));
    uint64_t words[] = {tables.lo, tables.hi};
    Etcdserverpb__ResponseHeader header = message_header(call, hash->current_revision);
    Etcdserverpb__HashResponse answer = ETCDSERVERPB__HASH_RESPONSE__INIT;
    answer.header = &header;
    answer.hash = crc32c(hash->hash, words, sizeof words);
    call_answer_message(call, &answer.base);
}

static void rpc_maintenance_hash(struct call *call, const void *request)
{
    (void)request;
    call_hash(call, 0, on_whole_hashed);
}

static void on_hashed(struct call *call)
{
    const struct store_hash_request *hash = &call->hash;
    Etcdserverpb__ResponseHeader header = message_header(call, hash->current_revision);
    Etcdserverpb__HashKVResponse answer = ETCDSERVERPB__HASH_KVRESPONSE__INIT;
    answer.header = &header;
    answer.hash = hash->hash;
    answer.compact_revision = hash->compact_revision;
    answer.hash_revision = hash->hash_revision;
    call_answer_message(call, &answer.base);
}

static void rpc_maintenance_hash_kv(struct call *call, const void *message)
{
    const Etcdserverpb__HashKVRequest *request = message;
    call_hash(call, request->revision, on_hashed);
}

/* ---- MoveLeader ---- */

static void answer_move_leader(struct call *call)
{
    Etcdserverpb__MoveLeaderResponse answer = ETCDSERVERPB__MOVE_LEADER_RESPONSE__INIT;
    call_answer_message(call, &answer.base); /* etcd's has no header */
}

static void on_moved(void *ctx, enum err status)
{
    call_wake(ctx, status);
}

static void rpc_maintenance_move_leader(struct call *call, const void *message)
{
    const Etcdserverpb__MoveLeaderRequest *request = message;
    if (!server_is_leader(call->server)) {
        call_fail(call, ERR_NOT_LEADER);
    } else if (request->targetid == server_member_id(call->server)) {
        answer_move_leader(call); /* it leads already */
    } else {
        call_sleep(call, answer_move_leader);
        enum err err = server_transfer(call->server, request->targetid, on_moved, call);
        if (err != OK) {
            call_wake(call, err);
        }
    }
}

static const struct method rows[] = {
    {
        .path = "/etcdserverpb.Maintenance/Alarm",
        .request = &etcdserverpb__alarm_request__descriptor,
        .state_bytes = sizeof(struct alarm_call),
        .handle = rpc_maintenance_alarm,
    },
    {
        .path = "/etcdserverpb.Maintenance/Status",
        .request = &etcdserverpb__status_request__descriptor,
        .learner_serves = true,
        .handle = rpc_maintenance_status,
    },
    {
        .path = "/etcdserverpb.Maintenance/Defragment",
        .request = &etcdserverpb__defragment_request__descriptor,
        .state_bytes = sizeof(struct defragment_call),
        .handle = rpc_maintenance_defragment,
    },
    {
        .path = "/etcdserverpb.Maintenance/Hash",
        .request = &etcdserverpb__hash_request__descriptor,
        .handle = rpc_maintenance_hash,
    },
    {
        .path = "/etcdserverpb.Maintenance/HashKV",
        .request = &etcdserverpb__hash_kvrequest__descriptor,
        .handle = rpc_maintenance_hash_kv,
    },
    {
        .path = "/etcdserverpb.Maintenance/MoveLeader",
        .request = &etcdserverpb__move_leader_request__descriptor,
        .handle = rpc_maintenance_move_leader,
    },
};

const struct method_table rpc_maintenance = {.rows = rows, .count = ARRAY_LEN(rows)};
