/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HISTORY_HISTORY_H
#define TESTS_HISTORY_HISTORY_H

#include <stdio.h>

#include "base/bytes.h"

/* What clients asked a cluster and what they were told, in the order in which it happened; and
 * whether a correct store can have said that. README.md tells the file format and what is checked.
 *
 *     struct history *h = history_new();
 *     uint32_t key = history_text(h, bytes_of_str("r1"));
 *     struct history_item put = {.f = HISTORY_ITEM_WRITE, .key = key, .value = history_int(h, 7)};
 *     struct history_event e = {.time_ns = now, .process = 3, .type = HISTORY_INVOKE,
 *                               .workload = HISTORY_REGISTER, .f = HISTORY_WRITE,
 *                               .items = &put, .item_count = 1};
 *     history_add(h, &e);
 *     ... the answer comes, and its header says revision 12 ...
 *     e.type = HISTORY_OK, e.time_ns = now, e.revision = 12;
 *     history_add(h, &e);
 *
 * Not thread-safe; one owner. Nothing here reads a clock or a random number. */
struct history;

enum history_type {
    HISTORY_INVOKE, /* a process asks */
    HISTORY_OK,     /* it was done */
    HISTORY_FAIL,   /* it was not done, and never will be */
    HISTORY_INFO    /* nobody knows; or something was told that nobody asked for */
};

enum history_workload {
    HISTORY_REGISTER,
    HISTORY_SET,
    HISTORY_APPEND,
    HISTORY_WR,
    HISTORY_LOCK,
    HISTORY_WATCH,
    HISTORY_LEASE,
    HISTORY_BANK,
    HISTORY_FINAL,   /* what each member has in the end */
    HISTORY_ADMIN,   /* compaction */
    HISTORY_NEMESIS, /* faults: recorded, counted, not checked */
    HISTORY_WORKLOADS
};

enum history_f {
    HISTORY_READ,         /* register, set, bank */
    HISTORY_WRITE,        /* register; of no value: delete */
    HISTORY_CAS,          /* register */
    HISTORY_ADD,          /* set */
    HISTORY_TXN,          /* append, wr */
    HISTORY_OPEN,         /* bank: all accounts, in one transaction */
    HISTORY_TRANSFER,     /* bank */
    HISTORY_ACQUIRE,      /* lock */
    HISTORY_RELEASE,      /* lock */
    HISTORY_FENCED,       /* lock: a transaction that compared the ownership key */
    HISTORY_START,        /* watch: create and its answer */
    HISTORY_EVENTS,       /* watch, INFO: one response */
    HISTORY_PROGRESS,     /* watch, INFO: a bookmark */
    HISTORY_CANCEL,       /* watch, INFO: the server ended this watch */
    HISTORY_CLOSE,        /* watch, INFO: the stream is over, and all its watches */
    HISTORY_GRANT,        /* lease */
    HISTORY_KEEPALIVE,    /* lease */
    HISTORY_REVOKE,       /* lease */
    HISTORY_TIME_TO_LIVE, /* lease */
    HISTORY_ATTACH,       /* lease: put of a key with the lease */
    HISTORY_GONE,         /* lease, INFO: its end was seen */
    HISTORY_STATE,        /* final */
    HISTORY_COMPACT,      /* admin */
    HISTORY_FAULT,        /* nemesis */
    HISTORY_FS
};

enum history_item_f {
    HISTORY_ITEM_READ,
    HISTORY_ITEM_WRITE,   /* no value: delete */
    HISTORY_ITEM_COMPARE, /* the key has the value; no value: there is no such key */
    HISTORY_ITEM_APPEND,
    HISTORY_ITEM_PUT,    /* EVENTS */
    HISTORY_ITEM_DELETE, /* EVENTS */
    HISTORY_ITEM_FS
};

/* Keys, values, names: numbers from history_text() and its like; equal things have equal numbers.
 */
#define HISTORY_NONE 0u

/* One part of an event: a micro-operation, a watch event, a key with its value. What a workload
 * does not use is 0. */
struct history_item {
    enum history_item_f f;
    uint32_t key;
    uint32_t value;
    uint32_t prev_value;     /* events: prev_kv; HISTORY_NONE: there was none in the answer */
    int64_t mod_revision;    /* of what was read; of a watch event */
    int64_t create_revision; /* 0: not known */
    int64_t version;         /* 0: not known */
    int64_t prev_mod_revision;
    const uint32_t *list; /* append, set: what was read. NULL with list_count 0: no such key */
    uint32_t list_count;
};

/* What a watch asked for (START), in `flags`; and of an event of any kind. */
#define HISTORY_SERIALIZABLE 1u  /* the read may be old */
#define HISTORY_PREV_KV      2u  /* START */
#define HISTORY_NO_PUT       4u  /* START: filter */
#define HISTORY_NO_DELETE    8u  /* START: filter */
#define HISTORY_MORE         16u /* EVENTS: a fragment, more of this response follows */
#define HISTORY_UNCHANGED    32u /* OK of a write: a delete that found nothing */

