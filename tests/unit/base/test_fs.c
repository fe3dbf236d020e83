/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fs_real.h"
#include "tests/lib/fs_fault.h"
#include "tests/lib/runner.h"
#include "tests/lib/tmpdir.h"

/* Every case runs against the system's files and against those in memory: what the other tests
 * prove with the second holds for the first. */
enum { REAL, FAULT, FS_COUNT };

static struct {
    struct fs *fs;
    struct fs_fault *fault;
    struct why why;
} fixture;

static void setup(void)
{
    tmpdir_setup();
    fixture.fault = fs_fault_new();
    fixture.why = (struct why){0};
    ck_assert(fs_make_dirs(fs_fault_fs(fixture.fault), tmpdir_path(NULL), NULL) == OK);
}

static void teardown(void)
{
    fs_fault_free(fixture.fault);
    tmpdir_teardown();
}

static struct fs *use(int which)
{
    fixture.fs = which == REAL ? fs_real() : fs_fault_fs(fixture.fault);
    return fixture.fs;
}

#define MUST(expr) must(expr, #expr)

static void must(enum err got, const char *what)
{
    ck_assert_msg(got == OK, "%s: %s: %s", what, err_text(got), fixture.why.text);
}

static void write_file(const char *name, const char *text)
{
    struct fs_file *file = NULL;
    MUST(fs_open(fixture.fs, tmpdir_path(name), FS_CREATE, &file, &fixture.why));
    MUST(fs_write(file, 0, text, strlen(text), &fixture.why));
    fs_close(file);
}

static void check_file(const char *name, const char *want)
{
    struct buf buf = {0};
    MUST(fs_read_file(fixture.fs, tmpdir_path(name), 1000, &buf, &fixture.why));
    ck_assert_msg(bytes_equal(buf_bytes(&buf), bytes_of_str(want)), "%s: got '%.*s', want '%s'",
                  name, (int)buf.len, (const char *)buf.data, want);
    buf_fini(&buf);
}

static const struct {
    const char *name;
    enum fs_mode mode;
    enum err want_old;
    enum err want_new;
} modes[] = {
    {"read", FS_READ, OK, ERR_NOT_FOUND},
    {"write", FS_WRITE, OK, ERR_NOT_FOUND},
    {"create", FS_CREATE, OK, OK},
    {"create new", FS_CREATE_NEW, ERR_EXISTS, OK},
};

START_TEST(open_does_what_its_mode_says)
{
    use(_i);
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        write_file("old", "kept");
        struct fs_file *old = NULL;
        struct fs_file *new = NULL;
        ck_assert_int_eq(fs_open(fixture.fs, tmpdir_path("old"), modes[i].mode, &old, &fixture.why),
                         modes[i].want_old);
        ck_assert_int_eq(fs_open(fixture.fs, tmpdir_path("new"), modes[i].mode, &new, &fixture.why),
                         modes[i].want_new);
        ck_assert_int_eq(old != NULL, modes[i].want_old == OK);
        ck_assert_int_eq(new != NULL, modes[i].want_new == OK);
        fs_close(old);
        fs_close(new);
        check_file("old", "kept");
        if (modes[i].want_new == OK) {
            MUST(fs_unlink(fixture.fs, tmpdir_path("new"), &fixture.why));
        }
    }
}
END_TEST

START_TEST(a_failure_names_the_path)
{
    use(_i);
    struct fs_file *file = NULL;
    const char *path = tmpdir_path("absent");
    ck_assert_int_eq(fs_open(fixture.fs, path, FS_READ, &file, &fixture.why), ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(fixture.why.text, path));
    ck_assert_int_eq(fs_open(fixture.fs, path, FS_READ, &file, NULL), ERR_NOT_FOUND);
}
END_TEST

