/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/linereader.h"

#include "tests/history/names.h"

/* A line is read twice: its members first, because what `value` means depends on `workload` and
 * `f`, which may stand behind it; then the value. Memory of a line is used again for the next. */
#define LINE_BYTES_MAX (64u * 1024 * 1024)

static bool read_process(struct linereader *r)
{
    struct bytes name;
    r->has_process = true;
    if (jsonscan_peek(&r->scan) == '"') {
        r->event.process = HISTORY_PROCESS_NEMESIS;
        return jsonscan_string(&r->scan, &name) &&
               (bytes_equal(name, bytes_of_str("nemesis")) ||
                linereader_fail(r, "a process is an integer or \"nemesis\""));
    }
    return linereader_positive(r, &r->event.process);
}

static bool read_session(struct linereader *r)
{
    int64_t session = 0;
    if (!linereader_positive(r, &session) || session > UINT32_MAX) {
        return linereader_fail(r, "the session does not fit in 32 bits");
    }
    r->event.session = (uint32_t)session;
    return true;
}

/* One member of the line's object. */
static bool read_member(struct linereader *r, struct bytes name)
{
    struct history_event *e = &r->event;
    struct bytes text;
    if (bytes_equal(name, bytes_of_str("time"))) {
        return jsonscan_int(&r->scan, &e->time_ns);
    } else if (bytes_equal(name, bytes_of_str("index"))) {
        return linereader_positive(r, &e->index);
    } else if (bytes_equal(name, bytes_of_str("process"))) {
        return read_process(r);
    } else if (bytes_equal(name, bytes_of_str("type"))) {
        r->has_type = true;
        return jsonscan_string(&r->scan, &text) &&
               (history_type_of(text, &e->type) || linereader_fail(r, "unknown type"));
    } else if (bytes_equal(name, bytes_of_str("workload"))) {
        r->has_workload = true;
        return jsonscan_string(&r->scan, &text) &&
               (history_workload_of(text, &e->workload) || linereader_fail(r, "unknown workload"));
    } else if (bytes_equal(name, bytes_of_str("f"))) {
        if (!jsonscan_string(&r->scan, &text)) {
            return false;
        }
        buf_append_bytes(&r->f, text);
        return buf_ok(&r->f) || linereader_fail(r, "out of memory");
    } else if (bytes_equal(name, bytes_of_str("value"))) {
        return jsonscan_skip(&r->scan, &r->value);
    } else if (bytes_equal(name, bytes_of_str("revision"))) {
        return linereader_positive(r, &e->revision);
    } else if (bytes_equal(name, bytes_of_str("mod_revision"))) {
        return linereader_positive(r, &r->mod_revision);
    } else if (bytes_equal(name, bytes_of_str("at"))) {
        return linereader_positive(r, &e->at_revision);
    } else if (bytes_equal(name, bytes_of_str("serializable"))) {
        return linereader_flag(r, HISTORY_SERIALIZABLE);
    } else if (bytes_equal(name, bytes_of_str("unchanged"))) {
        return linereader_flag(r, HISTORY_UNCHANGED);
    } else if (bytes_equal(name, bytes_of_str("member"))) {
        return linereader_symbol(r, &e->member);
    } else if (bytes_equal(name, bytes_of_str("session"))) {
        return read_session(r);
    }
    return jsonscan_skip(&r->scan, &text);
}

static bool read_members(struct linereader *r)
{
    struct bytes name;
    if (!jsonscan_open(&r->scan, '{')) {
        return false;
    }
    while (jsonscan_next(&r->scan, '}') && jsonscan_name(&r->scan, &name)) {
        if (!read_member(r, name)) {
            return false;
        }
    }
    return jsonscan_end(&r->scan);
}

