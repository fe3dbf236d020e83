/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "cmd/cli/options.h"
#include "tests/history/generate.h"
#include "tests/history/mutate.h"
#include "tests/history/names.h"

/* trivet-history: check a history, turn it into EDN, or make one. */
#define EXIT_UNUSABLE 64
#define ARGS_MAX      4096

struct settings {
    bool json;
    bool strangers;
    bool help;
    const char *only;
    const char *workload;
    const char *mutate;
    uint64_t lease_late_ms;
    uint64_t lease_early_ms;
    uint64_t states;
    uint64_t findings;
    uint64_t operations_min;
    uint64_t reads_min;
    uint64_t writes_min;
    uint64_t watch_events_min;
    uint64_t lease_promises_min;
    uint64_t lock_holds_min;
    uint64_t members_min;
    uint64_t faults_min;
    uint64_t seed;
    uint64_t operations;
    uint64_t clients;
    uint64_t keys;
    uint64_t unknown;
};

#define ROW(name, kind, field, unit, help)                       \
    {                                                            \
        name, kind, offsetof(struct settings, field), unit, help \
    }

static const struct option_row rows[] = {
    ROW("json", OPTION_BOOL, json, NULL, "check: the verdict as JSON"),
    ROW("only", OPTION_TEXT, only, "CHECKER,...", "check: these (shape revision linear watch ...)"),
    ROW("strangers", OPTION_BOOL, strangers, NULL,
        "check: there are writers that are not recorded"),
    ROW("lease-late", OPTION_DURATION_MS, lease_late_ms, "TIME",
        "check: a lease ends so late at most"),
    ROW("lease-early", OPTION_DURATION_MS, lease_early_ms, "TIME", "check: what clocks differ by"),
    ROW("states", OPTION_NUMBER, states, "N", "check: search so many states for a key"),
    ROW("findings", OPTION_NUMBER, findings, "N", "check: print so many of each checker"),
    ROW("min-operations", OPTION_NUMBER, operations_min, "N", "check: void with fewer answered"),
    ROW("min-reads", OPTION_NUMBER, reads_min, "N", "check: void with fewer linearizable reads"),
    ROW("min-writes", OPTION_NUMBER, writes_min, "N", "check: void with fewer acknowledged writes"),
    ROW("min-watch-events", OPTION_NUMBER, watch_events_min, "N", "check: void with fewer"),
    ROW("min-lease-promises", OPTION_NUMBER, lease_promises_min, "N", "check: void with fewer"),
    ROW("min-lock-holds", OPTION_NUMBER, lock_holds_min, "N", "check: void with fewer"),
    ROW("min-members", OPTION_NUMBER, members_min, "N", "check: void with fewer final states"),
    ROW("min-faults", OPTION_NUMBER, faults_min, "N", "check: void with fewer nemesis events"),
    ROW("workload", OPTION_TEXT, workload, "NAME,...", "edn, generate: only these"),
    ROW("seed", OPTION_NUMBER, seed, "N", "generate: all chance comes from it"),
    ROW("operations", OPTION_NUMBER, operations, "N", "generate: so many (400)"),
    ROW("clients", OPTION_NUMBER, clients, "N", "generate: so many at once (5)"),
    ROW("keys", OPTION_NUMBER, keys, "N", "generate: so many of each workload (3)"),
    ROW("unknown", OPTION_NUMBER, unknown, "PERCENT", "generate: so many without an answer (5)"),
    ROW("mutate", OPTION_TEXT, mutate, "NAME", "generate: with this made wrong; help lists them"),
    ROW("help", OPTION_BOOL, help, NULL, "print this"),
};

static void usage(FILE *out)
{
    fputs("usage: trivet-history check [OPTION...] FILE...\n"
          "       trivet-history edn [OPTION...] FILE\n"
          "       trivet-history generate [OPTION...]\n"
          "Histories are JSON lines (tests/history/README.md); - is the standard input.\n"
          "check ends with 0: valid, 1: invalid, 2: unknown or void, 64: unusable.\n",
          out);
    options_help(out, rows, ARRAY_LEN(rows));
}