START_TEST(what_was_written_in_parts_is_read_back)
{
    enum { PARTS = 200, EACH = 97 };
    use(_i);
    uint8_t data[PARTS * EACH];
    struct bytes parts[PARTS];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * 31 + i / 251);
    }
    size_t total = 0;
    for (size_t i = 0; i < PARTS; i++) {
        size_t len = i % 5 == 0 ? 0 : EACH - i % 7; /* empty parts and parts of odd lengths */
        parts[i] = bytes_of(data + total, len);
        total += len;
    }
    struct fs_file *file = NULL;
    MUST(fs_open(fixture.fs, tmpdir_path("f"), FS_CREATE_NEW, &file, &fixture.why));
    MUST(fs_writev(file, 5000, parts, PARTS, &fixture.why));
    uint64_t size = 0;
    MUST(fs_size(file, &size, &fixture.why));
    ck_assert_uint_eq(size, 5000 + total);
    uint8_t got[5000 + sizeof data + 10];
    size_t len = 0;
    MUST(fs_read(file, 0, got, sizeof got, &len, &fixture.why));
    ck_assert_uint_eq(len, 5000 + total);
    for (size_t i = 0; i < 5000; i++) {
        ck_assert_uint_eq(got[i], 0); /* the hole */
    }
    ck_assert_mem_eq(got + 5000, data, total);
    MUST(fs_read(file, 5000 + total, got, 1, &len, &fixture.why));
    ck_assert_uint_eq(len, 0);
    fs_close(file);
}
END_TEST

START_TEST(writing_needs_a_file_that_was_opened_for_it)
{
    use(_i);
    write_file("f", "kept");
    struct fs_file *file = NULL;
    MUST(fs_open(fixture.fs, tmpdir_path("f"), FS_READ, &file, &fixture.why));
    ck_assert_int_eq(fs_write(file, 0, "lost", 4, &fixture.why), ERR_IO);
    ck_assert_ptr_nonnull(strstr(fixture.why.text, "/f"));
    fs_close(file);
    check_file("f", "kept");
}
END_TEST

START_TEST(allocate_and_truncate_set_the_length)
{
    use(_i);
    struct fs_file *file = NULL;
    uint64_t size = 0;
    MUST(fs_open(fixture.fs, tmpdir_path("f"), FS_CREATE, &file, &fixture.why));
    MUST(fs_write(file, 0, "0123456789", 10, &fixture.why));
    MUST(fs_allocate(file, 8192, &fixture.why));
    MUST(fs_size(file, &size, &fixture.why));
    ck_assert_uint_eq(size, 8192);
    MUST(fs_allocate(file, 100, &fixture.why)); /* never shorter */
    MUST(fs_size(file, &size, &fixture.why));
    ck_assert_uint_eq(size, 8192);
    MUST(fs_truncate(file, 4, &fixture.why));
    MUST(fs_truncate(file, 6, &fixture.why)); /* what was cut reads as zeros */
    MUST(fs_sync(file, &fixture.why));
    char got[8];
    size_t len = 0;
    MUST(fs_read(file, 0, got, sizeof got, &len, &fixture.why));
    ck_assert_uint_eq(len, 6);
    ck_assert_mem_eq(got, "0123\0\0", 6);
    fs_close(file);
}
END_TEST

START_TEST(rename_replaces_and_list_is_sorted)
{
    use(_i);
    write_file("b", "from b");
    write_file("a", "from a");
    write_file("c", "from c");
    MUST(fs_rename(fixture.fs, tmpdir_path("a"), tmpdir_path("c"), &fixture.why));
    MUST(fs_mkdir(fixture.fs, tmpdir_path("d"), &fixture.why));
    MUST(fs_rename(fixture.fs, tmpdir_path("b"), tmpdir_path("d/b"), &fixture.why));
    MUST(fs_sync_dir(fixture.fs, tmpdir_path(NULL), &fixture.why));
    check_file("c", "from a");
    check_file("d/b", "from b");
    struct fs_names names = {0};
    MUST(fs_list(fixture.fs, tmpdir_path(NULL), &names, &fixture.why));
    ck_assert_uint_eq(names.count, 2);
    ck_assert_str_eq(names.names[0], "c");
    ck_assert_str_eq(names.names[1], "d");
    fs_names_fini(&names);
    MUST(fs_list(fixture.fs, tmpdir_path("d"), &names, &fixture.why));
    ck_assert_uint_eq(names.count, 1);
    fs_names_fini(&names);
}
END_TEST

