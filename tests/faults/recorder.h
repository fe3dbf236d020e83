/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAULTS_RECORDER_H
#define TESTS_FAULTS_RECORDER_H

#include "base/bytes.h"
#include "base/env.h"

/* Writes what clients ask and are told, in the order in which it happens: one object of JSON a
 * line, as tests/history/README.md tells. Counts what it writes. */
struct recorder;

MUST_CHECK enum err recorder_open(struct env *env, const char *path, struct recorder **ret,
                                  struct why *why);
/* ERR_IO: not all of it could be written. */
MUST_CHECK enum err recorder_close(struct recorder *recorder, struct why *why);
void recorder_flush(struct recorder *recorder);

enum record_type { RECORD_INVOKE, RECORD_OK, RECORD_FAIL, RECORD_INFO, RECORD_TYPES };

struct record {
    int64_t process;
    enum record_type type;
    const char *workload;
    const char *f;
    struct bytes value; /* JSON */
    int64_t revision;   /* 0: there is none */
    const char *extra;  /* more fields, each after a comma; NULL: none */
    const char *member; /* NULL: none */
    uint64_t session;   /* 0: none */
    const char *error;  /* a text for people; NULL: none */
};
void recorder_write(struct recorder *recorder, const struct record *record);

/* How many of the type were written. */
uint64_t recorder_count(const struct recorder *recorder, enum record_type type);

/* JSON: a string, of which each byte is a code point; a value of the store, which is a number when
 * it is the decimal digits of one. */
void json_string(struct buf *buf, struct bytes text);
void json_value(struct buf *buf, struct bytes value);

#endif
