/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/trivetd/flags.h"

#include <string.h>

#include "base/cleanup.h"
#include "cmd/trivetd/settings.h"
#include "tests/lib/runner.h"

static struct config config;
static struct why why;
static int warnings;

static void count_warning(const char *text)
{
    (void)text;
    warnings++;
}

static enum flags_outcome parse(const char **argv, const char **environ_vars)
{
    int argc = 0;
    while (argv[argc] != NULL) {
        argc++;
    }
    warnings = 0;
    return flags_parse(argc, argv, environ_vars, &config, count_warning, &why);
}

static const char *no_environ[] = {NULL};

START_TEST(defaults_are_etcds)
{
    const char *argv[] = {"trivetd", NULL};
    ck_assert_int_eq(parse(argv, no_environ), FLAGS_OK);
    ck_assert_str_eq(config.name, "default");
    ck_assert_str_eq(config.listen_client_urls, "http://localhost:2379");
    ck_assert_uint_eq(config.heartbeat_ms, 100);
    ck_assert_uint_eq(config.election_ms, 1000);
    ck_assert_uint_eq(config.request_bytes_max, 1572864);
    ck_assert_uint_eq(config.keepalive_interval_ms, 7200000);
    ck_assert_uint_eq(config.watch_progress_ms, 600000);
    struct settings settings;
    ck_assert_int_eq(settings_make(&config, &settings, &why), OK);
    ck_assert_uint_eq(settings.cluster.cluster_id, 0xcdf818194e3a8c32);
    ck_assert_str_eq(settings.store_path, "default.etcd/member/store.db");
    ck_assert_uint_eq(settings.quota_bytes, 2147483648);
    settings_fini(&settings);
}
END_TEST

START_TEST(one_dash_two_dashes_equals_and_space_are_the_same)
{
    const char *argv[] = {"trivetd", "-name",     "a", "--data-dir=/tmp/x", "--heartbeat-interval",
                          "50",      "-pre-vote", NULL};
    ck_assert_int_eq(parse(argv, no_environ), FLAGS_OK);
    ck_assert_str_eq(config.name, "a");
    ck_assert_str_eq(config.data_dir, "/tmp/x");
    ck_assert_uint_eq(config.heartbeat_ms, 50);
    ck_assert_int_eq(warnings, 1); /* pre-vote has no effect */
}
END_TEST

START_TEST(variables_set_what_flags_leave)
{
    const char *argv[] = {"trivetd", "--name", "a", NULL};
    const char *environ_vars[] = {"ETCD_DATA_DIR=/tmp/y", "ETCD_GRPC_KEEPALIVE_TIMEOUT=1m30s",
                                  "ETCD_WHAT=1", "HOME=/", NULL};
    ck_assert_int_eq(parse(argv, environ_vars), FLAGS_OK);
    ck_assert_str_eq(config.data_dir, "/tmp/y");
    ck_assert_uint_eq(config.keepalive_timeout_ms, 90000);
    ck_assert_int_eq(warnings, 1); /* ETCD_WHAT */
}
END_TEST

START_TEST(a_shadowed_variable_is_refused)
{
    const char *argv[] = {"trivetd", "--name", "a", NULL};
    const char *environ_vars[] = {"ETCD_NAME=b", NULL};
    ck_assert_int_eq(parse(argv, environ_vars), FLAGS_BAD);
    ck_assert_ptr_nonnull(strstr(why.text, "is shadowed by corresponding command-line flag"));
}
END_TEST

static const struct {
    const char *arg;
    const char *value;
    const char *says;
} bad_flags[] = {
    {"x", NULL, "\"x\" is not a valid flag"},
    {"--no-such", NULL, "flag provided but not defined: -no-such"},
    {"--name", NULL, "flag needs an argument: -name"},
    {"--heartbeat-interval", "soon", "invalid value \"soon\""},
    {"--heartbeat-interval", "-1", "invalid value"},
    {"--grpc-keepalive-timeout", "5", "invalid value"},
    {"--version=maybe", NULL, "invalid value"},
    {"--", NULL, "is not a valid flag"},
};

START_TEST(bad_flags_are_refused)
{
    const char *argv[] = {"trivetd", bad_flags[_i].arg, bad_flags[_i].value, NULL};
    ck_assert_int_eq(parse(argv, no_environ), FLAGS_BAD);
    ck_assert_msg(strstr(why.text, bad_flags[_i].says) != NULL, "%s: %s", bad_flags[_i].arg,
                  why.text);
}
END_TEST

/* Files of variables have what is not set as an empty text. */
START_TEST(an_empty_variable_is_none)
{
    const char *argv[] = {"trivetd", "--name", "a", NULL};
    const char *environ_vars[] = {
        "ETCD_HEARTBEAT_INTERVAL=", "ETCD_CERT_FILE=", "ETCD_INITIAL_CLUSTER_STATE=",
        "ETCD_LISTEN_CLIENT_URLS=", "ETCD_AUTO_TLS=",  NULL};
    ck_assert_int_eq(parse(argv, environ_vars), FLAGS_OK);
    ck_assert_uint_eq(config.heartbeat_ms, 100);
    ck_assert_str_eq(config.initial_cluster_state, "new");
    ck_assert(!config.client_urls_given);
    const char *shadowed[] = {"ETCD_NAME=", NULL};
    ck_assert_int_eq(parse(argv, shadowed), FLAGS_BAD); /* etcd says so, too */
}
END_TEST

