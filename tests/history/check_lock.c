/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/checks.h"

#include <inttypes.h>
#include <stdlib.h>

/* etcd's lock is the oldest ownership key under its name: who has it owns the lock until the key is
 * deleted, by a release or with its lease. Nobody can know by a clock whether he still has it; the
 * store does, at each revision:
 *
 *   revision        3      5      8         11      14
 *   key A           put    A has it         gone
 *   key B                         put               B has it        at 11 or later: right
 *                                 B has it                          at 8: two holders
 *
 * So holds are compared by revision, and with the keys of those who only wait: whose key is older
 * is served first. Whoever writes under a comparison with his key is safe, and such a write
 * (`fenced`) is one more proof of who had the lock at its revision. */
struct hold {
    uint32_t lock;
    uint32_t key;
    int64_t created;
    int64_t first; /* known to have it, from here ... */
    int64_t last;  /* ... to here, at least */
    int64_t end;   /* its key was deleted at this revision, or INT64_MAX */
    uint32_t op;   /* the acquisition, or who first told of it */
    uint32_t last_op;
};

struct locking {
    const struct revlog *log;
    struct hold *holds;
    uint32_t count;
    struct numtable of_key;  /* ownership key -> the hold that was acquired with it */
    struct numtable of_life; /* key and the revision that made it -> its hold */
};

static void finding(const struct locking *l, const char *rule, const struct hold *hold,
                    uint64_t other, const char *text)
{
    const struct operation *ops = l->log->ops->ops;
    char lock[SYMBOL_TEXT_BYTES];
    char key[SYMBOL_TEXT_BYTES];
    uint64_t where[4] = {ops[hold->op].answer_at, other, NO_POSITION, NO_POSITION};
    report_add(l->log->report, HISTORY_CHECK_LOCK, rule, where,
               "lock %s, key %s of revision %" PRId64 ", held from %" PRId64 ": %s",
               symbol_print(l->log->h, hold->lock, lock), symbol_print(l->log->h, hold->key, key),
               hold->created, hold->first, text);
}

/* When the key of a hold was deleted, if anybody was told. */
static int64_t end_of(const struct revlog *log, const struct hold *hold)
{
    for (uint32_t i = log->first_of_key[hold->key]; i != NO_CHANGE; i = log->changes[i].next) {
        if (log->changes[i].revision > hold->created && log->changes[i].value == HISTORY_NONE) {
            return log->changes[i].revision;
        }
    }
    return INT64_MAX;
}

static uint64_t life_of(const struct history_item *item)
{
    return numtable_pair(item->key, (uint32_t)item->create_revision);
}

/* What OP's answer tells, which has a key and the revision that made it. */
static bool new_hold(struct locking *l, uint32_t op)
{
    const struct history_event *e = l->log->ops->ops[op].answer;
    const struct history_item *item = &e->items[0];
    struct hold *hold = &l->holds[l->count];
    *hold = (struct hold){.lock = item->value,
                          .key = item->key,
                          .created = item->create_revision,
                          .first = e->revision,
                          .last = e->revision,
                          .op = op,
                          .last_op = op};
    hold->end = end_of(l->log, hold);
    return numtable_set(&l->of_life, life_of(item), l->count++);
}

static bool add_hold(struct locking *l, uint32_t op)
{
    const struct history_item *item = &l->log->ops->ops[op].answer->items[0];
    if (item->key == HISTORY_NONE || item->create_revision == 0) {
        return true; /* it did not tell */
    }
    if (!new_hold(l, op)) {
        return false;
    }
    if (numtable_get(&l->of_key, item->key) != NUMTABLE_NONE) {
        finding(l, "key twice", &l->holds[l->count - 1], NO_POSITION,
                "another acquisition was told the same key:");
    }
    return numtable_set(&l->of_key, item->key, l->count - 1);
}

/* A fenced transaction is one more revision at which its key was the holder's; or was not. Who
 * leads may be one that nobody knew to have acquired it: with a key that was put after its client
 * went away, which may be the same as that client's before. */
