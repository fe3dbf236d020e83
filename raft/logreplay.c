/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/logreplay.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "raft/logload.h"

void replay_fini(struct replay *replay)
{
    free(replay->entries);
    *replay = (struct replay){0};
}

void replay_reset(struct replay *replay)
{
    replay->begun = false;
    replay->base = 0;
    replay->first = 0;
    replay->next = 0;
    replay->manifest = (struct bytes){0};
}

static enum err bad(struct why *why, const char *what, const struct record *record)
{
    why_set(why, "%s (index %" PRIu64 ")", what, record->index);
    return ERR_CORRUPT;
}

static enum err add_entry(struct replay *r, const struct record *record, struct why *why)
{
    if (record->index != r->next) {
        return bad(why, "an entry out of order", record);
    }
    if (record->entry_kind < LOG_ENTRY_COMMAND || record->entry_kind > LOG_ENTRY_CHANGE) {
        return bad(why, "an entry of an unknown kind", record);
    }
    size_t count = (size_t)(r->next - r->base);
    if (!ARRAY_MAKE_ROOM(r->entries, count, r->entry_cap, 1024)) {
        return ERR_NOMEM;
    }
    r->entries[count] =
        (struct log_entry){.term = record->term, .kind = record->entry_kind, .data = record->data};
    r->next++;
    return OK;
}

static enum err truncate_to(struct replay *r, const struct record *record, struct why *why)
{
    if (record->index < r->first || record->index >= r->next) {
        return bad(why, "a truncation outside of the log", record);
    }
    r->next = record->index;
    if (r->base > r->next) {
        r->base = r->next;
    }
    return OK;
}

/* A new manifest. Either the log goes on where it was, or it is emptied and begins behind it. */
static enum err change_state(struct replay *r, const struct record *record, struct why *why)
{
    uint64_t first = record->index;
    uint64_t next = record->term;
    struct log_snapshot snapshot;
    if (manifest_decode(record->data, &snapshot) != OK) {
        return bad(why, "a malformed manifest", record);
    }
    bool emptied = next != r->next;
    if (first < r->first || first > next || (emptied && first != next) ||
        (emptied && next != snapshot.index + 1) || first > snapshot.index + 1 ||
        snapshot.index >= next) {
        return bad(why, "a manifest that does not fit the log", record);
    }
    if (emptied) {
        r->base = next;
    }
    r->first = first;
    r->next = next;
    r->manifest = record->data;
    return OK;
}

/* The state at the beginning of a segment. */
static enum err begin_segment(struct replay *r, const struct record *record, struct why *why)
{
    struct log_snapshot snapshot = {0};
    if (record->kind != RECORD_STATE || record->index < 1 || record->index > record->term ||
        (record->data.len > 0 && manifest_decode(record->data, &snapshot) != OK) ||
        record->index > snapshot.index + 1) {
        return bad(why, "a segment without its state", record);
    }
    if (r->begun) {
        bool same = record->index == r->first && record->term == r->next &&
                    bytes_equal(record->data, r->manifest);
        return same ? OK
                    : bad(why, "a segment that does not go on where the last one ended", record);
    }
    r->begun = true;
    r->first = record->index;
    r->base = record->term;
    r->next = record->term;
    r->manifest = record->data;
    return OK;
}

static enum err apply(struct replay *r, const struct record *record, bool begins, struct why *why)
{
    if (begins) {
        return begin_segment(r, record, why);
    }
    switch (record->kind) {
    case RECORD_ENTRY:
        return add_entry(r, record, why);
    case RECORD_TRUNCATE:
        return truncate_to(r, record, why);
    case RECORD_STATE:
        return change_state(r, record, why);
    }
    return bad(why, "an unknown record", record);
}

enum err replay_group(struct replay *replay, const struct group_view *group, bool new_segment,
                      struct why *why)
{
    struct bytes left = group->records;
    for (uint32_t i = 0; i < group->count; i++) {
        struct record record;
        if (record_read(&left, &record) != OK) {
            why_set(why, "a malformed record");
            return ERR_CORRUPT;
        }
        TRY(apply(replay, &record, new_segment && i == 0, why));
    }
    if (left.len > 0 || (new_segment && group->count == 0)) {
        why_set(why, "a malformed group");
        return ERR_CORRUPT;
    }
    return OK;
}

enum err replay_finish(struct replay *replay, struct raftlog_image *image, struct why *why)
{
    if (!replay->begun) {
        image->first_index = 1;
        return OK;
    }
    if (replay->base > replay->first) {
        why_set(why, "entries %" PRIu64 " to %" PRIu64 " are missing", replay->first,
                replay->base - 1);
        return ERR_CORRUPT;
    }
    size_t forgotten = (size_t)(replay->first - replay->base);
    size_t count = (size_t)(replay->next - replay->first);
    if (count > 0) {
        memmove(replay->entries, replay->entries + forgotten, count * sizeof *replay->entries);
        image->entries = TAKE(replay->entries);
    }
    image->entry_count = count;
    image->first_index = replay->first;
    if (replay->manifest.len > 0) {
        TRY(manifest_decode(replay->manifest, &image->snapshot));
    }
    if (image->snapshot.index >= replay->next) {
        why_set(why, "the log ends at %" PRIu64 ", before its manifest's %" PRIu64,
                replay->next - 1, image->snapshot.index);
        return ERR_CORRUPT;
    }
    return OK;
}