START_TEST(variables_do_not_ask_for_help)
{
    const char *argv[] = {"trivetd", NULL};
    const char *environ_vars[] = {"ETCD_H=x", "ETCD_HELP=x", "ETCD_VERSION=x", NULL};
    ck_assert_int_eq(parse(argv, environ_vars), FLAGS_OK);
    ck_assert_int_eq(warnings, 3);
}
END_TEST

START_TEST(flags_of_before_3_6_are_what_they_became)
{
    const char *argv[] = {"trivetd",
                          "--experimental-max-learners=2",
                          "--experimental-snapshot-catchup-entries=7",
                          "--experimental-corrupt-check-time=7s",
                          "--experimental-enable-distributed-tracing",
                          "--experimental-initial-corrupt-check=true",
                          NULL};
    ck_assert_int_eq(parse(argv, no_environ), FLAGS_OK);
    ck_assert_uint_eq(config.learners_max, 2);
    ck_assert_uint_eq(config.snapshot_catchup_entries, 7);
    ck_assert_uint_eq(config.corrupt_check_ms, 7000);
    ck_assert_int_eq(warnings, 2);
}
END_TEST

START_TEST(without_a_data_directory_it_is_called_after_the_member)
{
    const char *argv[] = {"trivetd", "--data-dir=", "--wal-dir=", NULL};
    ck_assert_int_eq(parse(argv, no_environ), FLAGS_OK);
    struct settings settings;
    ck_assert_int_eq(settings_make(&config, &settings, &why), OK);
    ck_assert_str_eq(settings.member_dir, "default.etcd/member");
    ck_assert_str_eq(settings.raft_dir, "default.etcd/member/raft");
    settings_fini(&settings);
}
END_TEST

static const struct {
    const char *arg;
    const char *value;
    const char *says;
} refused_flags[] = {
    {"--cert-file", "x", "--cert-file: TLS is not supported"},
    {"--client-cert-auth", NULL, "--client-cert-auth: TLS is not supported"},
    {"--auto-tls=true", NULL, "--auto-tls: TLS is not supported"},
    {"--auto-tls=soon", NULL, "--auto-tls: TLS is not supported"},
    {"--peer-client-key-file", "x", "--peer-client-key-file: TLS is not supported"},
    {"--unsafe-no-fsync", NULL, "losing acknowledged writes"},
    {"--config-file", "x", "configuration files are not supported"},
};

START_TEST(a_flag_that_must_not_be_ignored_is_refused)
{
    const char *argv[] = {"trivetd", refused_flags[_i].arg, refused_flags[_i].value, NULL};
    ck_assert_int_eq(parse(argv, no_environ), FLAGS_REFUSED);
    ck_assert_msg(strstr(why.text, refused_flags[_i].says) != NULL, "%s: %s", refused_flags[_i].arg,
                  why.text);
}
END_TEST

START_TEST(a_flag_that_says_to_do_without_is_not)
{
    const char *argv[] = {"trivetd",
                          "--cert-file=",
                          "--client-cert-auth=false",
                          "--peer-auto-tls=0",
                          "--discovery-srv",
                          "",
                          "--unsafe-no-fsync=false",
                          NULL};
    ck_assert_int_eq(parse(argv, no_environ), FLAGS_OK);
    ck_assert_int_eq(warnings, 0);
}
END_TEST

static const struct {
    const char *args[4];
    const char *says;
} bad_settings[] = {
    {{"--heartbeat-interval=300"},
     "--election-timeout[1000ms] should be at least as 5 times as --heartbeat-interval[300ms]"},
    {{"--heartbeat-interval=3689348814741910324"}, "should be at least as 5 times"},
    {{"--election-timeout=60000"}, "should be set less than 50000ms"},
    {{"--heartbeat-interval=0"}, "must be >0"},
    {{"--listen-client-urls=http://127.0.0.1:1"},
     "--advertise-client-urls is required when --listen-client-urls is set explicitly"},
    {{"--listen-peer-urls=http://example.com:1"}, "expected IP in URL for binding"},
    {{"--listen-peer-urls=https://127.0.0.1:1"}, "only http://"},
    {{"--listen-peer-urls="}, "no URL is given"},
    {{"--initial-cluster=a=http://127.0.0.1:1"}, "couldn't find local name \"default\""},
    {{"--initial-cluster=default=http://127.0.0.1:1"}, "missing from --initial-cluster"},
    {{"--initial-cluster-state=old"}, "neither 'new' nor 'existing'"},
    {{"--max-request-bytes=0"}, "--max-request-bytes"},
    {{"--max-txn-ops=1000000"}, "--max-txn-ops"},
    {{"--log-level=loud"}, "unknown level"},
    {{"--log-outputs=stderr,/var/log/member.log"}, "only one output"},
    {{"--watch-progress-notify-interval=99ms"}, "must be at least 100ms"},
    {{"--experimental-watch-progress-notify-interval=1ms"}, "must be at least 100ms"},
};