static bool add_fenced(struct locking *l, uint32_t number)
{
    const struct operation *op = &l->log->ops->ops[number];
    const struct history_item *told = &operation_told(op)->items[0];
    bool tells_life = told->key != HISTORY_NONE && told->create_revision != 0;
    uint32_t i =
        tells_life ? numtable_get(&l->of_life, life_of(told)) : numtable_get(&l->of_key, told->key);
    if (op->outcome == HISTORY_INFO || op->answer->revision == 0) {
        return true;
    }
    if (i == NUMTABLE_NONE) {
        return !tells_life || op->outcome != HISTORY_OK || new_hold(l, number);
    }
    struct hold *hold = &l->holds[i];
    int64_t revision = op->answer->revision;
    if (op->outcome == HISTORY_OK && revision > hold->last) {
        hold->last = revision;
        hold->last_op = number;
    }
    if (op->outcome == HISTORY_OK && revision < hold->first) {
        hold->first = revision;
    }
    return true;
}

/* When all of a hold is known. */
static void judge_refused(struct locking *l, uint32_t number)
{
    const struct operation *op = &l->log->ops->ops[number];
    uint32_t i = numtable_get(&l->of_key, op->asked->items[0].key);
    if (i == NUMTABLE_NONE || op->outcome == HISTORY_INFO || op->answer->revision == 0) {
        return;
    }
    const struct hold *hold = &l->holds[i];
    int64_t revision = op->answer->revision;
    bool refused = op->asked->f == HISTORY_FENCED && op->outcome == HISTORY_FAIL;
    bool was_gone = op->asked->f == HISTORY_RELEASE && op->outcome == HISTORY_OK &&
                    (op->answer->flags & HISTORY_UNCHANGED) != 0;
    int64_t until = hold->end == INT64_MAX ? hold->last + 1 : hold->end;
    if ((refused || was_gone) && revision >= hold->first && revision < until) {
        finding(l, "holder refused", hold, op->answer_at,
                "it was said not to have the lock, and has it before and after:");
    }
}

static int by_lock_and_age(const void *a, const void *b)
{
    const struct hold *x = a;
    const struct hold *y = b;
    if (x->lock != y->lock) {
        return x->lock < y->lock ? -1 : 1;
    }
    return x->created < y->created ? -1 : x->created > y->created;
}

/* In the order of their keys: nobody may have the lock while an older key is alive. */
static void compare_holds(struct locking *l)
{
    qsort(l->holds, l->count, sizeof *l->holds, by_lock_and_age);
    const struct hold *older = NULL; /* that of the same lock which ended last */
    for (uint32_t i = 0; i < l->count; i++) {
        const struct hold *hold = &l->holds[i];
        if (older != NULL && older->lock != hold->lock) {
            older = NULL;
        }
        int64_t older_until = older == NULL             ? 0
                              : older->end == INT64_MAX ? older->last + 1
                                                        : older->end;
        if (hold->first < older_until) {
            finding(l, "two holders", hold, l->log->ops->ops[older->last_op].answer_at,
                    "an older key of this lock was still there:");
        }
        if (hold->first < hold->created || hold->last >= hold->end) {
            finding(l, "held without a key", hold, l->log->ops->ops[hold->last_op].answer_at,
                    "its key was not there yet, or had been deleted:");
        }
        int64_t until = hold->end == INT64_MAX ? hold->last + 1 : hold->end;
        older = until > older_until ? hold : older;
    }
}

/* ---- those who wait ---- */

/* An ownership key while it is there, whoever put it. */
struct life {
    uint32_t lock;
    uint32_t key;
    int64_t created;
    int64_t end; /* INT64_MAX: nobody was told */
};

static int by_lock_and_birth(const void *a, const void *b)
{
    const struct life *x = a;
    const struct life *y = b;
    if (x->lock != y->lock) {
        return x->lock < y->lock ? -1 : 1;
    }
    return x->created < y->created ? -1 : x->created > y->created;
}