static enum err read_file(const char *path, struct history *h, struct why *why)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *in = is_stdin ? stdin : fopen(path, "r");
    if (in == NULL) {
        why_set(why, "%s: %s", path, strerror(errno));
        return ERR_IO;
    }
    enum err err = history_read_json(h, in, why);
    if (err != OK) {
        why_prefix(why, "%s", path);
    }
    if (!is_stdin) {
        fclose(in);
    }
    return err;
}

/* The bits of the names in LIST. */
static bool bits_of(const char *list, size_t count, const char *(*name)(size_t), uint32_t *ret)
{
    *ret = 0;
    while (*list != '\0') {
        size_t len = strcspn(list, ",");
        size_t i = 0;
        while (i < count && (strlen(name(i)) != len || strncmp(name(i), list, len) != 0)) {
            i++;
        }
        if (i == count) {
            return false;
        }
        *ret |= 1u << i;
        list += len + (list[len] == ',');
    }
    return true;
}

static const char *checker_name(size_t i)
{
    return history_checker_name((enum history_checker)i);
}

static const char *workload_name(size_t i)
{
    return history_workload_name((enum history_workload)i);
}

static int64_t in_ns(uint64_t ms)
{
    return ms > INT64_MAX / 1000000 ? INT64_MAX : (int64_t)ms * 1000000;
}

static enum err check_file(const struct settings *s, uint32_t checkers, const char *path,
                           enum history_verdict *ret, struct why *why)
{
    struct history_options options = {
        .checkers = checkers,
        .strangers = s->strangers,
        .lease_late_ns = in_ns(s->lease_late_ms),
        .lease_early_ns = in_ns(s->lease_early_ms),
        .linear_states_max = s->states,
        .findings_max = s->findings,
        .operations_min = s->operations_min,
        .reads_min = s->reads_min,
        .writes_min = s->writes_min,
        .watch_events_min = s->watch_events_min,
        .lease_promises_min = s->lease_promises_min,
        .lock_holds_min = s->lock_holds_min,
        .final_members_min = s->members_min,
        .faults_min = s->faults_min,
    };
    struct history *h = history_new();
    struct history_report *report = NULL;
    enum err err = h == NULL ? ERR_NOMEM : read_file(path, h, why);
    if (err == OK) {
        err = history_check(h, &options, &report);
    }
    if (err == OK) {
        *ret = history_report_verdict(report);
        if (s->json) {
            history_report_write_json(report, stdout);
        } else {
            history_report_write_text(report, stdout);
        }
    }
    history_report_free(report);
    history_free(h);
    return err;
}

static int unusable(enum err err, const struct why *why)
{
    fprintf(stderr, "trivet-history: %s\n", why->text[0] != '\0' ? why->text : err_text(err));
    return EXIT_UNUSABLE;
}

static int check_command(const struct settings *s, const char *const *files, size_t count)
{
    uint32_t checkers = 0;
    struct why why = {0};
    int status = 0;
    if (count == 0) {
        why_set(&why, "no file to check");
        return unusable(ERR_INVALID, &why);
    }
    if (s->only != NULL && !bits_of(s->only, HISTORY_CHECKERS, checker_name, &checkers)) {
        why_set(&why, "--only: there is no such checker in '%s'", s->only);
        return unusable(ERR_INVALID, &why);
    }
    for (size_t i = 0; i < count; i++) {
        enum history_verdict verdict;
        enum err err = check_file(s, checkers, files[i], &verdict, &why);
        if (err != OK) {
            return unusable(err, &why);
        }
        int one = verdict == HISTORY_VALID ? 0 : verdict == HISTORY_INVALID ? 1 : 2;
        status = one == 1 || status == 1 ? 1 : one > status ? one : status;
    }
    return status;
}

