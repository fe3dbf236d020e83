/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TRIVET_BENCH_REPORT_H
#define CMD_TRIVET_BENCH_REPORT_H

#include <stdio.h>

#include "cmd/trivet-bench/latency.h"
#include "net/grpc.h"

#define REPORT_NOTES_MAX 16

/* What was measured. */
struct report {
    struct latency latency; /* of answers that came in time and were OK */
    uint64_t errors[GRPC_STATUS_COUNT];
    char error_text[256]; /* of the last one */
    uint64_t wrong;
    char wrong_text[512]; /* of the first one */
    uint64_t answered;    /* calls that were OK, the warm-up's as well */
    uint64_t answer_bytes;
    uint64_t missing;
    uint64_t begin_ns;
    uint64_t end_ns;
    double cpu_seconds; /* of this program */
    /* What else a workload has found out. */
    struct report_note {
        const char *name; /* of the field in JSON */
        double value;
    } notes[REPORT_NOTES_MAX];
    size_t note_count;
};

/* What the run was, for --json. */
struct report_run {
    const char *workload;
    const char *endpoints;
    uint64_t connections;
    uint64_t clients;
    uint64_t key_size;
    uint64_t value_size;
    uint64_t rate;
    uint64_t seed;
};

void report_note(struct report *report, const char *name, double value);
uint64_t report_error_count(const struct report *report);
double report_rate(const struct report *report);

void report_print(FILE *out, const struct report *report, const struct report_run *run);
void report_print_json(FILE *out, const struct report *report, const struct report_run *run);
/* On a terminal: one line, written over again. OPS and ERRORS of the last INTERVAL_NS. */
void report_progress(FILE *out, double elapsed_seconds, uint64_t ops, uint64_t errors,
                     uint64_t interval_ns, const struct latency *latency);

#endif