static uint32_t lives_of_key(const struct revlog *log, uint32_t key, struct life *lives)
{
    struct life life = {.lock = revlog_lock_of(log, key), .key = key, .end = INT64_MAX};
    uint32_t count = 0;
    if (life.lock == HISTORY_NONE) {
        return 0;
    }
    for (uint32_t i = log->first_of_key[key]; i != NO_CHANGE; i = log->changes[i].next) {
        const struct change *c = &log->changes[i];
        if (c->value != HISTORY_NONE) {
            life.created = life.created == 0 ? c->revision : life.created;
        } else if (life.created != 0) {
            life.end = c->revision;
            lives[count++] = life;
            life = (struct life){.lock = life.lock, .key = key, .end = INT64_MAX};
        }
    }
    if (life.created != 0) {
        lives[count++] = life;
    }
    return count;
}

/* HOLD against the keys that were put before its own. */
static void compare_with_older(struct locking *l, const struct hold *hold, const struct life *lives,
                               const uint32_t *older, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct life *life = &lives[older[i]];
        if (life->key != hold->key && !revlog_is_uncertain(l->log, life->key, hold->first)) {
            finding(l, "overtaken", hold, NO_POSITION,
                    "an older key of this lock was there, of one who waits:");
            return;
        }
    }
}

/* Both in order, HOLDS by compare_holds. */
static void compare_waiters(struct locking *l, const struct life *lives, uint32_t life_count,
                            uint32_t *older)
{
    uint32_t next = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < l->count; i++) {
        const struct hold *hold = &l->holds[i];
        if (i > 0 && l->holds[i - 1].lock != hold->lock) {
            count = 0;
        }
        while (next < life_count && lives[next].lock < hold->lock) {
            next++;
        }
        while (next < life_count && lives[next].lock == hold->lock &&
               lives[next].created < hold->created) {
            older[count++] = next++;
        }
        uint32_t kept = 0;
        for (uint32_t k = 0; k < count; k++) {
            if (lives[older[k]].end > hold->first) {
                older[kept++] = older[k];
            }
        }
        count = kept;
        compare_with_older(l, hold, lives, older, count);
    }
}

static enum err check_waiters(struct locking *l)
{
    const struct revlog *log = l->log;
    struct life *lives = reallocarray(NULL, (size_t)log->count + 1, sizeof *lives);
    uint32_t *older = reallocarray(NULL, (size_t)log->count + 1, sizeof *older);
    bool room = lives != NULL && older != NULL;
    if (room) {
        uint32_t count = 0;
        for (uint32_t key = 1; key < history_symbol_count(log->h); key++) {
            count += lives_of_key(log, key, &lives[count]);
        }
        qsort(lives, count, sizeof *lives, by_lock_and_birth);
        compare_waiters(l, lives, count, older);
        report_count(log->report, HISTORY_CHECK_LOCK, "ownership keys", count);
    }
    free(lives);
    free(older);
    return room ? OK : ERR_NOMEM;
}

static enum err check_holds(struct locking *l)
{
    const struct operations *ops = l->log->ops;
    for (uint32_t i = 0; i < ops->count; i++) {
        if (ops->ops[i].asked->f == HISTORY_ACQUIRE && ops->ops[i].outcome == HISTORY_OK &&
            !add_hold(l, i)) {
            return ERR_NOMEM;
        }
    }
    uint64_t fenced = 0;
    for (uint32_t i = 0; i < ops->count; i++) {
        if (ops->ops[i].asked->f == HISTORY_FENCED) {
            if (!add_fenced(l, i)) {
                return ERR_NOMEM;
            }
            fenced++;
        }
    }
    for (uint32_t i = 0; i < ops->count; i++) {
        if (ops->ops[i].asked->workload == HISTORY_LOCK) {
            judge_refused(l, i);
        }
    }
    compare_holds(l);
    report_count(l->log->report, HISTORY_CHECK_LOCK, "holds", l->count);
    report_count(l->log->report, HISTORY_CHECK_LOCK, "fenced transactions", fenced);
    return check_waiters(l);
}

enum err check_lock(const struct revlog *log)
{
    struct locking l = {.log = log};
    l.holds = calloc((size_t)log->ops->count + 1, sizeof *l.holds);
    enum err err = l.holds == NULL ? ERR_NOMEM : check_holds(&l);
    free(l.holds);
    numtable_fini(&l.of_key);
    numtable_fini(&l.of_life);
    return err;
}
