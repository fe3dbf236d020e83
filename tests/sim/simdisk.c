/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/simdisk.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "tests/sim/simcheck.h"
#include "tests/sim/simmember.h"
#include "tests/sim/simnemesis.h"

enum op_kind { OP_APPEND, OP_TRUNCATE, OP_SNAPSHOT };

struct simdisk_op {
    struct simdisk_op *next;
    enum op_kind kind;
    struct raftlog_request *request;
    uint64_t index;
    struct simentry *entries;
    size_t count;
    struct simsnapshot snapshot;
    uint64_t trailing;
};

static struct simdisk *disk_of(struct raftlog *log)
{
    return CONTAINER_OF(log, struct simdisk, base);
}

static struct blob *copy(struct bytes bytes)
{
    struct blob *blob = blob_copy(bytes);
    ASSERT(blob != NULL);
    return blob;
}

const struct simentry *simdisk_entry(const struct simdisk *disk, uint64_t index)
{
    if (index < disk->first_index || index > simdisk_last_index(disk)) {
        return NULL;
    }
    return &disk->entries[index - disk->first_index];
}

/* ---- what is done ---- */

static void drop_last(struct simdisk *disk)
{
    struct simentry *entry = &disk->entries[--disk->entry_count];
    disk->size_bytes -= entry->data->len;
    blob_unref(entry->data);
}

static void do_append(struct simdisk *disk, struct simdisk_op *op, size_t count)
{
    struct sim *sim = disk->sim;
    if (op->index != simdisk_last_index(disk) + 1) {
        sim_fail(sim, "member %u appends %llu behind %llu", disk->member,
                 (unsigned long long)op->index, (unsigned long long)simdisk_last_index(disk));
    }
    for (size_t i = 0; i < count; i++) {
        bool room = ARRAY_MAKE_ROOM(disk->entries, disk->entry_count, disk->entry_cap, 256);
        ASSERT(room);
        const struct simentry *before = simdisk_entry(disk, simdisk_last_index(disk));
        uint64_t index = op->index + i;
        uint64_t term_before = before != NULL                      ? before->term
                               : disk->snapshot.index + 1 == index ? disk->snapshot.term
                                                                   : 0;
        disk->entries[disk->entry_count++] = op->entries[i];
        disk->size_bytes += op->entries[i].data->len;
        simcheck_stored(sim, disk->member, index, &op->entries[i], term_before);
    }
}

static void do_truncate(struct simdisk *disk, uint64_t index)
{
    if (index <= disk->snapshot.index) {
        sim_fail(disk->sim, "member %u truncates %llu, which its snapshot covers", disk->member,
                 (unsigned long long)index);
    }
    while (disk->entry_count > 0 && simdisk_last_index(disk) >= index) {
        drop_last(disk);
    }
}

static void do_snapshot(struct simdisk *disk, struct simdisk_op *op)
{
    disk->snapshot = op->snapshot;
    uint64_t index = op->snapshot.index;
    if (op->trailing == 0) {
        while (disk->entry_count > 0) {
            drop_last(disk);
        }
        disk->first_index = index + 1;
        return;
    }
    uint64_t keep_from = index > op->trailing ? index - op->trailing + 1 : 1;
    size_t gone = 0;
    while (gone < disk->entry_count && disk->first_index + gone < keep_from) {
        disk->size_bytes -= disk->entries[gone].data->len;
        blob_unref(disk->entries[gone].data);
        gone++;
    }
    disk->entry_count -= gone;
    disk->first_index += gone;
    memmove(disk->entries, disk->entries + gone, disk->entry_count * sizeof *disk->entries);
}

/* PART: only so many of an append's entries. */
static void do_op(struct simdisk *disk, struct simdisk_op *op, size_t part)
{
    switch (op->kind) {
    case OP_APPEND:
        do_append(disk, op, part < op->count ? part : op->count);
        break;
    case OP_TRUNCATE:
        do_truncate(disk, op->index);
        break;
    case OP_SNAPSHOT:
        do_snapshot(disk, op);
        break;
    }
}

static void free_op(struct simdisk_op *op)
{
    free(op->entries);
    free(op);
}

static struct simdisk_op *take_op(struct simdisk *disk)
{
    struct simdisk_op *op = disk->queue;
    disk->queue = op->next;
    if (disk->queue == NULL) {
        disk->queue_end = &disk->queue;
    }
    return op;
}

