/* SPDX-License-Identifier: Apache-2.0 */
#include "fsm/alarm.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "fsm/txn.h"

/* Rows of the alarm table: key = type (4 bytes big-endian), member id (8 bytes big-endian), so that
 * the table's order is the list's; value = format u8. */
#define ROW_FORMAT    1
#define ROW_KEY_BYTES 12

struct alarm_set {
    struct store *store;
    struct alarm alarms[ALARMS_MAX]; /* in order of type and member */
    size_t count;
};

static bool is_before(struct alarm a, struct alarm b)
{
    return a.type != b.type ? a.type < b.type : a.member_id < b.member_id;
}

/* The place of ALARM, or where it belongs. */
static size_t place_of(const struct alarm_set *set, struct alarm alarm)
{
    size_t i = 0;
    while (i < set->count && is_before(set->alarms[i], alarm)) {
        i++;
    }
    return i;
}

static bool is_at(const struct alarm_set *set, size_t at, struct alarm alarm)
{
    return at < set->count && !is_before(alarm, set->alarms[at]);
}

static enum err insert(struct alarm_set *set, size_t at, struct alarm alarm)
{
    if (set->count == ALARMS_MAX) {
        return ERR_LIMIT;
    }
    memmove(&set->alarms[at + 1], &set->alarms[at], (set->count - at) * sizeof *set->alarms);
    set->alarms[at] = alarm;
    set->count++;
    return OK;
}

/* ---- the table ---- */

static struct bytes row_key(struct alarm alarm, uint8_t memory[ROW_KEY_BYTES])
{
    put_u32_be(memory, alarm.type);
    put_u64_be(memory + 4, alarm.member_id);
    return bytes_of(memory, ROW_KEY_BYTES);
}

static enum err load_row(void *ctx, struct bytes key, struct bytes value)
{
    struct alarm_set *set = ctx;
    struct reader k = reader_of(key);
    struct reader r = reader_of(value);
    struct alarm alarm = {.type = read_u32_be(&k)};
    alarm.member_id = read_u64_be(&k);
    uint8_t format = read_u8(&r);
    if (format > ROW_FORMAT) {
        return ERR_VERSION;
    }
    if (reader_end(&k) != OK || reader_end(&r) != OK || format != ROW_FORMAT) {
        return ERR_CORRUPT;
    }
    return insert(set, place_of(set, alarm), alarm) == OK ? OK : ERR_CORRUPT;
}

enum err alarm_set_new(struct store *store, struct alarm_set **ret, struct why *why)
{
    struct alarm_set *set = calloc(1, sizeof *set);
    if (set == NULL) {
        return ERR_NOMEM;
    }
    set->store = store;
    struct why cause = {{0}}; /* stays empty when it is a row that is wrong */
    enum err err = store_table_foreach(store, TABLE_ALARM, load_row, set, &cause);
    if (err != OK) {
        why_set(why, "read the alarms: %s", cause.text[0] == '\0' ? err_text(err) : cause.text);
        alarm_set_free(set);
        return err;
    }
    *ret = set;
    return OK;
}

void alarm_set_free(struct alarm_set *set)
{
    free(set);
}

/* ---- changes ---- */

static enum err add_alarm(struct alarm_set *set, size_t at, struct alarm alarm)
{
    static const uint8_t row[] = {ROW_FORMAT};
    uint8_t key[ROW_KEY_BYTES];
    TRY(insert(set, at, alarm));
    store_table_put(set->store, TABLE_ALARM, row_key(alarm, key), bytes_of(row, sizeof row));
    return OK;
}

static void remove_alarm(struct alarm_set *set, size_t at)
{
    uint8_t key[ROW_KEY_BYTES];
    store_table_delete(set->store, TABLE_ALARM, row_key(set->alarms[at], key));
    set->count--;
    memmove(&set->alarms[at], &set->alarms[at + 1], (set->count - at) * sizeof *set->alarms);
}

enum err alarm_change(struct alarm_set *set, const struct command_alarm *command, bool *found)
{
    struct alarm alarm = {.type = command->type, .member_id = command->member_id};
    size_t at = place_of(set, alarm);
    bool is_active = is_at(set, at, alarm);
    if (command->is_clear) {
        if (is_active) {
            remove_alarm(set, at);
        }
        *found = is_active;
        return OK;
    }
    if (!is_active && alarm.type != ALARM_NONE) {
        TRY(add_alarm(set, at, alarm));
    }
    *found = alarm.type != ALARM_NONE;
    return OK;
}

/* ---- what they forbid ---- */

/* By kind of command: is it for clients to write with, does it add to the database? */
enum rule { FREE, WRITES, GROWS, GROWS_BY_PUTS };
static const enum rule rules[COMMAND_KIND_COUNT] = {
    [COMMAND_PUT] = GROWS,      [COMMAND_DELETE_RANGE] = WRITES, [COMMAND_TXN] = GROWS_BY_PUTS,
    [COMMAND_COMPACT] = WRITES, [COMMAND_LEASE_GRANT] = GROWS,   [COMMAND_LEASE_REVOKE] = WRITES,
};

static bool grows(const struct command *command)
{
    enum rule rule = rules[command->kind];
    return rule == GROWS || (rule == GROWS_BY_PUTS && txn_has_put(&command->txn));
}

enum err alarm_admit(const struct alarm_set *set, const struct command *command)
{
    if (set->count == 0 || rules[command->kind] == FREE) {
        return OK;
    }
    if (alarm_is_active(set, ALARM_CORRUPT)) {
        return ERR_CORRUPT;
    }
    return alarm_is_active(set, ALARM_NOSPACE) && grows(command) ? ERR_QUOTA : OK;
}

/* ---- what is active ---- */

const char *alarm_type_name(uint32_t type)
{
    static const char *const names[] = {
        [ALARM_NOSPACE] = "NOSPACE",
        [ALARM_CORRUPT] = "CORRUPT",
    };
    return type < ARRAY_LEN(names) ? names[type] : NULL;
}

size_t alarm_list(const struct alarm_set *set, const struct alarm **ret)
{
    *ret = set->alarms;
    return set->count;
}

bool alarm_is_active(const struct alarm_set *set, uint32_t type)
{
    size_t at = place_of(set, (struct alarm){.type = type});
    return at < set->count && set->alarms[at].type == type;
}

bool alarm_is_raised(const struct alarm_set *set, struct alarm alarm)
{
    return is_at(set, place_of(set, alarm), alarm);
}
