/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/names.h"

#include "base/cleanup.h"

static const char *const type_names[] = {
    [HISTORY_INVOKE] = "invoke",
    [HISTORY_OK] = "ok",
    [HISTORY_FAIL] = "fail",
    [HISTORY_INFO] = "info",
};

static const char *const workload_names[HISTORY_WORKLOADS] = {
    [HISTORY_REGISTER] = "register", [HISTORY_SET] = "set",
    [HISTORY_APPEND] = "append",     [HISTORY_WR] = "wr",
    [HISTORY_LOCK] = "lock",         [HISTORY_WATCH] = "watch",
    [HISTORY_LEASE] = "lease",       [HISTORY_BANK] = "bank",
    [HISTORY_FINAL] = "final",       [HISTORY_ADMIN] = "admin",
    [HISTORY_NEMESIS] = "nemesis",
};

static const char *const checker_names[HISTORY_CHECKERS] = {
    [HISTORY_CHECK_SHAPE] = "shape",   [HISTORY_CHECK_REVISION] = "revision",
    [HISTORY_CHECK_LINEAR] = "linear", [HISTORY_CHECK_WATCH] = "watch",
    [HISTORY_CHECK_LEASE] = "lease",   [HISTORY_CHECK_LOCK] = "lock",
    [HISTORY_CHECK_SET] = "set",       [HISTORY_CHECK_CYCLE] = "cycle",
    [HISTORY_CHECK_BANK] = "bank",     [HISTORY_CHECK_FINAL] = "final",
};

static const char *const verdict_names[] = {
    [HISTORY_VALID] = "valid",
    [HISTORY_INVALID] = "invalid",
    [HISTORY_UNKNOWN] = "unknown",
    [HISTORY_VOID] = "void",
};

static const struct {
    enum history_workload workload;
    const char *name;
    enum history_f f;
} f_rows[] = {
    {HISTORY_REGISTER, "read", HISTORY_READ},
    {HISTORY_REGISTER, "write", HISTORY_WRITE},
    {HISTORY_REGISTER, "cas", HISTORY_CAS},
    {HISTORY_SET, "add", HISTORY_ADD},
    {HISTORY_SET, "read", HISTORY_READ},
    {HISTORY_APPEND, "txn", HISTORY_TXN},
    {HISTORY_WR, "txn", HISTORY_TXN},
    {HISTORY_LOCK, "acquire", HISTORY_ACQUIRE},
    {HISTORY_LOCK, "release", HISTORY_RELEASE},
    {HISTORY_LOCK, "fenced", HISTORY_FENCED},
    {HISTORY_WATCH, "start", HISTORY_START},
    {HISTORY_WATCH, "events", HISTORY_EVENTS},
    {HISTORY_WATCH, "progress", HISTORY_PROGRESS},
    {HISTORY_WATCH, "cancel", HISTORY_CANCEL},
    {HISTORY_WATCH, "close", HISTORY_CLOSE},
    {HISTORY_LEASE, "grant", HISTORY_GRANT},
    {HISTORY_LEASE, "keepalive", HISTORY_KEEPALIVE},
    {HISTORY_LEASE, "revoke", HISTORY_REVOKE},
    {HISTORY_LEASE, "ttl", HISTORY_TIME_TO_LIVE},
    {HISTORY_LEASE, "attach", HISTORY_ATTACH},
    {HISTORY_LEASE, "gone", HISTORY_GONE},
    {HISTORY_BANK, "open", HISTORY_OPEN},
    {HISTORY_BANK, "transfer", HISTORY_TRANSFER},
    {HISTORY_BANK, "read", HISTORY_READ},
    {HISTORY_FINAL, "state", HISTORY_STATE},
    {HISTORY_ADMIN, "compact", HISTORY_COMPACT},
};

const char *history_type_name(enum history_type type)
{
    return type_names[type];
}

const char *history_workload_name(enum history_workload workload)
{
    return workload_names[workload];
}

const char *history_f_name(enum history_f f)
{
    for (size_t i = 0; i < ARRAY_LEN(f_rows); i++) {
        if (f_rows[i].f == f) {
            return f_rows[i].name;
        }
    }
    return NULL;
}

const char *history_checker_name(enum history_checker checker)
{
    return checker_names[checker];
}

const char *history_verdict_name(enum history_verdict verdict)
{
    return verdict_names[verdict];
}

bool history_type_of(struct bytes name, enum history_type *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(type_names); i++) {
        if (bytes_equal(name, bytes_of_str(type_names[i]))) {
            *ret = (enum history_type)i;
            return true;
        }
    }
    return false;
}

bool history_workload_of(struct bytes name, enum history_workload *ret)
{
    for (size_t i = 0; i < HISTORY_WORKLOADS; i++) {
        if (bytes_equal(name, bytes_of_str(workload_names[i]))) {
            *ret = (enum history_workload)i;
            return true;
        }
    }
    return false;
}

bool history_f_of(enum history_workload workload, struct bytes name, enum history_f *ret)
{
    if (workload == HISTORY_NEMESIS) {
        *ret = HISTORY_FAULT;
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(f_rows); i++) {
        if (f_rows[i].workload == workload && bytes_equal(name, bytes_of_str(f_rows[i].name))) {
            *ret = f_rows[i].f;
            return true;
        }
    }
    return false;
}

bool history_f_is_told(enum history_f f)
{
    return f == HISTORY_EVENTS || f == HISTORY_PROGRESS || f == HISTORY_CANCEL ||
           f == HISTORY_CLOSE || f == HISTORY_GONE || f == HISTORY_FAULT;
}
