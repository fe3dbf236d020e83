/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/checks.h"

#include "base/cleanup.h"

/* All checkers over one history. Those that need the log of revisions share it. */
#define BIT(checker) (1u << HISTORY_CHECK_##checker)
#define ALL_CHECKERS ((1u << HISTORY_CHECKERS) - 1)
#define NEED_LOG     (BIT(REVISION) | BIT(WATCH) | BIT(LEASE) | BIT(LOCK) | BIT(FINAL))

static enum err check_with_log(const struct operations *ops, const struct history_options *options,
                               struct history_report *report)
{
    struct revlog log;
    TRY(revlog_build(ops, options, report, &log));
    enum err err = OK;
    if ((options->checkers & (BIT(REVISION) | BIT(FINAL))) != 0) {
        err = check_revision(&log);
    }
    if (err == OK && (options->checkers & BIT(FINAL)) != 0) {
        err = check_final(&log);
    }
    if (err == OK && (options->checkers & BIT(WATCH)) != 0) {
        err = check_watch(&log);
    }
    if (err == OK && (options->checkers & BIT(LEASE)) != 0) {
        err = check_lease(&log);
    }
    if (err == OK && (options->checkers & BIT(LOCK)) != 0) {
        err = check_lock(&log);
    }
    revlog_fini(&log);
    return err;
}

static enum err check_all(const struct operations *ops, const struct history_options *options,
                          struct history_report *report)
{
    if ((options->checkers & NEED_LOG) != 0) {
        TRY(check_with_log(ops, options, report));
    }
    if ((options->checkers & BIT(LINEAR)) != 0) {
        TRY(check_linear(ops, options, report));
    }
    if ((options->checkers & BIT(SET)) != 0) {
        TRY(check_set(ops, report));
    }
    if ((options->checkers & BIT(CYCLE)) != 0) {
        TRY(check_cycle(ops, report));
    }
    if ((options->checkers & BIT(BANK)) != 0) {
        TRY(check_bank(ops, report));
    }
    return OK;
}

static void demand(const struct history_options *o, struct history_report *report)
{
    const struct {
        enum history_checker checker;
        const char *name;
        uint64_t least;
    } rows[] = {
        {HISTORY_CHECK_SHAPE, "ok", o->operations_min},
        {HISTORY_CHECK_SHAPE, "faults", o->faults_min},
        {HISTORY_CHECK_REVISION, "linearizable reads", o->reads_min},
        {HISTORY_CHECK_REVISION, "acknowledged writes", o->writes_min},
        {HISTORY_CHECK_WATCH, "events", o->watch_events_min},
        {HISTORY_CHECK_LEASE, "promises compared", o->lease_promises_min},
        {HISTORY_CHECK_LOCK, "holds", o->lock_holds_min},
        {HISTORY_CHECK_FINAL, "members", o->final_members_min},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        report_void(report, rows[i].name, report_counted(report, rows[i].checker, rows[i].name),
                    rows[i].least);
    }
}

enum err history_check(const struct history *h, const struct history_options *options,
                       struct history_report **ret)
{
    struct history_options o = *options;
    o.checkers = (o.checkers == 0 ? ALL_CHECKERS : o.checkers) | BIT(SHAPE);
    if (!history_ok(h)) {
        return ERR_NOMEM;
    }
    struct history_report *report;
    struct operations ops;
    TRY(report_new(h, &o, &report));
    enum err err = operations_build(h, report, &ops);
    if (err == OK) {
        err = check_all(&ops, &o, report);
        operations_fini(&ops);
    }
    if (err == OK) {
        demand(&o, report);
        err = report_ok(report) ? OK : ERR_NOMEM;
    }
    if (err != OK) {
        history_report_free(report);
        return err;
    }
    *ret = report;
    return OK;
}