static void on_done(struct sim *sim, const struct sim_event *event)
{
    struct simdisk *disk = event->ptr;
    struct simdisk_op *op = take_op(disk);
    do_op(disk, op, SIZE_MAX);
    sim_note(sim, "disk: done", disk->member, simdisk_last_index(disk));
    struct raftlog_request *request = op->request;
    free_op(op);
    if (request != NULL) {
        request->cb(request);
    }
}

/* ---- what is asked for ---- */

static uint64_t latency_us(struct simdisk *disk)
{
    struct sim *sim = disk->sim;
    if (disk->slow) {
        return sim_between(sim, 50 * SIM_MS, 800 * SIM_MS);
    }
    uint64_t latency = sim_between(sim, 50, disk->usual_us);
    if (!sim->calm && sim_chance(sim, 10)) {
        latency += sim_between(sim, 0, 300 * SIM_MS);
    }
    return latency;
}

static void ask(struct simdisk *disk, const struct simdisk_op *asked)
{
    struct sim *sim = disk->sim;
    struct simdisk_op *op = malloc(sizeof *op);
    ASSERT(op != NULL);
    *op = *asked;
    op->next = NULL;
    *disk->queue_end = op;
    disk->queue_end = &op->next;
    uint64_t at = sim->now_us + latency_us(disk);
    if (at < disk->busy_until_us) {
        at = disk->busy_until_us;
    }
    disk->busy_until_us = at;
    sim_at(sim, at - sim->now_us,
           &(struct sim_event){
               .member = disk->member, .life = disk->life, .run = on_done, .ptr = disk});
}

static void sim_append(struct raftlog *log, struct raftlog_request *request, uint64_t index,
                       const struct log_entry *entries, size_t count, raftlog_cb cb)
{
    struct simdisk *disk = disk_of(log);
    request->cb = cb;
    struct simdisk_op op = {.kind = OP_APPEND, .request = request, .index = index, .count = count};
    op.entries = calloc(count, sizeof *op.entries);
    ASSERT(op.entries != NULL && count > 0);
    for (size_t i = 0; i < count; i++) {
        op.entries[i] = (struct simentry){
            .term = entries[i].term, .kind = entries[i].kind, .data = copy(entries[i].data)};
    }
    ask(disk, &op);
}

static void sim_truncate(struct raftlog *log, uint64_t index)
{
    ask(disk_of(log), &(struct simdisk_op){.kind = OP_TRUNCATE, .index = index});
}

static void sim_snapshot_put(struct raftlog *log, struct raftlog_request *request,
                             const struct log_snapshot *snapshot, uint64_t trailing, raftlog_cb cb)
{
    struct simdisk *disk = disk_of(log);
    request->cb = cb;
    if (trailing == 0) {
        disk->sim->stats.installs++;
    } else {
        disk->sim->stats.snapshots++;
    }
    simcheck_snapshot(disk->sim, disk->member, snapshot);
    ask(disk,
        &(struct simdisk_op){.kind = OP_SNAPSHOT,
                             .request = request,
                             .trailing = trailing,
                             .snapshot = {.index = snapshot->index,
                                          .term = snapshot->term,
                                          .configuration_index = snapshot->configuration_index,
                                          .configuration = copy(snapshot->configuration),
                                          .data = copy(snapshot->data)}});
}

static void show_snapshot(const struct simdisk *disk, struct log_snapshot *ret)
{
    *ret = (struct log_snapshot){0};
    if (disk->snapshot.index != 0) {
        *ret = (struct log_snapshot){.index = disk->snapshot.index,
                                     .term = disk->snapshot.term,
                                     .configuration_index = disk->snapshot.configuration_index,
                                     .configuration = blob_bytes(disk->snapshot.configuration),
                                     .data = blob_bytes(disk->snapshot.data)};
    }
}

static const struct log_snapshot *sim_snapshot(struct raftlog *log)
{
    struct simdisk *disk = disk_of(log);
    show_snapshot(disk, &disk->shown);
    return &disk->shown;
}

static uint64_t sim_size_bytes(struct raftlog *log)
{
    return disk_of(log)->size_bytes;
}

static void sim_set_term(struct raftlog *log, uint64_t term)
{
    struct simdisk *disk = disk_of(log);
    if (term <= disk->term) {
        sim_fail(disk->sim, "member %u sets its term from %llu to %llu", disk->member,
                 (unsigned long long)disk->term, (unsigned long long)term);
    }
    disk->term = term;
    disk->vote = 0;
}

