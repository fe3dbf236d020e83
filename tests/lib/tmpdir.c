/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/tmpdir.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATHS        8
#define PATH_BYTES   1024
#define OPEN_FDS_MAX 16

static char directory[PATH_BYTES / 2];

void tmpdir_setup(void)
{
    const char *parent = getenv("TMPDIR");
    if (parent == NULL || parent[0] == '\0') {
        parent = "/tmp";
    }
    int n = snprintf(directory, sizeof directory, "%s/trivet-test-XXXXXX", parent);
    ck_assert_msg(n > 0 && (size_t)n < sizeof directory, "TMPDIR is too long: %s", parent);
    ck_assert_msg(mkdtemp(directory) != NULL, "mkdtemp '%s': %s", directory, strerror(errno));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* A test may have left directories that nobody may write to, as an unusable data directory has. */
static int open_up(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    return type == FTW_D || type == FTW_DNR ? chmod(path, S_IRWXU) : 0;
}

void tmpdir_teardown(void)
{
    if (directory[0] == '\0') {
        return;
    }
    nftw(directory, open_up, OPEN_FDS_MAX, FTW_PHYS);
    int rv = nftw(directory, remove_one, OPEN_FDS_MAX, FTW_DEPTH | FTW_PHYS);
    ck_assert_msg(rv == 0, "remove '%s': %s", directory, strerror(errno));
    directory[0] = '\0';
}

const char *tmpdir_path(const char *name)
{
    static char paths[PATHS][PATH_BYTES];
    static unsigned next;
    ck_assert_msg(directory[0] != '\0', "tmpdir_setup has not run");
    if (name == NULL) {
        return directory;
    }
    char *path = paths[next++ % PATHS];
    int n = snprintf(path, PATH_BYTES, "%s/%s", directory, name);
    ck_assert_msg(n > 0 && n < PATH_BYTES, "path too long: %s", name);
    return path;
}

void tmpdir_write(const char *name, const void *data, unsigned long len)
{
    const char *path = tmpdir_path(name);
    FILE *file = fopen(path, "wb");
    ck_assert_msg(file != NULL, "open '%s': %s", path, strerror(errno));
    size_t written = fwrite(data, 1, len, file);
    int rv = fclose(file);
    ck_assert_msg(written == len && rv == 0, "write '%s': %s", path, strerror(errno));
}
