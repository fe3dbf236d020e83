/* SPDX-License-Identifier: Apache-2.0 */
#include "base/logger.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

/* A line is its level, its time and its body: caller, message and fields. The last few bodies are
 * remembered: one that comes again within a second of its last writing is only counted. The count
 * is written with the first occurrence after that second, or, when none comes, before the next line
 * of any kind or at the end. So no occurrence is lost, and a storm of one message costs a line a
 * second.
 *
 * The mutex is the one exception to "none outside worker": every thread logs, rarely, and a line
 * must not be torn. */
#define BODY_BYTES_MAX    4096
#define STR_BYTES_MAX     1024 /* of one text, before escaping */
#define RECENT_COUNT      16
#define REPEAT_WINDOW_MS  1000
#define CALLER_COMPONENTS 2 /* "raft/node.c:12", as etcd's logger has it */

struct text {
    char data[BODY_BYTES_MAX];
    size_t len;
    bool full; /* something did not fit */
};

struct recent {
    struct text body;
    enum log_level level;
    uint64_t since_ms; /* when it was last written */
    uint64_t repeated; /* came since then */
};

struct logger {
    struct env *env;
    int fd;
    enum log_level level;
    char *name;
    pthread_mutex_t mutex;
    struct recent recent[RECENT_COUNT];
    unsigned recent_count;
};

static const char *const level_texts[] = {
    [LOG_DEBUG] = "debug",
    [LOG_INFO] = "info",
    [LOG_WARN] = "warn",
    [LOG_ERROR] = "error",
};

static void add(struct text *t, const char *data, size_t len)
{
    if (t->full || len > sizeof t->data - t->len) {
        t->full = true;
        return;
    }
    memcpy(t->data + t->len, data, len);
    t->len += len;
}

static void add_str(struct text *t, const char *str)
{
    add(t, str, strlen(str));
}

/* The length of the valid UTF-8 sequence at AT (RFC 3629, section 4), or 0. */
static size_t utf8_sequence(const uint8_t *at, size_t left)
{
    static const struct {
        uint8_t first_min, first_max, second_min, second_max, len;
    } forms[] = {
        {0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        if (at[0] < forms[i].first_min || at[0] > forms[i].first_max || left < forms[i].len) {
            continue;
        }
        if (forms[i].len > 1 && (at[1] < forms[i].second_min || at[1] > forms[i].second_max)) {
            return 0;
        }
        for (size_t k = 2; k < forms[i].len; k++) {
            if ((at[k] & 0xc0) != 0x80) {
                return 0;
            }
        }
        return forms[i].len;
    }
    return 0;
}

/* One character of a JSON string; bytes that are not UTF-8 become U+FFFD. */
static void add_char(struct text *t, const uint8_t *at, size_t len)
{
    char escape[8];
    if (len == 0) {
        add_str(t, "\\ufffd");
    } else if (*at == '"' || *at == '\\') {
        snprintf(escape, sizeof escape, "\\%c", *at);
        add_str(t, escape);
    } else if (*at == '\n') {
        add_str(t, "\\n");
    } else if (*at == '\t') {
        add_str(t, "\\t");
    } else if (*at < 0x20 || *at == 0x7f) {
        snprintf(escape, sizeof escape, "\\u%04x", *at);
        add_str(t, escape);
    } else {
        add(t, (const char *)at, len);
    }
}

static void add_quoted(struct text *t, const char *str)
{
    const uint8_t *at = (const uint8_t *)(str == NULL ? "" : str);
    size_t left = strnlen((const char *)at, STR_BYTES_MAX);
    add_str(t, "\"");
    while (left > 0) {
        size_t len = utf8_sequence(at, left);
        add_char(t, at, len);
        size_t step = len == 0 ? 1 : len;
        at += step;
        left -= step;
    }
    add_str(t, "\"");
}

/* The end of CALLER, without the folders before the source tree: __FILE__ is as the compiler was
 * told. */
static const char *short_caller(const char *caller)
{
    const char *at = caller + strlen(caller);
    int components = 0;
    while (at > caller) {
        if (at[-1] == '/' && ++components == CALLER_COMPONENTS) {
            break;
        }
        at--;
    }
    return at;
}

static void add_field(struct text *t, const struct log_field *field)
{
    char number[32];
    add_str(t, ",\"");
    add_str(t, field->name);
    add_str(t, "\":");
    switch (field->kind) {
    case FIELD_U64:
        snprintf(number, sizeof number, "%" PRIu64, field->u64);
        add_str(t, number);
        break;
    case FIELD_I64:
        snprintf(number, sizeof number, "%" PRId64, field->i64);
        add_str(t, number);
        break;
    case FIELD_HEX:
        snprintf(number, sizeof number, "\"%" PRIx64 "\"", field->u64);
        add_str(t, number);
        break;
    case FIELD_BOOL:
        add_str(t, field->u64 != 0 ? "true" : "false");
        break;
    case FIELD_STR:
        add_quoted(t, field->str);
        break;
    }
}

/* A field that does not fit is left out whole, so that the line stays JSON. */
static void add_field_whole(struct text *t, const struct log_field *field)
{
    size_t before = t->len;
    add_field(t, field);
    if (t->full) {
        t->len = before;
        t->full = false;
    }
}

static void make_body(struct text *body, const struct logger *log, const char *caller,
                      const char *msg, const struct log_field *fields, size_t field_count)
{
    body->len = 0;
    body->full = false;
    add_str(body, "\"caller\":");
    add_quoted(body, short_caller(caller));
    add_field_whole(body, &LOG_STR("msg", msg));
    if (log->name != NULL) {
        add_field_whole(body, &LOG_STR("member", log->name));
    }
    for (size_t i = 0; i < field_count; i++) {
        add_field_whole(body, &fields[i]);
    }
}

static void write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return; /* there is nobody left to tell */
        }
        data += n;
        len -= (size_t)n;
    }
}