START_TEST(what_is_not_there_is_not_found)
{
    use(_i);
    struct fs_names names = {0};
    struct why *why = &fixture.why;
    ck_assert_int_eq(fs_unlink(fixture.fs, tmpdir_path("x"), why), ERR_NOT_FOUND);
    ck_assert_int_eq(fs_rename(fixture.fs, tmpdir_path("x"), tmpdir_path("y"), why), ERR_NOT_FOUND);
    ck_assert_int_eq(fs_mkdir(fixture.fs, tmpdir_path("x/y"), why), ERR_NOT_FOUND);
    ck_assert_int_eq(fs_sync_dir(fixture.fs, tmpdir_path("x"), why), ERR_NOT_FOUND);
    ck_assert_int_eq(fs_list(fixture.fs, tmpdir_path("x"), &names, why), ERR_NOT_FOUND);
    ck_assert_ptr_null(names.names);
}
END_TEST

START_TEST(a_lock_keeps_others_out_until_it_is_closed)
{
    use(_i);
    struct fs_file *first = NULL;
    struct fs_file *second = NULL;
    MUST(fs_lock(fixture.fs, tmpdir_path("lock"), &first, &fixture.why));
    ck_assert_int_eq(fs_lock(fixture.fs, tmpdir_path("lock"), &second, &fixture.why), ERR_LOCKED);
    ck_assert_ptr_null(second);
    fs_close(first);
    MUST(fs_lock(fixture.fs, tmpdir_path("lock"), &second, &fixture.why));
    fs_close(second);
}
END_TEST

START_TEST(make_dirs_makes_what_is_missing)
{
    use(_i);
    MUST(fs_make_dirs(fixture.fs, tmpdir_path("a/b//c/"), &fixture.why));
    MUST(fs_make_dirs(fixture.fs, tmpdir_path("a/b/c"), &fixture.why));
    write_file("a/b/c/f", "text");
    check_file("a/b/c/f", "text");
    ck_assert_int_eq(fs_make_dirs(fixture.fs, tmpdir_path("a/b/c/f"), &fixture.why), ERR_IO);
    ck_assert_int_eq(fs_make_dirs(fixture.fs, tmpdir_path("a/b/c/f/g"), &fixture.why), ERR_IO);
    ck_assert_int_eq(fs_make_dirs(fixture.fs, "", &fixture.why), ERR_INVALID);
}
END_TEST

START_TEST(replace_file_leaves_no_trace_of_the_old)
{
    use(_i);
    const char *dir = tmpdir_path(NULL);
    MUST(fs_replace_file(fixture.fs, dir, "f", bytes_of_str("a long first text"), &fixture.why));
    MUST(fs_replace_file(fixture.fs, dir, "f", bytes_of_str("second"), &fixture.why));
    check_file("f", "second");
    struct fs_names names = {0};
    MUST(fs_list(fixture.fs, dir, &names, &fixture.why));
    ck_assert_uint_eq(names.count, 1);
    fs_names_fini(&names);
}
END_TEST

START_TEST(read_file_has_a_cap)
{
    use(_i);
    write_file("f", "12345");
    struct buf buf = {0};
    MUST(fs_read_file(fixture.fs, tmpdir_path("f"), 5, &buf, &fixture.why));
    ck_assert_uint_eq(buf.len, 5);
    ck_assert_int_eq(fs_read_file(fixture.fs, tmpdir_path("f"), 4, &buf, &fixture.why),
                     ERR_TOO_LARGE);
    buf_fini(&buf);
}
END_TEST

START_TEST(free_space_is_told)
{
    use(_i);
    uint64_t bytes = 0;
    MUST(fs_free_bytes(fixture.fs, tmpdir_path(NULL), &bytes, &fixture.why));
    ck_assert_uint_gt(bytes, 0);
    ck_assert_int_eq(fs_free_bytes(fixture.fs, tmpdir_path("absent"), &bytes, &fixture.why),
                     ERR_NOT_FOUND);
}
END_TEST

