/* SPDX-License-Identifier: Apache-2.0 */
/* trivet-backup list: keys and values straight from a backup, as etcdctl get would tell them; or
 * all that happened to them. */
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/fs_real.h"
#include "cmd/trivet-backup/backup_command.h"
#include "snapshot/backup.h"

struct list_options {
    struct common_options common;
    bool prefix;
    bool from_key;
    bool history;
    bool keys_only;
    uint64_t revision;
    uint64_t limit;
};

#define ROW(name, kind, field, unit, help)                           \
    {                                                                \
        name, kind, offsetof(struct list_options, field), unit, help \
    }
static const struct option_row rows[] = {
    ROW("prefix", OPTION_BOOL, prefix, NULL, "keys that begin with KEY"),
    ROW("from-key", OPTION_BOOL, from_key, NULL, "KEY and the keys behind it"),
    ROW("rev", OPTION_NUMBER, revision, "N", "as of this revision (default: the newest)"),
    ROW("history", OPTION_BOOL, history, NULL,
        "every put and deletion up to there that the file still has, in order"),
    ROW("keys-only", OPTION_BOOL, keys_only, NULL, "no values"),
    ROW("limit", OPTION_NUMBER, limit, "N", "end after N (default: none)"),
    ROW("write-out", OPTION_TEXT, common.format, "FORMAT",
        "simple, json (a line for each) or fields; also -w"),
    ROW("help", OPTION_BOOL, common.help, NULL, "print this"),
};

struct list_run {
    const struct list_options *options;
    enum output_format format;
    uint64_t printed;
};

static enum err print_base64(struct bytes bytes)
{
    size_t size = (bytes.len + 2) / 3 * 4 + 1;
    CLEANUP(freep) uint8_t *text = malloc(size);
    if (text == NULL || bytes.len > INT32_MAX / 2) {
        return ERR_NOMEM;
    }
    int len = EVP_EncodeBlock(text, bytes.data, (int)bytes.len);
    (void)fwrite(text, 1, (size_t)len, stdout);
    return OK;
}

static enum err print_json(const struct list_run *run, const struct record *record)
{
    if (run->options->history) {
        printf("{\"type\":\"%s\",\"key\":\"", record->tombstone ? "DELETE" : "PUT");
    } else {
        printf("{\"key\":\"");
    }
    TRY(print_base64(record_key(record)));
    printf("\",\"create_revision\":%" PRId64 ",\"mod_revision\":%" PRId64 ",\"version\":%" PRId64,
           record->create_revision, record_mod_revision(record), record->version);
    if (!run->options->keys_only && !record->tombstone) {
        printf(",\"value\":\"");
        TRY(print_base64(record_value(record)));
        printf("\"");
    }
    if (record->lease != 0) {
        printf(",\"lease\":%" PRId64, record->lease);
    }
    printf("}\n");
    return OK;
}

/* As Go quotes texts: what is not plain ASCII by its bytes. */
static void print_quoted(struct bytes bytes)
{
    fputc('"', stdout);
    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t c = bytes.data[i];
        if (c == '"' || c == '\\') {
            printf("\\%c", c);
        } else if (c >= ' ' && c < 127) {
            fputc(c, stdout);
        } else {
            printf("\\x%02x", c);
        }
    }
    fputc('"', stdout);
}

static void print_fields(const struct list_run *run, const struct record *record)
{
    printf("\"Key\" : ");
    print_quoted(record_key(record));
    printf("\n\"CreateRevision\" : %" PRId64 "\n\"ModRevision\" : %" PRId64
           "\n\"Version\" : %" PRId64 "\n",
           record->create_revision, record_mod_revision(record), record->version);
    if (!run->options->keys_only) {
        printf("\"Value\" : ");
        print_quoted(record_value(record));
        printf("\n");
    }
    printf("\"Lease\" : %" PRId64 "\n\n", record->lease);
}

static void print_line(struct bytes bytes)
{
    (void)fwrite(bytes.data, 1, bytes.len, stdout);
    fputc('\n', stdout);
}

