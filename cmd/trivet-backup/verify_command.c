/* SPDX-License-Identifier: Apache-2.0 */
/* trivet-backup verify: is every byte of a backup what was saved? */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/fs_real.h"
#include "cmd/trivet-backup/backup_command.h"
#include "snapshot/backup.h"

struct verify_options {
    struct common_options common;
    bool skip_hash_check;
};

#define ROW(name, kind, field, unit, help)                             \
    {                                                                  \
        name, kind, offsetof(struct verify_options, field), unit, help \
    }
static const struct option_row rows[] = {
    ROW("skip-hash-check", OPTION_BOOL, skip_hash_check, NULL,
        "the file has no SHA-256 at its end, or another's"),
    ROW("quiet", OPTION_BOOL, common.quiet, NULL, "say nothing unless it is damaged"),
    ROW("help", OPTION_BOOL, common.help, NULL, "print this"),
};

static enum err verify(const char *path, const struct verify_options *options, struct why *why)
{
    CLEANUP(backup_closep) struct backup *backup = NULL;
    TRY(backup_open(fs_real(), path, &backup, why));
    struct command_progress progress;
    command_progress_init(&progress, "verifying", "records", &options->common);
    enum err err = backup_verify(backup, options->skip_hash_check, &progress.progress, why);
    command_progress_end(&progress);
    TRY(err);
    const struct dbfile_info *info = dbfile_info(backup_database(backup));
    if (!options->common.quiet) {
        printf("%s is whole: revision %lld, %llu records, %llu pages%s\n", path,
               (long long)info->revision, (unsigned long long)info->record_count,
               (unsigned long long)info->size_bytes / 4096,
               options->skip_hash_check ? "" : ", SHA-256 as saved");
    }
    return OK;
}

static int run(const struct backup_command *command, int argc, const char *const *argv)
{
    struct verify_options options = {.skip_hash_check = false};
    const char *args[COMMAND_ARGS_MAX];
    size_t count;
    int status;
    if (!command_parse(command, argc, argv, &options, args, 1, 1, &count, &status)) {
        return status;
    }
    struct why why = {{0}};
    enum err err = verify(args[0], &options, &why);
    return err == OK ? EXIT_SUCCESS : command_fail(err, &why);
}

const struct backup_command command_verify = {
    .name = "verify",
    .args = "FILE",
    .help = "read every page and record of a backup and its SHA-256",
    .rows = rows,
    .row_count = ARRAY_LEN(rows),
    .run = run,
};