START_TEST(files_are_their_owners_alone)
{
    use(REAL);
    MUST(fs_make_dirs(fixture.fs, tmpdir_path("dir"), &fixture.why));
    write_file("dir/f", "secret");
    struct stat st;
    ck_assert_int_eq(stat(tmpdir_path("dir"), &st), 0);
    ck_assert_int_eq(st.st_mode & 0077, 0);
    ck_assert_int_eq(stat(tmpdir_path("dir/f"), &st), 0);
    ck_assert_int_eq(st.st_mode & 0077, 0);
}
END_TEST

START_TEST(a_full_disk_is_told)
{
    use(REAL);
    struct fs_file *file = NULL;
    MUST(fs_open(fixture.fs, "/dev/full", FS_WRITE, &file, &fixture.why));
    ck_assert_int_eq(fs_write(file, 0, "x", 1, &fixture.why), ERR_NO_SPACE);
    ck_assert_ptr_nonnull(strstr(fixture.why.text, "/dev/full"));
    fs_close(file);
}
END_TEST

/* The kernel writes up to the limit and returns that much; the rest is tried again, and refused. */
START_TEST(a_short_write_goes_on_where_it_stopped)
{
    use(REAL);
    struct rlimit before;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit limit = {.rlim_cur = 1000, .rlim_max = before.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    ck_assert(handler != SIG_ERR);
    uint8_t data[600];
    memset(data, 'x', sizeof data);
    struct bytes parts[] = {{data, 600}, {NULL, 0}, {data, 600}};
    struct fs_file *file = NULL;
    MUST(fs_open(fixture.fs, tmpdir_path("f"), FS_CREATE, &file, &fixture.why));
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    enum err err = fs_writev(file, 0, parts, 3, &fixture.why);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);
    ck_assert_int_eq(err, ERR_IO);
    uint64_t size = 0;
    MUST(fs_size(file, &size, &fixture.why));
    ck_assert_uint_eq(size, 1000);
    fs_close(file);
}
END_TEST

/* What happens between the opening of a file and its locking. */
static void (*before_lock)(void);

int fcntl(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (command == F_OFD_SETLK && before_lock != NULL) {
        TAKE(before_lock)();
    }
    return (int)syscall(SYS_fcntl, fd, command, argument);
}

static void rename_it(void)
{
    ck_assert_int_eq(rename(tmpdir_path("part"), tmpdir_path("whole")), 0);
}

static void remove_it(void)
{
    ck_assert_int_eq(unlink(tmpdir_path("part")), 0);
}

/* Who held the lock of FILE.part gave the file its name and ended: who comes then must not empty
 * that one. */
START_TEST(a_lock_is_of_the_file_that_has_the_name)
{
    static void (*const ends[])(void) = {rename_it, remove_it};
    struct fs_file *file = NULL;
    struct fs_file *other = NULL;
    tmpdir_write("part", "content", 7);
    before_lock = ends[_i];
    MUST(fs_lock(fs_real(), tmpdir_path("part"), &file, &fixture.why));
    ck_assert_ptr_null(before_lock);
    MUST(fs_truncate(file, 0, &fixture.why));
    ck_assert_int_eq(fs_lock(fs_real(), tmpdir_path("part"), &other, NULL), ERR_LOCKED);
    if (ends[_i] == rename_it) {
        struct stat st;
        ck_assert_int_eq(stat(tmpdir_path("whole"), &st), 0);
        ck_assert_int_eq(st.st_size, 7);
    }
    fs_close(file);
}
END_TEST

