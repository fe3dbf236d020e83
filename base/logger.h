/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOGGER_H
#define BASE_LOGGER_H

#include "base/env.h"

/* JSON lines in the shape of etcd's log:
 * {"level":"info","ts":"2026-01-02T03:04:05.678Z","caller":"raft/node.c:12","msg":"became
 * leader","term":7}. A fixed sentence plus fields. error: someone must act; warn: we went on; info:
 * a state changed; debug: off. Never per request, never keys, values or secrets. The same line
 * within a second of the last is counted, not written; the count comes with its next writing:
 * "repeated":N says that it came N times since. Any thread. */
enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_field {
    const char *name;
    enum { FIELD_U64, FIELD_I64, FIELD_STR, FIELD_HEX, FIELD_BOOL } kind;
    union {
        uint64_t u64;
        int64_t i64;
        const char *str; /* NULL is written as an empty text */
    };
};

struct logger;

/* Write to FD lines of LEVEL and above. ENV gives the wall clock. NAME, when not NULL, is added to
 * each line as "member". */
MUST_CHECK enum err logger_new(struct env *env, int fd, enum log_level level, const char *name,
                               struct logger **ret);
void logger_free(struct logger *log); /* NULL allowed, as for log_write: no logger, no line */
void log_write(struct logger *log, enum log_level level, const char *caller, const char *msg,
               const struct log_field *fields, size_t field_count);

#define LOG_U64(n, v) ((struct log_field){.name = (n), .kind = FIELD_U64, .u64 = (v)})
#define LOG_I64(n, v) ((struct log_field){.name = (n), .kind = FIELD_I64, .i64 = (v)})
#define LOG_STR(n, v) ((struct log_field){.name = (n), .kind = FIELD_STR, .str = (v)})
#define LOG_HEX(n, v)                                                                            \
    ((struct log_field){.name = (n), .kind = FIELD_HEX, .u64 = (v)}) /* ids, as etcd prints them \
                                                                      */
#define LOG_BOOL(n, v) ((struct log_field){.name = (n), .kind = FIELD_BOOL, .u64 = (v)})

#define LOG_TEXT_(x) #x
#define LOG_LINE_(x) LOG_TEXT_(x)
#define LOG_AT_(log, level, msg, ...)                                                             \
    log_write((log), (level), __FILE__ ":" LOG_LINE_(__LINE__), (msg),                            \
              (const struct log_field[]){{0}, ##__VA_ARGS__} + 1,                                 \
              sizeof((const struct log_field[]){{0}, ##__VA_ARGS__}) / sizeof(struct log_field) - \
                  1)
#define LOG_DEBUG(log, msg, ...) LOG_AT_(log, LOG_DEBUG, msg, ##__VA_ARGS__)
#define LOG_INFO(log, msg, ...)  LOG_AT_(log, LOG_INFO, msg, ##__VA_ARGS__)
#define LOG_WARN(log, msg, ...)  LOG_AT_(log, LOG_WARN, msg, ##__VA_ARGS__)
#define LOG_ERROR(log, msg, ...) LOG_AT_(log, LOG_ERROR, msg, ##__VA_ARGS__)

#endif
