/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/trivet-backup/schedule.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define PATTERN         "trivet-00000000T000000.000Z.db" /* 0: a digit */
#define PART            ".part"                          /* backupwriter.h */
#define PART_LEN        (sizeof PART - 1)
#define RETRY_FIRST_MS  1000u
#define RETRY_DOUBLINGS 6u

void schedule_name(uint64_t wall_ms, char ret[SCHEDULE_NAME_SIZE])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm = {0};
    char moment[24];
    (void)gmtime_r(&seconds, &tm);
    (void)strftime(moment, sizeof moment, "%Y%m%dT%H%M%S", &tm);
    (void)snprintf(ret, SCHEDULE_NAME_SIZE, "trivet-%s.%03uZ.db", moment,
                   (unsigned)(wall_ms % 1000));
}

bool schedule_is_name(const char *name)
{
    static const char pattern[] = PATTERN;
    if (strlen(name) != sizeof pattern - 1) {
        return false;
    }
    for (size_t i = 0; pattern[i] != '\0'; i++) {
        bool fits =
            pattern[i] == '0' ? isdigit((unsigned char)name[i]) != 0 : name[i] == pattern[i];
        if (!fits) {
            return false;
        }
    }
    return true;
}

static enum err remove_oldest(struct fs *fs, const char *dir, const struct fs_names *names,
                              size_t excess, const char *just_saved, unsigned *removed,
                              struct why *why)
{
    for (size_t i = 0; i < names->count && excess > 0; i++) { /* sorted */
        const char *name = names->names[i];
        if (!schedule_is_name(name) || strcmp(name, just_saved) == 0) {
            continue;
        }
        char path[FS_PATH_MAX];
        TRY(fs_join(dir, name, path, sizeof path, why));
        TRY(fs_unlink(fs, path, why));
        (*removed)++;
        excess--;
    }
    return OK;
}

enum err schedule_retain(struct fs *fs, const char *dir, uint64_t keep, const char *just_saved,
                         unsigned *removed, struct why *why)
{
    struct fs_names names = {0};
    *removed = 0;
    TRY(fs_list(fs, dir, &names, why));
    size_t count = 0;
    for (size_t i = 0; i < names.count; i++) {
        count += schedule_is_name(names.names[i]);
    }
    size_t excess = count > keep ? (size_t)(count - keep) : 0;
    enum err err = remove_oldest(fs, dir, &names, excess, just_saved, removed, why);
    fs_names_fini(&names);
    return err;
}

/* Is it such a name and ".part"? */
static bool is_part(const char *name)
{
    char whole[SCHEDULE_NAME_SIZE];
    size_t len = strlen(name);
    if (len < PART_LEN || len - PART_LEN >= sizeof whole ||
        strcmp(name + len - PART_LEN, PART) != 0) {
        return false;
    }
    memcpy(whole, name, len - PART_LEN);
    whole[len - PART_LEN] = '\0';
    return schedule_is_name(whole);
}

/* Who saves holds the file's lock. */
static enum err remove_part(struct fs *fs, const char *path, struct why *why)
{
    struct fs_file *file = NULL;
    enum err err = fs_lock(fs, path, &file, why);
    if (err == ERR_LOCKED) {
        return OK;
    }
    TRY(err);
    err = fs_unlink(fs, path, why);
    fs_close(file);
    return err;
}

enum err schedule_clean(struct fs *fs, const char *dir, struct why *why)
{
    struct fs_names names = {0};
    enum err err = fs_list(fs, dir, &names, why);
    for (size_t i = 0; i < names.count && err == OK; i++) {
        char path[FS_PATH_MAX];
        if (is_part(names.names[i])) {
            err = fs_join(dir, names.names[i], path, sizeof path, why);
            err = err == OK ? remove_part(fs, path, why) : err;
        }
    }
    fs_names_fini(&names);
    return err;
}

uint64_t schedule_next_ms(uint64_t due_ms, uint64_t now_ms, uint64_t every_ms, unsigned failures)
{
    if (failures > 0) {
        unsigned doublings = failures - 1 < RETRY_DOUBLINGS ? failures - 1 : RETRY_DOUBLINGS;
        uint64_t wait_ms = (uint64_t)RETRY_FIRST_MS << doublings;
        return now_ms + (wait_ms < every_ms ? wait_ms : every_ms);
    }
    return due_ms + every_ms > now_ms ? due_ms + every_ms : now_ms;
}