struct history_event {
    int64_t index;   /* as in the file; history_add counts from 0 when it is negative or 0 */
    int64_t time_ns; /* of one monotonic clock */
    int64_t process; /* 0 and up; HISTORY_PROCESS_NEMESIS */
    enum history_type type;
    enum history_workload workload;
    enum history_f f;
    uint32_t flags;
    uint32_t member;     /* a name; HISTORY_NONE: not known */
    uint32_t session;    /* a connection to one member, for its life; 0: not known */
    int64_t revision;    /* header.revision of the answer; 0: there was none */
    int64_t at_revision; /* reads: asked for this revision. START: start_revision. CANCEL:
                            compact_revision. COMPACT: the revision */
    int64_t id;          /* watch or lease */
    int64_t number;      /* lease: TTL in s. TRANSFER: amount. STATE: HashKV's hash, 0: not asked */
    const struct history_item *items;
    uint32_t item_count;
};

#define HISTORY_PROCESS_NEMESIS (-1)
#define HISTORY_WATCH_ALL       (-1) /* PROGRESS: all watches of the process */

/* NULL: no memory. */
struct history *history_new(void);
void history_free(struct history *h); /* NULL allowed */

/* The number of a text (bytes, no encoding) or an integer; a text that is an integer's digits, as a
 * store keeps it, is that integer. HISTORY_NONE: no memory. */
uint32_t history_text(struct history *h, struct bytes text);
uint32_t history_int(struct history *h, int64_t number);

uint32_t history_find_text(const struct history *h, struct bytes text); /* NONE: not there */

/* Append a copy; it has the items that README.md names. What had no memory is remembered, and
 * history_ok says so once for all. */
void history_add(struct history *h, const struct history_event *e);
bool history_ok(const struct history *h);

size_t history_count(const struct history *h);
const struct history_event *history_at(const struct history *h, size_t position);

/* The bytes of a symbol; its integer, or false when it is none. */
struct bytes history_symbol_text(const struct history *h, uint32_t symbol);
bool history_symbol_int(const struct history *h, uint32_t symbol, int64_t *ret);
size_t history_symbol_count(const struct history *h); /* all numbers are below */

/* Read JSON lines until the end of IN, behind what is there. ERR_MALFORMED: `why` has the line and
 * what is wrong with it. */
MUST_CHECK enum err history_read_json(struct history *h, FILE *in, struct why *why);
void history_write_json(const struct history *h, const struct history_event *e, FILE *out);
/* The same as a map of EDN, for Jepsen's own checkers. */
void history_write_edn(const struct history *h, const struct history_event *e, FILE *out);

/* ---- Verdicts ---- */

enum history_checker {
    HISTORY_CHECK_SHAPE,    /* an answer has its question, a process does one thing at a time */
    HISTORY_CHECK_REVISION, /* strict serializability, by the revisions that the store gave */
    HISTORY_CHECK_LINEAR,   /* linearizability of registers, without revisions */
    HISTORY_CHECK_WATCH,
    HISTORY_CHECK_LEASE,
    HISTORY_CHECK_LOCK,
    HISTORY_CHECK_SET,
    HISTORY_CHECK_CYCLE, /* append and wr: dependency cycles, without revisions */
    HISTORY_CHECK_BANK,
    HISTORY_CHECK_FINAL, /* durability, and that members are equal */
    HISTORY_CHECKERS
};

enum history_verdict {
    HISTORY_VALID,
    HISTORY_INVALID,
    HISTORY_UNKNOWN, /* the bound of time or memory came first */
    HISTORY_VOID     /* nothing wrong, but less was checked than the caller demands */
};

struct history_options {
    uint32_t checkers;           /* a bit for each enum history_checker; 0: all */
    bool strangers;              /* others write, too: what nobody wrote may be seen */
    int64_t lease_late_ns;       /* a lease ends at most so long after its TTL; 0: not checked */
    int64_t lease_early_ns;      /* what the clocks may differ by, at most */
    uint32_t clock_fast_ppm;     /* a server's second may be shorter by that, in millionths */
    uint64_t linear_states_max;  /* per key; 0: 1,000,000 */
    uint64_t findings_max;       /* of one checker, texts kept; 0: 20 */
    uint64_t operations_min;     /* answered OK */
    uint64_t reads_min;          /* linearizable reads compared by revision */
    uint64_t writes_min;         /* acknowledged writes compared by revision */
    uint64_t watch_events_min;   /* compared */
    uint64_t lease_promises_min; /* compared with an end or a sign of life */
    uint64_t lock_holds_min;
    uint64_t final_members_min;
    uint64_t faults_min;
};

/* With zeros for what is not set. ERR_NOMEM only: what is wrong with the history is in the report.
 * H must outlive the report. */
struct history_report;
MUST_CHECK enum err history_check(const struct history *h, const struct history_options *options,
                                  struct history_report **ret);
void history_report_free(struct history_report *report); /* NULL allowed */

/* INVALID if any is, then UNKNOWN, then VOID. */
enum history_verdict history_report_verdict(const struct history_report *report);
enum history_verdict history_report_of(const struct history_report *report,
                                       enum history_checker checker);

/* Findings, with texts for people: at most findings_max of a checker, though all are counted. */
struct history_finding {
    enum history_checker checker;
    const char *rule;      /* one word or two of README.md's table: "stale read" */
    const char *text;      /* a sentence or two, with the events concerned */
    uint64_t positions[4]; /* of the events, for history_at */
    uint32_t position_count;
};
size_t history_report_findings(const struct history_report *report);
const struct history_finding *history_report_finding(const struct history_report *report, size_t i);

void history_report_write_text(const struct history_report *report, FILE *out);
void history_report_write_json(const struct history_report *report, FILE *out);

#endif
