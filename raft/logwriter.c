/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/logwriter.h"

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/plant.h"

#define PAGE_BYTES 4096u

static void must(enum err err, const struct why *why)
{
    if (err != OK) {
        fatal("raft log: %s; the log's content is not known any more, so the member stops",
              why->text[0] != '\0' ? why->text : err_text(err));
    }
}

static void add(struct logwriter *w, const struct record *record)
{
    group_add(&w->group, record);
}

/* The log needs a segment no more when its entries are all forgotten: every later one begins with
 * the state of the log, and the newest has its first group on disk. Only ever the oldest ones, so
 * that what is left has no gap. */
static void find_obsolete(struct logwriter *w)
{
    struct segment **end = &w->obsolete;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    while (!queue_empty(&w->segments)) {
        struct segment *s = QUEUE_ELEM(w->segments.next, struct segment, link);
        if (s == w->current || s->last_index >= w->first_index) {
            return;
        }
        queue_remove(&s->link);
        s->next = NULL;
        *end = s;
        end = &s->next;
    }
}

/* Write and sync what the group holds, be it nothing. */
static void write_group(struct logwriter *w)
{
    struct why why = {0};
    uint64_t start_ns = env_now_ns(w->env);
    w->bytes += GROUP_HEADER_BYTES + w->group.bytes;
    must(segment_write(w->dir, w->current, &w->group, ++w->number, &why), &why);
    uint64_t took_ns = env_now_ns(w->env) - start_ns;
    w->sync_ns = took_ns > w->sync_ns ? took_ns : w->sync_ns;
    w->witnessed = w->group.count == 0;
    group_clear(&w->group);
    find_obsolete(w);
}

static void flush(struct logwriter *w)
{
    if (w->group.count > 0) {
        write_group(w);
    }
}

/* A segment in which a first group of BYTES has room. Without a spare that is large enough one is
 * made here and now, not zeroed: while appends wait. */
