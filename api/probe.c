/* SPDX-License-Identifier: Apache-2.0 */
/* Probes in the words of etcd:
 *
 *   /livez                   ok
 *   /readyz?verbose          [+]data_corruption ok, [+]serializable_read ok, ..., ok: a line each
 *   /readyz, with a failure  503, as if verbose: [-]linearizable_read failed: etcdserver: ...
 *   /readyz?exclude=CHECK    all but that one, any number of them
 *   /readyz/CHECK            that one alone */
#include "api/probe.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "fsm/alarm.h"

enum check { DATA_CORRUPTION, SERIALIZABLE_READ, LINEARIZABLE_READ, NON_LEARNER, CHECKS };

static const char *const names[CHECKS] = {
    [DATA_CORRUPTION] = "data_corruption",
    [SERIALIZABLE_READ] = "serializable_read",
    [LINEARIZABLE_READ] = "linearizable_read",
    [NON_LEARNER] = "non_learner",
};

#define BIT(check) (1u << (check))

static const struct {
    const char *path;
    unsigned checks;
    bool is_of_life;
} roots[] = {
    {"/livez", BIT(SERIALIZABLE_READ), true},
    {"/readyz", BIT(CHECKS) - 1, false},
};

/* While it waits for a linearizable read. */
struct probing {
    struct read_op read;
    struct exchange exchange;
    struct probe probe;
};

/* ---- paths ---- */

/* "" is all of CHECKS, "/data_corruption" that one; 0: neither. */
static unsigned choose(unsigned checks, struct bytes rest)
{
    if (rest.len == 0) {
        return checks;
    }
    for (unsigned check = 0; check < CHECKS; check++) {
        bool same = rest.data[0] == '/' &&
                    bytes_equal(bytes_of(rest.data + 1, rest.len - 1), bytes_of_str(names[check]));
        if (same) {
            return checks & BIT(check);
        }
    }
    return 0;
}

bool probe_find(struct bytes path, struct probe *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
        struct bytes root = bytes_of_str(roots[i].path);
        if (path.len < root.len || memcmp(path.data, root.data, root.len) != 0) {
            continue;
        }
        struct bytes rest = bytes_of(path.data + root.len, path.len - root.len);
        unsigned checks = choose(roots[i].checks, rest);
        if (checks != 0) {
            *ret = (struct probe){checks, rest.len == 0, roots[i].is_of_life};
            return true;
        }
    }
    return false;
}

static unsigned excluded(struct http1_request *request)
{
    unsigned checks = 0;
    struct bytes value;
    for (unsigned i = 0; http1_query_find(request, "exclude", i, &value); i++) {
        for (unsigned check = 0; check < CHECKS; check++) {
            checks |= bytes_equal(value, bytes_of_str(names[check])) ? BIT(check) : 0;
        }
    }
    return checks;
}

/* ---- checks ---- */

/* Why a check fails; NULL: it does not. READ: what a linearizable read has come to. */
static const char *failure(const struct probe *probe, struct server *server, enum check check,
                           enum err read)
{
    bool bare = server_is_bare(server);
    switch (check) {
    case DATA_CORRUPTION:
        return !bare && alarm_is_active(fsm_alarms(server_fsm(server)), ALARM_CORRUPT)
                   ? "alarm activated: CORRUPT"
                   : NULL;
    case SERIALIZABLE_READ:
        /* Who waits for its database is alive: to start it again would begin that anew. */
        return bare && !probe->is_of_life ? "no database yet" : NULL;
    case LINEARIZABLE_READ:
        return read == OK ? NULL : status_of(read).text;
    case NON_LEARNER:
        return server_is_learner(server) ? "not supported for learner" : NULL;
    case CHECKS:
        break;
    }
    return NULL;
}

static void respond(const struct probe *probe, const struct exchange *exchange, enum err read)
{
    CLEANUP(buf_fini) struct buf lines = {0};
    bool good = true;
    for (unsigned check = 0; check < CHECKS; check++) {
        if ((probe->checks & BIT(check)) == 0) {
            continue;
        }
        const char *why = failure(probe, exchange->service->server, check, read);
        if (why == NULL) {
            buf_printf(&lines, "[+]%s ok\n", names[check]);
        } else {
            buf_printf(&lines, "[-]%s failed: %s\n", names[check], why);
            good = false;
        }
    }
    struct bytes value;
    if (good && !http1_query_find(exchange->request, "verbose", 0, &value)) {
        buf_clear(&lines);
    }
    buf_printf(&lines, "%s", good ? "ok\n" : "\n");
    buf_append(&lines, "", 1);
    if (buf_ok(&lines)) {
        http_respond_text(exchange, good ? 200 : 503, (const char *)lines.data);
    } else {
        http_respond_text(exchange, 500, "out of memory\n");
    }
}

/* ---- waiting ---- */

static void on_read(struct read_op *op, enum err status)
{
    struct probing *probing = CONTAINER_OF(op, struct probing, read);
    respond(&probing->probe, &probing->exchange, status);
    free(probing);
}

static void on_gone(struct http1_request *request)
{
    struct probing *probing = request->user;
    server_read_cancel(probing->exchange.service->server, &probing->read);
    free(probing);
}

void probe_start(const struct probe *probe, const struct exchange *exchange)
{
    struct probe left = *probe;
    if (probe->is_whole) {
        left.checks &= ~excluded(exchange->request);
    }
    if ((left.checks & BIT(LINEARIZABLE_READ)) == 0) {
        respond(&left, exchange, OK);
        return;
    }
    struct probing *probing = calloc(1, sizeof *probing);
    if (probing == NULL) {
        respond(&left, exchange, ERR_NOMEM);
        return;
    }
    probing->exchange = *exchange;
    probing->probe = left;
    exchange->request->user = probing;
    exchange->request->on_gone = on_gone;
    server_read(exchange->service->server, &probing->read, on_read);
}
