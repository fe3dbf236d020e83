/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/verdict.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "tests/history/names.h"

#define COUNTS_MAX           128
#define FINDINGS_MAX_DEFAULT 20
#define TEXT_BYTES_MAX       1024

struct count {
    enum history_checker checker;
    const char *name;
    uint64_t n;
};

struct history_report {
    const struct history *h;
    uint64_t findings_max;
    uint32_t checkers; /* that ran */
    struct arena arena;
    struct buf findings; /* struct history_finding each */
    uint64_t found[HISTORY_CHECKERS];
    const char *unknown[HISTORY_CHECKERS]; /* why; NULL: known */
    struct buf too_little;                 /* text: what makes it void */
    struct count counts[COUNTS_MAX];
    size_t count_count;
    bool no_memory;
};

enum err report_new(const struct history *h, const struct history_options *options,
                    struct history_report **ret)
{
    struct history_report *report = calloc(1, sizeof *report);
    if (report == NULL) {
        return ERR_NOMEM;
    }
    report->h = h;
    report->checkers = options->checkers;
    report->findings_max =
        options->findings_max != 0 ? options->findings_max : FINDINGS_MAX_DEFAULT;
    *ret = report;
    return OK;
}

void history_report_free(struct history_report *report)
{
    if (report == NULL) {
        return;
    }
    arena_fini(&report->arena);
    buf_fini(&report->findings);
    buf_fini(&report->too_little);
    free(report);
}

bool report_ok(const struct history_report *report)
{
    return !report->no_memory && buf_ok(&report->findings) && buf_ok(&report->too_little);
}

void report_no_memory(struct history_report *report)
{
    report->no_memory = true;
}

/* " [#12 1.000234 s process 3 ok register write r1 7]" */
static void print_event(struct buf *text, const struct history *h, uint64_t position)
{
    const struct history_event *e = history_at(h, position);
    buf_printf(text, " [#%" PRId64 " at %" PRId64 ".%06" PRId64 " s, ", e->index,
               e->time_ns / 1000000000, (e->time_ns % 1000000000) / 1000);
    if (e->process == HISTORY_PROCESS_NEMESIS) {
        buf_append_str(text, "nemesis]");
        return;
    }
    buf_printf(text, "process %" PRId64 ": %s %s %s", e->process, history_type_name(e->type),
               history_workload_name(e->workload), history_f_name(e->f));
    for (uint32_t i = 0; i < e->item_count && i < 2; i++) {
        char key[SYMBOL_TEXT_BYTES];
        char value[SYMBOL_TEXT_BYTES];
        buf_printf(text, " %s=%s", symbol_print(h, e->items[i].key, key),
                   symbol_print(h, e->items[i].value, value));
    }
    if (e->id != 0) {
        buf_printf(text, " %" PRId64, e->id);
    }
    if (e->revision != 0) {
        buf_printf(text, " @%" PRId64, e->revision);
    }
    buf_append_str(text, "]");
}