START_TEST(a_lock_keeps_other_processes_out_and_ends_with_its_own)
{
    use(REAL);
    char path[FS_PATH_MAX];
    snprintf(path, sizeof path, "%s", tmpdir_path("lock"));
    int ready[2];
    ck_assert_int_eq(pipe(ready), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct fs_file *held = NULL;
        char byte = fs_lock(fixture.fs, path, &held, NULL) == OK ? 'y' : 'n';
        if (write(ready[1], &byte, 1) == 1) {
            pause(); /* until it is killed, like a member that is */
        }
        _exit(1);
    }
    char byte = 0;
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    ck_assert_int_eq(byte, 'y');
    struct fs_file *file = NULL;
    ck_assert_int_eq(fs_lock(fixture.fs, path, &file, &fixture.why), ERR_LOCKED);
    ck_assert_ptr_nonnull(strstr(fixture.why.text, path));
    ck_assert_int_eq(kill(child, SIGKILL), 0);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    MUST(fs_lock(fixture.fs, path, &file, &fixture.why));
    fs_close(file);
    close(ready[0]);
    close(ready[1]);
}
END_TEST

/* A member that was started so had libuv's signals for standard error, and its log among them. */
START_TEST(standard_files_that_are_closed_are_nobody_elses)
{
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        (void)close(STDIN_FILENO);
        (void)close(STDERR_FILENO);
        int before = fcntl(STDOUT_FILENO, F_GETFD);
        fs_real_hold_standard();
        bool held = fcntl(STDIN_FILENO, F_GETFD) >= 0 && fcntl(STDERR_FILENO, F_GETFD) >= 0;
        int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
        _exit(held && next > STDERR_FILENO && fcntl(STDOUT_FILENO, F_GETFD) == before ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(a_path_that_is_too_long_is_refused)
{
    char name[FS_PATH_MAX];
    char path[FS_PATH_MAX];
    memset(name, 'x', sizeof name);
    name[sizeof name - 3] = '\0';
    MUST(fs_join("d", name, path, sizeof path, &fixture.why)); /* fits with its NUL */
    ck_assert_int_eq(fs_join("dd", name, path, sizeof path, &fixture.why), ERR_INVALID);
}
END_TEST

START_TEST(a_file_system_that_does_not_count_has_room)
{
    uint64_t bytes = 0;
    MUST(fs_free_bytes(fs_real(), "/proc", &bytes, &fixture.why));
    ck_assert_uint_eq(bytes, UINT64_MAX);
}
END_TEST

static Suite *fs_suite(void)
{
    Suite *suite = suite_create("fs");
    TCase *tc = tcase_create("fs");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, open_does_what_its_mode_says, 0, FS_COUNT);
    tcase_add_loop_test(tc, a_failure_names_the_path, 0, FS_COUNT);
    tcase_add_loop_test(tc, what_was_written_in_parts_is_read_back, 0, FS_COUNT);
    tcase_add_loop_test(tc, writing_needs_a_file_that_was_opened_for_it, 0, FS_COUNT);
    tcase_add_loop_test(tc, allocate_and_truncate_set_the_length, 0, FS_COUNT);
    tcase_add_loop_test(tc, rename_replaces_and_list_is_sorted, 0, FS_COUNT);
    tcase_add_loop_test(tc, what_is_not_there_is_not_found, 0, FS_COUNT);
    tcase_add_loop_test(tc, a_lock_keeps_others_out_until_it_is_closed, 0, FS_COUNT);
    tcase_add_loop_test(tc, make_dirs_makes_what_is_missing, 0, FS_COUNT);
    tcase_add_loop_test(tc, replace_file_leaves_no_trace_of_the_old, 0, FS_COUNT);
    tcase_add_loop_test(tc, read_file_has_a_cap, 0, FS_COUNT);
    tcase_add_loop_test(tc, free_space_is_told, 0, FS_COUNT);
    tcase_add_test(tc, a_file_system_that_does_not_count_has_room);
    tcase_add_test(tc, files_are_their_owners_alone);
    tcase_add_test(tc, a_full_disk_is_told);
    tcase_add_test(tc, a_short_write_goes_on_where_it_stopped);
    tcase_add_test(tc, a_lock_keeps_other_processes_out_and_ends_with_its_own);
    tcase_add_loop_test(tc, a_lock_is_of_the_file_that_has_the_name, 0, 2);
    tcase_add_test(tc, standard_files_that_are_closed_are_nobody_elses);
    tcase_add_test(tc, a_path_that_is_too_long_is_refused);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(fs_suite);
}