/* The good history with what is wanted made wrong; NULL: it cannot be, and why. */
static struct history *mutated(struct history *good, const struct settings *s, struct why *why)
{
    size_t i = 0;
    while (i < mutation_count() && strcmp(mutation_name(i), s->mutate) != 0) {
        i++;
    }
    struct history *bad = NULL;
    if (i == mutation_count()) {
        why_set(why, "--mutate: there is no '%s'", s->mutate);
    } else {
        bad = history_mutate(good, i, s->seed);
        why_set(why, "this history has no place for '%s'", s->mutate);
    }
    history_free(good);
    return bad;
}

static enum err make_history(const struct settings *s, uint32_t workloads, struct history **ret,
                             struct why *why)
{
    struct history *h = history_new();
    if (h == NULL) {
        return ERR_NOMEM;
    }
    history_generate(h, &(struct generate_options){.seed = s->seed,
                                                   .workloads = workloads,
                                                   .operations = (unsigned)s->operations,
                                                   .clients = (unsigned)s->clients,
                                                   .keys = (unsigned)s->keys,
                                                   .unknown_percent = (unsigned)s->unknown});
    if (!history_ok(h)) {
        history_free(h);
        return ERR_NOMEM;
    }
    *ret = s->mutate == NULL ? h : mutated(h, s, why);
    return *ret != NULL ? OK : ERR_INVALID;
}

static enum err load_history(const char *path, struct history **ret, struct why *why)
{
    struct history *h = history_new();
    enum err err = h == NULL ? ERR_NOMEM : read_file(path, h, why);
    if (err != OK) {
        history_free(h);
        return err;
    }
    *ret = h;
    return OK;
}

static int write_command(const struct settings *s, const char *const *files, size_t count, bool edn)
{
    struct why why = {0};
    uint32_t workloads = 0;
    struct history *h = NULL;
    if (s->workload != NULL &&
        !bits_of(s->workload, HISTORY_WORKLOADS, workload_name, &workloads)) {
        why_set(&why, "--workload: there is no such workload in '%s'", s->workload);
        return unusable(ERR_INVALID, &why);
    }
    if (count != (edn ? 1u : 0u)) {
        why_set(&why, edn ? "one file is expected" : "no file is expected");
        return unusable(ERR_INVALID, &why);
    }
    enum err err = edn ? load_history(files[0], &h, &why) : make_history(s, workloads, &h, &why);
    for (size_t i = 0; err == OK && i < history_count(h); i++) {
        const struct history_event *e = history_at(h, i);
        if (edn && (workloads == 0 || (workloads & 1u << e->workload) != 0)) {
            history_write_edn(h, e, stdout);
        } else if (!edn) {
            history_write_json(h, e, stdout);
        }
    }
    history_free(h);
    return err == OK ? 0 : unusable(err, &why);
}

int main(int argc, char **argv)
{
    struct settings s = {0};
    const char *args[ARGS_MAX];
    size_t count;
    struct why why = {0};
    enum err err = options_parse(rows, ARRAY_LEN(rows), argc, (const char *const *)argv, &s, args,
                                 ARRAY_LEN(args), &count, &why);
    if (err != OK) {
        return unusable(err, &why);
    }
    if (s.help) {
        usage(stdout);
        return 0;
    }
    if (s.mutate != NULL && strcmp(s.mutate, "help") == 0) {
        for (size_t i = 0; i < mutation_count(); i++) {
            puts(mutation_name(i));
        }
        return 0;
    }
    if (count > 0 && strcmp(args[0], "check") == 0) {
        return check_command(&s, args + 1, count - 1);
    }
    if (count > 0 && (strcmp(args[0], "edn") == 0 || strcmp(args[0], "generate") == 0)) {
        return write_command(&s, args + 1, count - 1, args[0][0] == 'e');
    }
    usage(stderr);
    return EXIT_UNUSABLE;
}
