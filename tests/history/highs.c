/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/revlog.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/array.h"

/* One walk over the history in the order of time, with the largest revision that anybody has seen
 * so far. What is asked after it was seen must not be answered with less. */
struct walk {
    struct revlog *log;
    struct high high;
    struct numtable sessions;
    struct high *of_session; /* for each: the largest it has seen */
    size_t session_cap;
    struct high *session_at_question; /* for each operation */
    uint64_t ordered;
    uint64_t in_session;
};

static void raise_high(struct high *high, int64_t revision, uint32_t at)
{
    if (revision > high->revision) {
        *high = (struct high){.revision = revision, .at = at};
    }
}

/* Whether what was answered must be as new as all that was seen before. Leases are not asked: their
 * answers carry a revision of the member, and promise nothing with it. */
static bool is_linearizable(const struct operation *op)
{
    switch (op->asked->workload) {
    case HISTORY_REGISTER:
    case HISTORY_SET:
    case HISTORY_APPEND:
    case HISTORY_WR:
    case HISTORY_LOCK:
    case HISTORY_BANK:
        return !operation_is_serializable(op);
    default:
        return op->asked->f == HISTORY_ATTACH;
    }
}

static bool session_find(struct walk *w, const struct history_event *e, struct high **ret)
{
    *ret = NULL;
    if (e->session == 0) {
        return true;
    }
    uint32_t i = numtable_number(&w->sessions, e->session);
    if (i == NUMTABLE_NONE) {
        return false;
    }
    size_t fresh = w->session_cap;
    if (!ARRAY_MAKE_ROOM(w->of_session, i, w->session_cap, 64)) {
        return false;
    }
    for (; fresh < w->session_cap; fresh++) {
        w->of_session[fresh] = (struct high){.at = NEVER};
    }
    *ret = &w->of_session[i];
    return true;
}

static void compare_with_high(struct walk *w, const struct operation *op, uint32_t op_number)
{
    const struct high *high = &w->log->high[op_number];
    int64_t revision = op->answer->revision;
    int64_t wrote = op->outcome == HISTORY_OK ? revlog_acked_revision(op) : 0;
    uint64_t where[4] = {op->asked_at, op->answer_at, high->at, NO_POSITION};
    w->ordered++;
    if (wrote > 0 && wrote <= high->revision) {
        report_add(w->log->report, HISTORY_CHECK_REVISION, "order", where,
                   "a write has revision %" PRId64 ", and %" PRId64
                   " had been seen before it was asked for:",
                   wrote, high->revision);
    } else if (revision < high->revision) {
        report_add(w->log->report, HISTORY_CHECK_REVISION, "stale", where,
                   "answered at revision %" PRId64 ", and %" PRId64
                   " had been seen before it was asked for:",
                   revision, high->revision);
    }
}

static void compare_with_session(struct walk *w, const struct operation *op, uint32_t op_number)
{
    const struct high *high = &w->session_at_question[op_number];
    if (op->answer->session == 0 || op->answer->session != op->asked->session) {
        return;
    }
    w->in_session++;
    if (op->answer->revision < high->revision) {
        uint64_t where[4] = {op->asked_at, op->answer_at, high->at, NO_POSITION};
        report_add(w->log->report, HISTORY_CHECK_REVISION, "session goes back", where,
                   "a connection to one member was answered at revision %" PRId64 " after %" PRId64
                   ":",
                   op->answer->revision, high->revision);
    }
}

static void see_told(struct walk *w, const struct history_event *e, uint32_t at)
{
    raise_high(&w->high, e->revision, at);
    for (uint32_t i = 0; i < e->item_count && e->f == HISTORY_EVENTS; i++) {
        raise_high(&w->high, e->items[i].mod_revision, at);
    }
}

static enum err see_operation(struct walk *w, uint32_t op_number, uint32_t at)
{
    const struct operation *op = &w->log->ops->ops[op_number];
    const struct history_event *e = history_at(w->log->h, at);
    struct high *session;
    if (!session_find(w, e, &session)) {
        return ERR_NOMEM;
    }
    if (at == op->asked_at) {
        w->log->high[op_number] = w->high;
        w->session_at_question[op_number] = session != NULL ? *session : (struct high){.at = NEVER};
        return OK;
    }
    if (op->outcome == HISTORY_INFO || e->revision == 0) {
        return OK;
    }
    if (is_linearizable(op)) {
        compare_with_high(w, op, op_number);
    }
    compare_with_session(w, op, op_number);
    raise_high(&w->high, e->revision, at);
    if (session != NULL) {
        raise_high(session, e->revision, at);
    }
    return OK;
}

static enum err walk_all(struct walk *w)
{
    const struct operations *ops = w->log->ops;
    for (uint32_t at = 0; at < history_count(ops->h); at++) {
        if (ops->of_event[at] == NEVER) {
            see_told(w, history_at(ops->h, at), at);
        } else {
            TRY(see_operation(w, ops->of_event[at], at));
        }
    }
    return OK;
}

enum err revlog_highs(struct revlog *log)
{
    struct walk w = {.log = log, .high.at = NEVER};
    w.session_at_question = reallocarray(NULL, log->ops->count + 1, sizeof *w.session_at_question);
    enum err err = w.session_at_question == NULL ? ERR_NOMEM : walk_all(&w);
    report_count(log->report, HISTORY_CHECK_REVISION, "answers in order", w.ordered);
    report_count(log->report, HISTORY_CHECK_REVISION, "answers of sessions", w.in_session);
    numtable_fini(&w.sessions);
    free(w.of_session);
    free(w.session_at_question);
    return err;
}
