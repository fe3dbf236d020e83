/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/trivet-bench/report.h"

#include <inttypes.h>

#include "base/assert.h"

static const struct {
    const char *name;      /* for people */
    const char *json_name; /* in microseconds */
    double percent;
} percentiles[] = {
    {"p50", "p50_us", 50},       {"p90", "p90_us", 90},  {"p99", "p99_us", 99},
    {"p99.9", "p99_9_us", 99.9}, {"max", "max_us", 100},
};
#define PERCENTILE_COUNT (sizeof percentiles / sizeof percentiles[0])

void report_note(struct report *report, const char *name, double value)
{
    ASSERT(report->note_count < REPORT_NOTES_MAX);
    report->notes[report->note_count++] = (struct report_note){name, value};
}

uint64_t report_error_count(const struct report *report)
{
    uint64_t count = 0;
    for (size_t i = 0; i < GRPC_STATUS_COUNT; i++) {
        count += report->errors[i];
    }
    return count;
}

static double seconds_of(const struct report *report)
{
    return (double)(report->end_ns - report->begin_ns) / 1e9;
}

double report_rate(const struct report *report)
{
    double seconds = seconds_of(report);
    return seconds > 0 ? (double)report->latency.count / seconds : 0;
}

static double cpu_us_per_op(const struct report *report)
{
    return report->latency.count > 0 ? report->cpu_seconds * 1e6 / (double)report->latency.count
                                     : 0;
}

static void print_ms(FILE *out, const char *name, uint64_t ns)
{
    fprintf(out, "  %s %.3f", name, (double)ns / 1e6);
}

void report_print(FILE *out, const struct report *report, const struct report_run *run)
{
    fprintf(out,
            "%s: %" PRIu64 " clients, %" PRIu64 " connections, keys of %" PRIu64
            " and values of %" PRIu64 " bytes\n",
            run->workload, run->clients, run->connections, run->key_size, run->value_size);
    fprintf(out, "  %.0f operations/s (%" PRIu64 " in %.2f s), %.2f us of CPU here for each\n",
            report_rate(report), report->latency.count, seconds_of(report), cpu_us_per_op(report));
    fprintf(out, "  latency ms:");
    print_ms(out, "mean", latency_mean_ns(&report->latency));
    for (size_t i = 0; i < PERCENTILE_COUNT; i++) {
        print_ms(out, percentiles[i].name,
                 latency_percentile_ns(&report->latency, percentiles[i].percent));
    }
    fprintf(out, "\n");
    for (size_t i = 0; i < report->note_count; i++) {
        fprintf(out, "  %s: %.3f\n", report->notes[i].name, report->notes[i].value);
    }
    if (report->missing > 0) {
        fprintf(out, "  reads that found no key: %" PRIu64 "\n", report->missing);
    }
    for (size_t i = 0; i < GRPC_STATUS_COUNT; i++) {
        if (report->errors[i] > 0) {
            fprintf(out, "  errors %s: %" PRIu64 "\n", grpc_status_name((enum grpc_status)i),
                    report->errors[i]);
        }
    }
    if (report->error_text[0] != '\0') {
        fprintf(out, "  last error: %s\n", report->error_text);
    }
    if (report->wrong > 0) {
        fprintf(out, "  WRONG ANSWERS: %" PRIu64 "; the first: %s\n", report->wrong,
                report->wrong_text);
    }
}

/* The texts come from servers and command lines. */
static void print_json_text(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            fprintf(out, "\\%c", c);
        } else if (c < 0x20 || c >= 0x7f) {
            fprintf(out, "\\u%04x", c);
        } else {
            fputc(c, out);
        }
    }
    fputc('"', out);
}

static void print_json_run(FILE *out, const struct report_run *run)
{
    fprintf(out, "{\"workload\":\"%s\",\"endpoints\":", run->workload);
    print_json_text(out, run->endpoints);
    fprintf(out,
            ",\"connections\":%" PRIu64 ",\"clients\":%" PRIu64 ",\"key_size\":%" PRIu64
            ",\"value_size\":%" PRIu64 ",\"rate\":%" PRIu64 ",\"seed\":%" PRIu64,
            run->connections, run->clients, run->key_size, run->value_size, run->rate, run->seed);
}

void report_print_json(FILE *out, const struct report *report, const struct report_run *run)
{
    print_json_run(out, run);
    fprintf(out, ",\"seconds\":%.3f,\"ops\":%" PRIu64 ",\"ops_per_second\":%.1f",
            seconds_of(report), report->latency.count, report_rate(report));
    fprintf(out, ",\"answered\":%" PRIu64 ",\"answer_bytes\":%" PRIu64 ",\"missing\":%" PRIu64,
            report->answered, report->answer_bytes, report->missing);
    fprintf(out, ",\"cpu_us_per_op\":%.3f,\"mean_us\":%.1f", cpu_us_per_op(report),
            (double)latency_mean_ns(&report->latency) / 1e3);
    for (size_t i = 0; i < PERCENTILE_COUNT; i++) {
        fprintf(out, ",\"%s\":%.1f", percentiles[i].json_name,
                (double)latency_percentile_ns(&report->latency, percentiles[i].percent) / 1e3);
    }
    for (size_t i = 0; i < report->note_count; i++) {
        fprintf(out, ",\"%s\":%.3f", report->notes[i].name, report->notes[i].value);
    }
    fprintf(out, ",\"errors\":{");
    const char *comma = "";
    for (size_t i = 0; i < GRPC_STATUS_COUNT; i++) {
        if (report->errors[i] > 0) {
            fprintf(out, "%s\"%s\":%" PRIu64, comma, grpc_status_name((enum grpc_status)i),
                    report->errors[i]);
            comma = ",";
        }
    }
    fprintf(out, "},\"last_error\":");
    print_json_text(out, report->error_text);
    fprintf(out, ",\"wrong\":%" PRIu64 ",\"first_wrong\":", report->wrong);
    print_json_text(out, report->wrong_text);
    fprintf(out, "}\n");
}

void report_progress(FILE *out, double elapsed_seconds, uint64_t ops, uint64_t errors,
                     uint64_t interval_ns, const struct latency *latency)
{
    double rate = interval_ns > 0 ? (double)ops * 1e9 / (double)interval_ns : 0;
    fprintf(out, "\r%6.0f s  %9.0f ops/s  %6" PRIu64 " errors  p50 %.2f ms  p99 %.2f ms\033[K",
            elapsed_seconds, rate, errors, (double)latency_percentile_ns(latency, 50) / 1e6,
            (double)latency_percentile_ns(latency, 99) / 1e6);
    fflush(out);
}