static struct segment *take_segment(struct logwriter *w, uint64_t bytes)
{
    uint64_t need = SEGMENT_DATA_OFFSET + bytes;
    if (w->spare != NULL && need <= w->spare->size) {
        w->spare_taken = true;
        return TAKE(w->spare);
    }
    uint64_t size = w->dir->segment_bytes;
    if (need > size) {
        size = (need + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    }
    struct segment *s = NULL;
    struct why why = {0};
    enum err err = segment_create(w->dir, size, false, &s, &why);
    if (err == ERR_NO_SPACE) {
        fatal("raft log: %s; what it holds is whole, the member stops until there is room",
              why.text);
    }
    must(err, &why);
    return s;
}

/* Go on in a new segment, with room for records of BYTES; it begins with the state of the log. */
static void switch_segment(struct logwriter *w, size_t bytes)
{
    uint64_t need = GROUP_HEADER_BYTES + record_bytes(w->manifest.len) + bytes;
    w->current = take_segment(w, need);
    queue_push_back(&w->segments, &w->current->link);
    add(w, &(struct record){.kind = RECORD_STATE,
                            .index = w->first_index,
                            .term = w->next_index,
                            .data = buf_bytes(&w->manifest)});
}

/* See to it that records of NEED bytes can be added, to one group. */
static void make_room(struct logwriter *w, size_t need)
{
    if (w->current == NULL) {
        switch_segment(w, need);
        return;
    }
    if (GROUP_HEADER_BYTES + w->group.bytes + need <= segment_room(w->current)) {
        return;
    }
    flush(w);
    if (GROUP_HEADER_BYTES + need > segment_room(w->current)) {
        switch_segment(w, need);
    }
}

/* As raftlog.h promises. What is larger fills the segment up first. */
static void keep_together(struct logwriter *w, const struct log_entry *entries, uint64_t count)
{
    size_t bytes = 0;
    for (uint64_t i = 0; i < count && bytes <= RAFTLOG_TOGETHER_BYTES; i++) {
        bytes += record_bytes(entries[i].data.len);
    }
    if (bytes <= RAFTLOG_TOGETHER_BYTES) {
        make_room(w, bytes);
    }
}

static void do_append(struct logwriter *w, const struct raftlog_request *request)
{
    const struct log_entry *entries = request->data;
    ASSERT(request->index == w->next_index);
    keep_together(w, entries, request->count);
    for (uint64_t i = 0; i < request->count; i++) {
        const struct log_entry *entry = &entries[i];
        make_room(w, record_bytes(entry->data.len));
        add(w, &(struct record){.kind = RECORD_ENTRY,
                                .entry_kind = entry->kind,
                                .index = w->next_index,
                                .term = entry->term,
                                .data = entry->data});
        w->current->last_index =
            w->next_index > w->current->last_index ? w->next_index : w->current->last_index;
        w->next_index++;
    }
}

static void do_truncate(struct logwriter *w, const struct raftlog_request *request)
{
    ASSERT(request->index >= w->first_index);
    ASSERT(request->index < w->next_index);
    make_room(w, record_bytes(0));
    if (!PLANTED(LOG_TRUNCATE_LOST)) {
        add(w, &(struct record){.kind = RECORD_TRUNCATE, .index = request->index});
    }
    w->next_index = request->index;
}

static void do_state(struct logwriter *w, const struct raftlog_request *request)
{
    const struct bytes *manifest = request->data;
    make_room(w, record_bytes(manifest->len));
    add(w, &(struct record){.kind = RECORD_STATE,
                            .index = request->index,
                            .term = request->count,
                            .data = *manifest});
    w->first_index = request->index;
    w->next_index = request->count;
    buf_clear(&w->manifest);
    buf_append_bytes(&w->manifest, *manifest);
    must(buf_ok(&w->manifest) ? OK : ERR_NOMEM, &(struct why){0});
}

void logwriter_witness(struct logwriter *writer)
{
    flush(writer);
    if (writer->current != NULL && !writer->witnessed &&
        segment_room(writer->current) >= GROUP_HEADER_BYTES) {
        write_group(writer);
    }
}

static void run_one(struct logwriter *w, struct raftlog_request *request)
{
    switch ((enum logwriter_kind)request->kind) {
    case LOGWRITER_APPEND:
        do_append(w, request);
        break;
    case LOGWRITER_TRUNCATE:
        do_truncate(w, request);
        break;
    case LOGWRITER_STATE:
        do_state(w, request);
        break;
    case LOGWRITER_SPARE:
        ASSERT(w->spare == NULL);
        w->spare = request->data;
        break;
    case LOGWRITER_WITNESS:
        logwriter_witness(w);
        break;
    }
}

/* Into the fields that have done their part on the way here. */
static void put_report(struct raftlog_request *request, const struct logwriter_report *report)
{
    request->index = report->sync_ns;
    request->count = report->bytes;
    request->kind = report->spare_taken;
    request->data = report->obsolete;
}

struct logwriter_report logwriter_report_of(const struct raftlog_request *request)
{
    return (struct logwriter_report){.sync_ns = request->index,
                                     .bytes = request->count,
                                     .spare_taken = request->kind != 0,
                                     .obsolete = request->data};
}

void logwriter_run(void *writer, struct queue *jobs)
{
    struct logwriter *w = writer;
    QUEUE_FOREACH (link, jobs) {
        run_one(w, QUEUE_ELEM(link, struct raftlog_request, job.link));
    }
    flush(w);
    struct logwriter_report report = {.sync_ns = w->sync_ns,
                                      .bytes = w->bytes,
                                      .spare_taken = w->spare_taken,
                                      .obsolete = TAKE(w->obsolete)};
    QUEUE_FOREACH (link, jobs) {
        bool last = link->next == jobs;
        put_report(QUEUE_ELEM(link, struct raftlog_request, job.link),
                   last ? &report : &(struct logwriter_report){0});
    }
    w->sync_ns = 0;
    w->bytes = 0;
    w->spare_taken = false;
}

void logwriter_fini(struct logwriter *writer)
{
    struct queue *link;
    while ((link = queue_pop_front(&writer->segments)) != NULL) {
        segment_close(QUEUE_ELEM(link, struct segment, link));
    }
    segment_close(writer->spare);
    segment_close_all(writer->obsolete);
    buf_fini(&writer->manifest);
    group_fini(&writer->group);
}
