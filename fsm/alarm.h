/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSM_ALARM_H
#define FSM_ALARM_H

#include "fsm/command.h"

/* The alarms of the cluster: what a member found wrong and everybody must know, until a person says
 * that it is over. Replicated: raised and cleared by commands, kept in memory, written to the
 * store's alarm table with the entry that changed them. While one is active, commands are refused
 * as they are applied, so all members refuse the same ones:
 *
 *   NOSPACE   what adds to the database: put, a txn with a put on either branch, however deep
 *   CORRUPT   all that clients write, compaction included
 *
 * Both: as CORRUPT says. */
struct alarm_set;

enum alarm_type { ALARM_NONE = 0, ALARM_NOSPACE = 1, ALARM_CORRUPT = 2 };

/* "NOSPACE", "CORRUPT"; NULL for a number from the future. */
const char *alarm_type_name(uint32_t type);

struct alarm {
    uint32_t type; /* an open enum: a number from the future is kept and told */
    uint64_t member_id;
};

/* Reads what is active from the store. */
MUST_CHECK enum err alarm_set_new(struct store *store, struct alarm_set **ret, struct why *why);
void alarm_set_free(struct alarm_set *set);

/* Raise or clear what COMMAND names. FOUND: it is active now, or was until now; false: there is
 * nothing to tell (type NONE, or nothing to clear). ERR_LIMIT: too many are active. */
MUST_CHECK enum err alarm_change(struct alarm_set *set, const struct command_alarm *command,
                                 bool *found);

/* May COMMAND be applied? OK, ERR_QUOTA or ERR_CORRUPT. */
MUST_CHECK enum err alarm_admit(const struct alarm_set *set, const struct command *command);

/* All that is active, in order of type and member; valid until the next change. */
size_t alarm_list(const struct alarm_set *set, const struct alarm **ret);
bool alarm_is_active(const struct alarm_set *set, uint32_t type); /* of any member */
bool alarm_is_raised(const struct alarm_set *set, struct alarm alarm);

#endif
