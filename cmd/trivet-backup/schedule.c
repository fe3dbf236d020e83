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

struct retaining {
    struct fs *fs;
    const char *dir;
    struct fs_names names; /* sorted */
    uint64_t keep;
    const char *just_saved;
    unsigned removed;
};

/* Of those behind the one just saved, or of the others? */
static bool is_of(const struct retaining *r, const char *name, bool behind)
{
    return schedule_is_name(name) && (strcmp(name, r->just_saved) > 0) == behind;
}

static enum err remove_one(struct retaining *r, const char *name, struct why *why)
{
    char path[FS_PATH_MAX];
    TRY(fs_join(r->dir, name, path, sizeof path, why));
    enum err err = fs_unlink(r->fs, path, why);
    r->removed += err == OK;
    return err == ERR_NOT_FOUND ? OK : err; /* somebody who saves here, too, was faster */
}

static enum err keep_newest(struct retaining *r, bool behind, struct why *why)
{
    uint64_t count = 0;
    for (size_t i = 0; i < r->names.count; i++) {
        count += is_of(r, r->names.names[i], behind);
    }
    for (size_t i = 0; i < r->names.count && count > r->keep; i++) {
        if (is_of(r, r->names.names[i], behind)) {
            TRY(remove_one(r, r->names.names[i], why));
            count--;
        }
    }
    return OK;
}

enum err schedule_retain(struct fs *fs, const char *dir, uint64_t keep, const char *just_saved,
                         unsigned *removed, struct why *why)
{
    struct retaining r = {.fs = fs, .dir = dir, .keep = keep, .just_saved = just_saved};
    TRY(fs_list(fs, dir, &r.names, why));
    enum err err = keep_newest(&r, false, why);
    if (err == OK) {
        err = keep_newest(&r, true, why);
    }
    fs_names_fini(&r.names);
    *removed = r.removed;
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
    uint64_t missed = now_ms > due_ms ? (now_ms - due_ms) / every_ms : 0;
    return due_ms + (missed + 1) * every_ms;
}