void report_add(struct history_report *report, enum history_checker checker, const char *rule,
                const uint64_t positions[4], const char *format, ...)
{
    bool asked_for = (report->checkers & 1u << checker) != 0;
    if (!asked_for || report->found[checker]++ >= report->findings_max) {
        return;
    }
    struct buf text = {0};
    char sentence[TEXT_BYTES_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    buf_append_str(&text, sentence);
    struct history_finding finding = {.checker = checker, .rule = rule};
    for (int i = 0; i < 4; i++) {
        if (positions[i] != NO_POSITION) {
            finding.positions[finding.position_count++] = positions[i];
            print_event(&text, report->h, positions[i]);
        }
    }
    finding.text = buf_ok(&text) ? arena_strdup(&report->arena, buf_bytes(&text)) : NULL;
    report->no_memory |= finding.text == NULL;
    buf_fini(&text);
    if (finding.text != NULL) {
        buf_append(&report->findings, &finding, sizeof finding);
    }
}

void report_unknown(struct history_report *report, enum history_checker checker, const char *why)
{
    report->unknown[checker] = why;
}

static struct count *find_count(const struct history_report *report, enum history_checker checker,
                                const char *name)
{
    for (size_t i = 0; i < report->count_count; i++) {
        const struct count *c = &report->counts[i];
        if (c->checker == checker && strcmp(c->name, name) == 0) {
            return (struct count *)c;
        }
    }
    return NULL;
}

void report_count(struct history_report *report, enum history_checker checker, const char *name,
                  uint64_t n)
{
    struct count *c = find_count(report, checker, name);
    if (c == NULL && report->count_count < COUNTS_MAX) {
        c = &report->counts[report->count_count++];
        *c = (struct count){.checker = checker, .name = name};
    }
    if (c != NULL) {
        c->n += n;
    }
}

uint64_t report_counted(const struct history_report *report, enum history_checker checker,
                        const char *name)
{
    const struct count *c = find_count(report, checker, name);
    return c != NULL ? c->n : 0;
}

void report_void(struct history_report *report, const char *what, uint64_t got, uint64_t least)
{
    if (got < least) {
        buf_printf(&report->too_little, "%s%" PRIu64 " %s, at least %" PRIu64 " are demanded",
                   report->too_little.len > 0 ? "; " : "", got, what, least);
    }
}

const char *symbol_print(const struct history *h, uint32_t symbol, char ret[SYMBOL_TEXT_BYTES])
{
    int64_t number;
    if (symbol == HISTORY_NONE) {
        snprintf(ret, SYMBOL_TEXT_BYTES, "nothing");
        return ret;
    }
    if (history_symbol_int(h, symbol, &number)) {
        snprintf(ret, SYMBOL_TEXT_BYTES, "%" PRId64, number);
        return ret;
    }
    struct bytes text = history_symbol_text(h, symbol);
    size_t len = text.len < SYMBOL_TEXT_BYTES - 4 ? text.len : SYMBOL_TEXT_BYTES - 4;
    for (size_t i = 0; i < len; i++) {
        ret[i] = isprint(text.data[i]) ? (char)text.data[i] : '.';
    }
    strcpy(ret + len, len < text.len ? "..." : "");
    return ret;
}

enum history_verdict history_report_of(const struct history_report *report,
                                       enum history_checker checker)
{
    if (report->found[checker] > 0) {
        return HISTORY_INVALID;
    }
    return report->unknown[checker] != NULL ? HISTORY_UNKNOWN : HISTORY_VALID;
}

enum history_verdict history_report_verdict(const struct history_report *report)
{
    enum history_verdict worst = HISTORY_VALID;
    for (int c = 0; c < HISTORY_CHECKERS; c++) {
        enum history_verdict one = history_report_of(report, (enum history_checker)c);
        if (one == HISTORY_INVALID) {
            return one;
        }
        worst = one == HISTORY_UNKNOWN ? one : worst;
    }
    return worst == HISTORY_VALID && report->too_little.len > 0 ? HISTORY_VOID : worst;
}

size_t history_report_findings(const struct history_report *report)
{
    return report->findings.len / sizeof(struct history_finding);
}

const struct history_finding *history_report_finding(const struct history_report *report, size_t i)
{
    return (const struct history_finding *)(const void *)report->findings.data + i;
}

static void write_counts_text(const struct history_report *report, enum history_checker checker,
                              FILE *out)
{
    const char *before = ": ";
    for (size_t i = 0; i < report->count_count; i++) {
        const struct count *c = &report->counts[i];
        if (c->checker == checker) {
            fprintf(out, "%s%" PRIu64 " %s", before, c->n, c->name);
            before = ", ";
        }
    }
    fputc('\n', out);
}

void history_report_write_text(const struct history_report *report, FILE *out)
{
    for (size_t i = 0; i < history_report_findings(report); i++) {
        const struct history_finding *f = history_report_finding(report, i);
        fprintf(out, "%s: %s: %s\n", history_checker_name(f->checker), f->rule, f->text);
    }
    for (int c = 0; c < HISTORY_CHECKERS; c++) {
        enum history_checker checker = (enum history_checker)c;
        if ((report->checkers & 1u << c) == 0) {
            continue;
        }
        fprintf(out, "%-8s %s", history_checker_name(checker),
                history_verdict_name(history_report_of(report, checker)));
        if (report->found[c] > 0) {
            fprintf(out, " (%" PRIu64 " findings)", report->found[c]);
        }
        if (report->unknown[c] != NULL) {
            fprintf(out, " (%s)", report->unknown[c]);
        }
        write_counts_text(report, checker, out);
    }
    if (report->too_little.len > 0) {
        fprintf(out, "too little was checked: %.*s\n", (int)report->too_little.len,
                (const char *)report->too_little.data);
    }
    fprintf(out, "verdict: %s\n", history_verdict_name(history_report_verdict(report)));
}

/* Our own texts and shortened names: only quotes and backslashes need care. */
static void write_json_text(const char *text, size_t len, FILE *out)
{
    fputc('"', out);
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"' || text[i] == '\\') {
            fputc('\\', out);
        }
        fputc(text[i], out);
    }
    fputc('"', out);
}

static void write_json_checker(const struct history_report *report, enum history_checker checker,
                               FILE *out)
{
    fprintf(out, "\"%s\":{\"verdict\":\"%s\",\"findings\":%" PRIu64 ",\"counts\":{",
            history_checker_name(checker), history_verdict_name(history_report_of(report, checker)),
            report->found[checker]);
    const char *before = "";
    for (size_t i = 0; i < report->count_count; i++) {
        const struct count *c = &report->counts[i];
        if (c->checker == checker) {
            fprintf(out, "%s\"%s\":%" PRIu64, before, c->name, c->n);
            before = ",";
        }
    }
    fputs("}}", out);
}

static void write_json_finding(const struct history_report *report, const struct history_finding *f,
                               FILE *out)
{
    fprintf(out, "{\"checker\":\"%s\",\"rule\":\"%s\",\"text\":", history_checker_name(f->checker),
            f->rule);
    write_json_text(f->text, strlen(f->text), out);
    fputs(",\"events\":[", out);
    for (uint32_t i = 0; i < f->position_count; i++) {
        fprintf(out, "%s%" PRId64, i > 0 ? "," : "", history_at(report->h, f->positions[i])->index);
    }
    fputs("]}", out);
}

void history_report_write_json(const struct history_report *report, FILE *out)
{
    fprintf(out, "{\"verdict\":\"%s\",\"checkers\":{",
            history_verdict_name(history_report_verdict(report)));
    const char *before = "";
    for (int c = 0; c < HISTORY_CHECKERS; c++) {
        if ((report->checkers & 1u << c) != 0) {
            fputs(before, out);
            write_json_checker(report, (enum history_checker)c, out);
            before = ",";
        }
    }
    fputs("},\"findings\":[", out);
    for (size_t i = 0; i < history_report_findings(report); i++) {
        fputs(i > 0 ? "," : "", out);
        write_json_finding(report, history_report_finding(report, i), out);
    }
    fputs("],\"void\":", out);
    write_json_text((const char *)report->too_little.data, report->too_little.len, out);
    fputs("}\n", out);
}
