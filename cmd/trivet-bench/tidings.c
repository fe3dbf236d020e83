/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/trivet-bench/tidings.h"

#include "base/assert.h"
#include "cmd/trivet-bench/wire.h"

static const char came_twice[] = "an event came twice, or late";
static const char is_missing[] = "events are missing before";

static const char *add_event(struct tidings *tidings, const struct wire_event *event)
{
    if (tidings->count == 0) {
        tidings->first_revision = event->mod_revision;
        tidings->first_version = event->version;
    } else if (event->mod_revision <= tidings->last_revision) {
        return came_twice;
    } else if (event->version != tidings->last_version + 1) {
        return is_missing;
    }
    if (event->value.len < sizeof(uint64_t)) {
        return "a value that nobody put";
    }
    tidings->last_revision = event->mod_revision;
    tidings->last_version = event->version;
    tidings->count++;
    buf_append(&tidings->due, event->value.data, sizeof(uint64_t));
    return NULL;
}

const char *tidings_read(struct tidings *tidings, struct bytes events)
{
    if (tidings->count > 0 && bytes_equal(events, buf_bytes(&tidings->bytes))) {
        return NULL;
    }
    struct reader r = reader_of(events);
    struct wire_event event;
    const char *wrong = NULL;
    tidings->count = 0;
    buf_clear(&tidings->bytes);
    buf_clear(&tidings->due);
    while (wrong == NULL && wire_next_event(&r, &event)) {
        wrong = add_event(tidings, &event);
    }
    if (wrong == NULL && (reader_end(&r) != OK || tidings->count == 0)) {
        wrong = "no valid events";
    }
    if (wrong != NULL) {
        tidings->count = 0;
        return wrong;
    }
    buf_append_bytes(&tidings->bytes, events);
    if (!buf_ok(&tidings->bytes) || !buf_ok(&tidings->due)) {
        fatal("out of memory");
    }
    return NULL;
}

uint64_t tidings_due(const struct tidings *tidings, uint64_t i)
{
    return get_u64(tidings->due.data + i * sizeof(uint64_t));
}

void tidings_fini(struct tidings *tidings)
{
    buf_fini(&tidings->bytes);
    buf_fini(&tidings->due);
}

const char *sight_take(struct sight *sight, const struct tidings *tidings)
{
    struct sight before = *sight;
    *sight = (struct sight){tidings->last_revision, tidings->last_version};
    if (tidings->first_revision <= before.revision) {
        return came_twice;
    }
    return before.revision != 0 && tidings->first_version != before.version + 1 ? is_missing : NULL;
}