static void sim_set_vote(struct raftlog *log, uint64_t vote)
{
    struct simdisk *disk = disk_of(log);
    if (disk->vote != 0 && disk->vote != vote) {
        sim_fail(disk->sim, "member %u votes for %llu and %llu in term %llu", disk->member,
                 (unsigned long long)disk->vote, (unsigned long long)vote,
                 (unsigned long long)disk->term);
    }
    disk->vote = vote;
    if (vote == disk->member) {
        simcheck_stands(disk->sim, disk->member);
        simnemesis_on_candidate(disk->sim, disk->member);
    }
}

static enum err sim_load(struct raftlog *log, struct raftlog_image *ret, struct why *why)
{
    (void)why;
    const struct simdisk *disk = disk_of(log);
    *ret = (struct raftlog_image){.term = disk->term,
                                  .vote = disk->vote,
                                  .first_index = disk->first_index,
                                  .entry_count = disk->entry_count};
    show_snapshot(disk, &ret->snapshot);
    ret->entries = calloc(disk->entry_count + 1, sizeof *ret->entries);
    ASSERT(ret->entries != NULL);
    for (size_t i = 0; i < disk->entry_count; i++) {
        ret->entries[i] = (struct log_entry){.term = disk->entries[i].term,
                                             .kind = (uint16_t)disk->entries[i].kind,
                                             .data = blob_bytes(disk->entries[i].data)};
    }
    return OK;
}

static void sim_log_close(struct raftlog *log)
{
    sim_fail(disk_of(log)->sim, "member %u closed its log: lives end with a crash here",
             disk_of(log)->member);
}

void simdisk_init(struct simdisk *disk, struct sim *sim, unsigned member)
{
    *disk = (struct simdisk){.sim = sim, .member = member, .first_index = 1};
    disk->usual_us = sim_between(sim, 100, 8000);
    disk->queue_end = &disk->queue;
}

struct raftlog *simdisk_open(struct simdisk *disk, uint64_t life)
{
    static const struct raftlog_ops ops = {
        .load = sim_load,
        .set_term = sim_set_term,
        .set_vote = sim_set_vote,
        .append = sim_append,
        .truncate = sim_truncate,
        .snapshot_put = sim_snapshot_put,
        .snapshot = sim_snapshot,
        .size_bytes = sim_size_bytes,
        .close = sim_log_close,
    };
    ASSERT(disk->queue == NULL);
    disk->base.ops = &ops;
    disk->life = life;
    disk->busy_until_us = disk->sim->now_us;
    return &disk->base;
}

void simdisk_stall(struct simdisk *disk, uint64_t us)
{
    struct sim *sim = disk->sim;
    sim_note(sim, "disk: stands still", disk->member, us);
    if (disk->busy_until_us < sim->now_us + us) {
        disk->busy_until_us = sim->now_us + us;
    }
}

static const struct blob *newest_before(const struct simdisk *disk, uint64_t end)
{
    const struct blob *newest = disk->snapshot.configuration;
    for (size_t i = 0; i < disk->entry_count && disk->first_index + i < end; i++) {
        bool is_later = disk->first_index + i > disk->snapshot.index;
        if (disk->entries[i].kind == LOG_ENTRY_CHANGE && (is_later || newest == NULL)) {
            newest = disk->entries[i].data;
        }
    }
    return newest;
}

struct bytes simdisk_configuration(const struct simdisk *disk)
{
    const struct blob *newest = newest_before(disk, UINT64_MAX);
    for (const struct simdisk_op *op = disk->queue; op != NULL; op = op->next) {
        if (op->kind == OP_TRUNCATE) {
            newest = newest_before(disk, op->index);
        } else if (op->kind == OP_SNAPSHOT && op->trailing == 0) {
            newest = op->snapshot.configuration;
        }
        for (size_t i = 0; op->kind == OP_APPEND && i < op->count; i++) {
            newest = op->entries[i].kind == LOG_ENTRY_CHANGE ? op->entries[i].data : newest;
        }
    }
    return blob_bytes(newest);
}

void simdisk_crash(struct simdisk *disk)
{
    struct sim *sim = disk->sim;
    size_t count = 0;
    for (struct simdisk_op *op = disk->queue; op != NULL; op = op->next) {
        count++;
    }
    size_t whole = count == 0 ? 0 : (size_t)sim_between(sim, 0, count);
    for (size_t i = 0; i < count; i++) {
        struct simdisk_op *op = take_op(disk);
        if (i < whole) {
            do_op(disk, op, SIZE_MAX);
        } else if (i == whole && op->kind == OP_APPEND && sim_chance(sim, 500)) {
            do_op(disk, op, (size_t)sim_between(sim, 0, op->count - 1));
        }
        free_op(op);
    }
}