/* What all events have, before the value is looked at. */
static bool check_members(struct linereader *r)
{
    struct history_event *e = &r->event;
    if (!r->has_type || !r->has_workload || !r->has_process || r->f.len == 0) {
        return linereader_fail(r, "\"process\", \"type\", \"workload\" and \"f\" are needed");
    }
    if (!history_f_of(e->workload, buf_bytes(&r->f), &e->f)) {
        return linereader_fail(r, "this workload has no such \"f\"");
    }
    if ((e->workload == HISTORY_NEMESIS) != (e->process == HISTORY_PROCESS_NEMESIS)) {
        return linereader_fail(r, "the nemesis has its own process and workload");
    }
    if (history_f_is_told(e->f) && e->type != HISTORY_INFO) {
        return linereader_fail(r, "what was told is of type \"info\"");
    }
    return true;
}

static bool read_line(struct linereader *r, struct bytes line)
{
    static const uint8_t null_text[] = "null";
    r->event = (struct history_event){0};
    r->has_workload = r->has_type = r->has_process = false;
    r->mod_revision = 0;
    r->value = bytes_of(null_text, 4);
    buf_clear(&r->f);
    buf_clear(&r->items);
    arena_reset(&r->arena);
    jsonscan_line(&r->scan, line);
    if (!read_members(r) || !check_members(r)) {
        return false;
    }
    /* The same line, so that a problem's place is that in the line. */
    if (r->value.data >= line.data && r->value.data < line.data + line.len) {
        r->scan.at = r->value.data;
        r->scan.end = r->value.data + r->value.len;
    } else {
        jsonscan_line(&r->scan, r->value);
    }
    if (!linereader_value(r) || !jsonscan_end(&r->scan)) {
        return false;
    }
    r->event.item_count = (uint32_t)(r->items.len / sizeof(struct history_item));
    r->event.items = (const struct history_item *)(const void *)r->items.data;
    history_add(r->h, &r->event);
    return history_ok(r->h) || linereader_fail(r, "out of memory");
}

static bool is_blank(struct bytes line)
{
    for (size_t i = 0; i < line.len; i++) {
        if (line.data[i] != ' ' && line.data[i] != '\t' && line.data[i] != '\r') {
            return false;
        }
    }
    return true;
}

/* A line with all its text. */
static enum err take_line(struct linereader *r, struct bytes text, uint64_t number, struct why *why)
{
    if (is_blank(text) || read_line(r, text)) {
        return OK;
    }
    why_set(why, "line %llu, column %td: %s", (unsigned long long)number,
            r->scan.at - r->scan.start + 1, r->scan.problem);
    return history_ok(r->h) ? ERR_MALFORMED : ERR_NOMEM;
}

static enum err read_lines(struct linereader *r, FILE *in, struct buf *line, struct why *why)
{
    char block[65536];
    uint64_t number = 1;
    size_t got;
    while ((got = fread(block, 1, sizeof block, in)) > 0) {
        const char *at = block;
        const char *end = block + got;
        const char *newline;
        while ((newline = memchr(at, '\n', (size_t)(end - at))) != NULL) {
            buf_append(line, at, (size_t)(newline - at));
            if (!buf_ok(line)) {
                return ERR_NOMEM;
            }
            TRY(take_line(r, buf_bytes(line), number, why));
            buf_clear(line);
            at = newline + 1;
            number++;
        }
        buf_append(line, at, (size_t)(end - at));
        if (line->len > LINE_BYTES_MAX) {
            why_set(why, "line %llu: longer than %u bytes", (unsigned long long)number,
                    LINE_BYTES_MAX);
            return ERR_MALFORMED;
        }
    }
    if (ferror(in)) {
        why_set(why, "the file cannot be read");
        return ERR_IO;
    }
    return buf_ok(line) ? take_line(r, buf_bytes(line), number, why) : ERR_NOMEM;
}

enum err history_read_json(struct history *h, FILE *in, struct why *why)
{
    struct linereader r = {.h = h};
    struct buf line = {0};
    jsonscan_init(&r.scan);
    enum err err = read_lines(&r, in, &line, why);
    buf_fini(&line);
    jsonscan_fini(&r.scan);
    arena_fini(&r.arena);
    buf_fini(&r.items);
    buf_fini(&r.list);
    buf_fini(&r.f);
    return err;
}
