/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TRIVET_BACKUP_SCHEDULE_H
#define CMD_TRIVET_BACKUP_SCHEDULE_H

#include "base/fs.h"

/* Backups one after the other in a directory: how they are called, and which of them may go. The
 * names are those of the moment in UTC, so that their order is the order in time:
 *
 *   trivet-20261129T234004.123Z.db */
#define SCHEDULE_NAME_SIZE 40

void schedule_name(uint64_t wall_ms, char ret[SCHEDULE_NAME_SIZE]);
bool schedule_is_name(const char *name); /* is it one of these? Others are left alone */

/* Remove all but the newest KEEP (1 or more) backups of DIR up to JUST_SAVED, and all but the
 * newest KEEP behind it: those are there when the clock was set back, and nobody here knows whether
 * it was wrong before or is now. How many were removed is in REMOVED. */
MUST_CHECK enum err schedule_retain(struct fs *fs, const char *dir, uint64_t keep,
                                    const char *just_saved, unsigned *removed, struct why *why);

/* Remove what crashes have left half saved in DIR, unless somebody is saving it now. */
MUST_CHECK enum err schedule_clean(struct fs *fs, const char *dir, struct why *why);

/* When the next one is due: EVERY_MS after the last was due, or as many times that as brings it
 * behind now, for what was missed is not made up for: two of the same moment would push out one
 * that is older. After a failure sooner, and then less and less soon. */
uint64_t schedule_next_ms(uint64_t due_ms, uint64_t now_ms, uint64_t every_ms, unsigned failures);

#endif