static void write_line(const struct logger *log, const struct recent *r, uint64_t now_ms)
{
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm tm;
    if (gmtime_r(&seconds, &tm) == NULL) {
        tm = (struct tm){0};
    }
    char time_text[32];
    size_t time_len = strftime(time_text, sizeof time_text, "%Y-%m-%dT%H:%M:%S", &tm);
    char line[BODY_BYTES_MAX + 256];
    int n = snprintf(line, sizeof line, "{\"level\":\"%s\",\"ts\":\"%.*s.%03uZ\",",
                     level_texts[r->level], (int)time_len, time_text, (unsigned)(now_ms % 1000));
    size_t len = (size_t)n;
    memcpy(line + len, r->body.data, r->body.len);
    len += r->body.len;
    if (r->repeated > 0) {
        n = snprintf(line + len, sizeof line - len, ",\"repeated\":%" PRIu64, r->repeated);
        len += (size_t)n;
    }
    memcpy(line + len, "}\n", 2);
    write_all(log->fd, line, len + 2);
}

static bool window_over(const struct recent *r, uint64_t now_ms)
{
    return now_ms < r->since_ms || now_ms - r->since_ms >= REPEAT_WINDOW_MS;
}

static struct recent *find_recent(struct logger *log, enum log_level level, const struct text *body)
{
    for (unsigned i = 0; i < log->recent_count; i++) {
        struct recent *r = &log->recent[i];
        if (r->level == level && r->body.len == body->len &&
            memcmp(r->body.data, body->data, body->len) == 0) {
            return r;
        }
    }
    return NULL;
}

/* Write the counts whose second is over, except KEEP's, which goes out with its own line. */
static void write_counts(struct logger *log, const struct recent *keep, uint64_t now_ms)
{
    for (unsigned i = 0; i < log->recent_count; i++) {
        struct recent *r = &log->recent[i];
        if (r != keep && r->repeated > 0 && window_over(r, now_ms)) {
            write_line(log, r, now_ms);
            r->repeated = 0;
            r->since_ms = now_ms;
        }
    }
}

/* A place for a new body: a free one, or that of the body not written for the longest time. */
static struct recent *take_place(struct logger *log, uint64_t now_ms)
{
    if (log->recent_count < RECENT_COUNT) {
        return &log->recent[log->recent_count++];
    }
    struct recent *oldest = &log->recent[0];
    for (unsigned i = 1; i < RECENT_COUNT; i++) {
        if (log->recent[i].since_ms < oldest->since_ms) {
            oldest = &log->recent[i];
        }
    }
    if (oldest->repeated > 0) {
        write_line(log, oldest, now_ms);
    }
    return oldest;
}

static void write_or_count(struct logger *log, enum log_level level, const struct text *body)
{
    uint64_t now_ms = env_wall_ms(log->env);
    struct recent *r = find_recent(log, level, body);
    write_counts(log, r, now_ms);
    if (r != NULL) {
        if (!window_over(r, now_ms)) {
            r->repeated++;
            return;
        }
        r->repeated += r->repeated > 0; /* with this one */
    } else {
        r = take_place(log, now_ms);
        r->level = level;
        r->repeated = 0;
        memcpy(r->body.data, body->data, body->len);
        r->body.len = body->len;
    }
    write_line(log, r, now_ms);
    r->since_ms = now_ms;
    r->repeated = 0;
}

void log_write(struct logger *log, enum log_level level, const char *caller, const char *msg,
               const struct log_field *fields, size_t field_count)
{
    if (log == NULL || level < log->level) {
        return;
    }
    struct text body;
    make_body(&body, log, caller, msg, fields, field_count);
    pthread_mutex_lock(&log->mutex);
    write_or_count(log, level, &body);
    pthread_mutex_unlock(&log->mutex);
}

enum err logger_new(struct env *env, int fd, enum log_level level, const char *name,
                    struct logger **ret)
{
    struct logger *log = calloc(1, sizeof *log);
    if (log == NULL) {
        return ERR_NOMEM;
    }
    if (name != NULL && (log->name = strdup(name)) == NULL) {
        free(log);
        return ERR_NOMEM;
    }
    log->env = env;
    log->fd = fd;
    log->level = level;
    pthread_mutex_init(&log->mutex, NULL);
    *ret = log;
    return OK;
}

void logger_free(struct logger *log)
{
    if (log == NULL) {
        return;
    }
    uint64_t now_ms = env_wall_ms(log->env);
    for (unsigned i = 0; i < log->recent_count; i++) {
        if (log->recent[i].repeated > 0) {
            write_line(log, &log->recent[i], now_ms);
        }
    }
    pthread_mutex_destroy(&log->mutex);
    free(log->name);
    free(log);
}