static void print_simple(const struct list_run *run, const struct record *record)
{
    if (run->options->history) {
        printf("%s %" PRId64 ".%u\n", record->tombstone ? "DELETE" : "PUT",
               record_mod_revision(record), revision_sub(record->rev));
    }
    print_line(record_key(record));
    if (!run->options->keys_only && !record->tombstone) {
        print_line(record_value(record));
    }
}

static enum err print_record(void *ctx, const struct record *record)
{
    struct list_run *run = ctx;
    if (run->options->limit > 0 && run->printed == run->options->limit) {
        return ERR_LIMIT;
    }
    run->printed++;
    if (run->format == OUTPUT_JSON) {
        TRY(print_json(run, record));
    } else if (run->format == OUTPUT_FIELDS) {
        print_fields(run, record);
    } else {
        print_simple(run, record);
    }
    return ferror(stdout) != 0 ? ERR_CANCELLED : OK; /* nobody reads; main says so */
}

/* etcd's end of a prefix: its last byte that can be raised is, and what follows is dropped. */
static void prefix_end(struct bytes prefix, struct buf *ret)
{
    buf_append_bytes(ret, prefix);
    while (ret->len > 0 && buf_ok(ret)) {
        if (ret->data[ret->len - 1] < UINT8_MAX) {
            ret->data[ret->len - 1]++;
            return;
        }
        ret->len--;
    }
    buf_append(ret, "", 1);
}

static enum err list(const char *const *args, size_t count, struct list_run *run, struct why *why)
{
    const struct list_options *options = run->options;
    CLEANUP(buf_fini) struct buf end = {0};
    struct dbfile_query query = {.revision = (int64_t)options->revision,
                                 .history = options->history,
                                 .key = bytes_of_str(count > 1 ? args[1] : "")};
    if (count > 1 && options->prefix) {
        prefix_end(query.key, &end);
    } else if (count > 2) {
        buf_append_str(&end, args[2]);
    } else if (count == 1 || options->from_key) {
        buf_append(&end, "", 1);
    }
    if (!buf_ok(&end)) {
        return ERR_NOMEM;
    }
    query.range_end = buf_bytes(&end);
    CLEANUP(backup_closep) struct backup *backup = NULL;
    TRY(backup_open(fs_real(), args[0], &backup, why));
    enum err err = dbfile_list(backup_database(backup), &query, print_record, run, why);
    return err == ERR_LIMIT || err == ERR_CANCELLED ? OK : err;
}

static int run_list(const struct backup_command *command, int argc, const char *const *argv)
{
    struct list_options options = {.prefix = false};
    const char *args[COMMAND_ARGS_MAX];
    size_t count;
    int status;
    struct list_run run = {.options = &options};
    if (!command_parse(command, argc, argv, &options, args, 1, 3, &count, &status)) {
        return status;
    }
    unsigned allowed = 1u << OUTPUT_SIMPLE | 1u << OUTPUT_JSON | 1u << OUTPUT_FIELDS;
    if (!command_format(&options.common, allowed, &run.format)) {
        return EXIT_COMMAND;
    }
    if (options.revision > INT64_MAX || (options.prefix && options.from_key)) {
        fprintf(stderr, "Error: --rev is too large, or --prefix and --from-key are both given\n");
        return EXIT_COMMAND;
    }
    if (count > 2 && (options.prefix || options.from_key)) {
        fprintf(stderr, "Error: too many arguments, there is no END with --prefix or --from-key\n");
        return EXIT_COMMAND;
    }
    struct why why = {{0}};
    enum err err = list(args, count, &run, &why);
    return err == OK ? EXIT_SUCCESS : command_fail(err, &why);
}

const struct backup_command command_list = {
    .name = "list",
    .args = "FILE [KEY [END]]",
    .help = "keys and values of a backup, at any revision that it has",
    .rows = rows,
    .row_count = ARRAY_LEN(rows),
    .run = run_list,
};