START_TEST(bad_settings_are_refused)
{
    const char *argv[6] = {"trivetd"};
    for (size_t i = 0; i < 4 && bad_settings[_i].args[i] != NULL; i++) {
        argv[i + 1] = bad_settings[_i].args[i];
    }
    ck_assert_int_eq(parse(argv, no_environ), FLAGS_OK);
    struct settings settings;
    ck_assert_int_ne(settings_make(&config, &settings, &why), OK);
    ck_assert_msg(strstr(why.text, bad_settings[_i].says) != NULL, "%s: %s", argv[1], why.text);
}
END_TEST

/* Retention as etcd reads it. */
static const struct {
    const char *mode;
    const char *retention;
    enum err want;
    uint64_t value;
} retentions[] = {
    {"periodic", "0", OK, 0},
    {"periodic", "1", OK, 3600000},
    {"periodic", "72", OK, 259200000},
    {"periodic", "30s", OK, 30000},
    {"periodic", "1h30m", OK, 5400000},
    {"revision", "0", OK, 0},
    {"revision", "1000", OK, 1000},
    {"revision", "5m", ERR_INVALID, 0},
    {"periodic", "", ERR_INVALID, 0},
    {"periodic", "-1", ERR_INVALID, 0},
    {"periodic", "5x", ERR_INVALID, 0},
    {"periodic", "100000", ERR_LIMIT, 0},
    {"periodic", "100000h", ERR_LIMIT, 0},
    {"revision", "9999999999999", ERR_INVALID, 0},
    {"revision", "999999999999", OK, 999999999999},
    {"", "1", ERR_INVALID, 0},
    {"hourly", "1", ERR_INVALID, 0},
};

START_TEST(retention_is_read_by_mode)
{
    const char *argv[] = {"trivetd",
                          "--auto-compaction-mode",
                          retentions[_i].mode,
                          "--auto-compaction-retention",
                          retentions[_i].retention,
                          NULL};
    ck_assert_int_eq(parse(argv, no_environ), FLAGS_OK);
    ck_assert_int_eq(warnings, 0);
    struct settings settings;
    enum err err = settings_make(&config, &settings, &why);
    ck_assert_msg(err == retentions[_i].want, "%s %s: %s", retentions[_i].mode,
                  retentions[_i].retention, err_text(err));
    if (err == OK) {
        bool revision = strcmp(retentions[_i].mode, "revision") == 0;
        ck_assert_int_eq(settings.compactor_mode,
                         revision ? COMPACTOR_REVISION : COMPACTOR_PERIODIC);
        ck_assert_uint_eq(settings.compactor_retention, retentions[_i].value);
        settings_fini(&settings);
    } else {
        ck_assert_ptr_nonnull(strstr(why.text, "auto-compaction"));
    }
}
END_TEST

START_TEST(help_tells_defaults)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    flags_help(out);
    fclose(out);
    ck_assert_ptr_nonnull(strstr(text, "  --heartbeat-interval '100'\n"));
    ck_assert_ptr_nonnull(strstr(text, "  --strict-reconfig-check 'true'\n"));
    ck_assert_ptr_nonnull(strstr(text, "  --force-new-cluster\n"));
    ck_assert_ptr_null(strstr(text, "cert-file"));
    free(text);
}
END_TEST

static Suite *flags_suite(void)
{
    Suite *suite = suite_create("flags");
    TCase *tcase = tcase_create("flags");
    tcase_add_test(tcase, defaults_are_etcds);
    tcase_add_test(tcase, one_dash_two_dashes_equals_and_space_are_the_same);
    tcase_add_test(tcase, variables_set_what_flags_leave);
    tcase_add_test(tcase, a_shadowed_variable_is_refused);
    tcase_add_loop_test(tcase, bad_flags_are_refused, 0, ARRAY_LEN(bad_flags));
    tcase_add_test(tcase, an_empty_variable_is_none);
    tcase_add_test(tcase, variables_do_not_ask_for_help);
    tcase_add_test(tcase, flags_of_before_3_6_are_what_they_became);
    tcase_add_test(tcase, without_a_data_directory_it_is_called_after_the_member);
    tcase_add_loop_test(tcase, a_flag_that_must_not_be_ignored_is_refused, 0,
                        ARRAY_LEN(refused_flags));
    tcase_add_test(tcase, a_flag_that_says_to_do_without_is_not);
    tcase_add_loop_test(tcase, bad_settings_are_refused, 0, ARRAY_LEN(bad_settings));
    tcase_add_loop_test(tcase, retention_is_read_by_mode, 0, ARRAY_LEN(retentions));
    tcase_add_test(tcase, help_tells_defaults);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return runner_main(flags_suite);
}
