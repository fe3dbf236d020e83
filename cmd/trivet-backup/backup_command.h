/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TRIVET_BACKUP_BACKUP_COMMAND_H
#define CMD_TRIVET_BACKUP_BACKUP_COMMAND_H

#include "base/env_real.h"
#include "cmd/cli/options.h"
#include "cmd/cli/progress.h"
#include "storage/dbfile.h"

/* The commands of trivet-backup; each has a file of its own. */
struct backup_command {
    const char *name;
    const char *args; /* for the usage line */
    const char *help; /* one line */
    const struct option_row *rows;
    size_t row_count;
    /* argv[0] is the command's name. The exit status. */
    int (*run)(const struct backup_command *command, int argc, const char *const *argv);
};
extern const struct backup_command command_save;
extern const struct backup_command command_verify;
extern const struct backup_command command_status;
extern const struct backup_command command_list;
extern const struct backup_command command_restore;
extern const struct backup_command command_recover;

/* Exit statuses. */
#define EXIT_FAILED  1 /* refused, damaged, not done */
#define EXIT_COMMAND 2 /* the command line is wrong */

#define COMMAND_ARGS_MAX 16

/* Fill TARGET and ARGS (COMMAND_ARGS_MAX), of which there must be MIN to MAX. False: the command
 * ends with *STATUS; what there was to say is said. Every command has --help. */
bool command_parse(const struct backup_command *command, int argc, const char *const *argv,
                   void *target, const char **args, size_t min, size_t max, size_t *arg_count,
                   int *status);
/* All option structs begin with this. */
struct common_options {
    bool help;
    bool quiet;
    const char *format; /* --write-out; NULL: simple */
};

enum output_format { OUTPUT_SIMPLE, OUTPUT_JSON, OUTPUT_TABLE, OUTPUT_FIELDS };
/* Of those in ALLOWED (bits). False: said so. */
bool command_format(const struct common_options *options, unsigned allowed,
                    enum output_format *ret);

/* "Error: WHY" on stderr, as etcd's tools; EXIT_FAILED. */
int command_fail(enum err err, const struct why *why);

/* A progress line on stderr, when that is a terminal and --quiet is not given. */
struct command_progress {
    struct progress line;
    struct dbfile_progress progress; /* for storage and snapshot */
    bool shown;
    bool wanted;
};
void command_progress_init(struct command_progress *progress, const char *what, const char *unit,
                           const struct common_options *options);
void command_progress_show(struct command_progress *progress, uint64_t done, uint64_t total);
void command_progress_end(struct command_progress *progress);

/* A loop with an env: for what needs one. */
struct command_loop {
    uv_loop_t uv;
    struct env_real *real;
    struct env *env;
};
MUST_CHECK enum err command_loop_init(struct command_loop *loop, struct why *why);

#endif
