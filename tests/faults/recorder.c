/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/faults/recorder.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"

#define DIGITS_MAX 18u /* always an int64 */

struct recorder {
    struct env *env;
    FILE *file;
    struct buf line;
    uint64_t counts[RECORD_TYPES];
};

static const char *const type_names[RECORD_TYPES] = {
    [RECORD_INVOKE] = "invoke",
    [RECORD_OK] = "ok",
    [RECORD_FAIL] = "fail",
    [RECORD_INFO] = "info",
};

enum err recorder_open(struct env *env, const char *path, struct recorder **ret, struct why *why)
{
    struct recorder *recorder = calloc(1, sizeof *recorder);
    if (recorder == NULL) {
        return ERR_NOMEM;
    }
    recorder->env = env;
    recorder->file = fopen(path, "we");
    if (recorder->file == NULL) {
        why_set(why, "open '%s': %s", path, strerror(errno));
        free(recorder);
        return ERR_IO;
    }
    *ret = recorder;
    return OK;
}

enum err recorder_close(struct recorder *recorder, struct why *why)
{
    if (recorder == NULL) {
        return OK;
    }
    bool wrote = ferror(recorder->file) == 0;
    wrote = fclose(recorder->file) == 0 && wrote;
    buf_fini(&recorder->line);
    free(recorder);
    if (!wrote) {
        why_set(why, "write the history: %s", strerror(errno));
    }
    return wrote ? OK : ERR_IO;
}

void recorder_flush(struct recorder *recorder)
{
    (void)fflush(recorder->file); /* an error stays, for the end */
}

void json_string(struct buf *buf, struct bytes text)
{
    buf_append_str(buf, "\"");
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c < 0x20 || c > 0x7e || c == '"' || c == '\\') {
            buf_printf(buf, "\\u%04x", c);
        } else {
            buf_append(buf, &c, 1);
        }
    }
    buf_append_str(buf, "\"");
}

static bool is_number(struct bytes value)
{
    if (value.len == 0 || value.len > DIGITS_MAX || (value.len > 1 && value.data[0] == '0')) {
        return false;
    }
    for (size_t i = 0; i < value.len; i++) {
        if (!isdigit(value.data[i])) {
            return false;
        }
    }
    return true;
}

void json_value(struct buf *buf, struct bytes value)
{
    if (is_number(value)) {
        buf_append_bytes(buf, value);
    } else {
        json_string(buf, value);
    }
}

static void add_options(struct buf *line, const struct record *record)
{
    if (record->revision != 0) {
        buf_printf(line, ",\"revision\":%" PRId64, record->revision);
    }
    if (record->extra != NULL) {
        buf_append_str(line, record->extra);
    }
    if (record->member != NULL) {
        buf_append_str(line, ",\"member\":");
        json_string(line, bytes_of_str(record->member));
    }
    if (record->session != 0) {
        buf_printf(line, ",\"session\":%" PRIu64, record->session);
    }
    if (record->error != NULL) {
        buf_append_str(line, ",\"error\":");
        json_string(line, bytes_of_str(record->error));
    }
}

void recorder_write(struct recorder *recorder, const struct record *record)
{
    struct buf *line = &recorder->line;
    buf_clear(line);
    buf_printf(line,
               "{\"time\":%" PRIu64 ",\"process\":%" PRId64
               ",\"type\":\"%s\",\"workload\":\"%s\",\"f\":\"%s\",\"value\":",
               env_now_ns(recorder->env), record->process, type_names[record->type],
               record->workload, record->f);
    buf_append_bytes(line, record->value);
    add_options(line, record);
    buf_append_str(line, "}\n");
    if (!buf_ok(line)) {
        fatal("out of memory");
    }
    (void)fwrite(line->data, 1, line->len, recorder->file); /* recorder_close tells */
    recorder->counts[record->type]++;
}

uint64_t recorder_count(const struct recorder *recorder, enum record_type type)
{
    return recorder->counts[type];
}
