/* SPDX-License-Identifier: Apache-2.0 */
#include "base/addr.h"

#include "base/cleanup.h"
#include "tests/lib/runner.h"

static const struct {
    const char *text;
    const char *host; /* NULL: refused */
    uint16_t port;
} addrs[] = {
    {"localhost:2379", "localhost", 2379},
    {"127.0.0.1:0", "127.0.0.1", 0},
    {"etcd-0.etcd_peers.example.com:65535", "etcd-0.etcd_peers.example.com", 65535},
    {"[::1]:2380", "::1", 2380},
    {"[::]:1", "::", 1},
    {"[2001:db8::1:0:0:1]:80", "2001:db8::1:0:0:1", 80},
    {"[fe80::1%eth0]:80", "fe80::1%eth0", 80},
    {"[::ffff:10.0.0.1]:80", "::ffff:10.0.0.1", 80},
    {"", NULL, 0},
    {"host", NULL, 0},
    {":2379", NULL, 0},
    {"host:", NULL, 0},
    {"host:65536", NULL, 0},
    {"host:123456", NULL, 0},
    {"host:-1", NULL, 0},
    {"host:+1", NULL, 0},
    {"host: 1", NULL, 0},
    {"host:http", NULL, 0},
    {"host:1x", NULL, 0},
    {"ho st:1", NULL, 0},
    {"user@host:1", NULL, 0},
    {"::1:2380", NULL, 0},
    {"[::1]", NULL, 0},
    {"[::1]2380", NULL, 0},
    {"[::1", NULL, 0},
    {"[]:1", NULL, 0},
    {"[127.0.0.1]:1", NULL, 0},
    {"[host]:1", NULL, 0},
    {"[::g]:1", NULL, 0},
    {"[fe80::1%]:80", NULL, 0},
    {"[fe80::1%averyveryverylongzone]:80", NULL, 0},
};

START_TEST(addresses_are_parsed_or_refused)
{
    struct addr addr = {.host = "untouched", .port = 1};
    struct why why = {0};
    enum err err = addr_parse(bytes_of_str(addrs[_i].text), &addr, &why);
    if (addrs[_i].host == NULL) {
        ck_assert_msg(err == ERR_INVALID, "'%s' gave host '%s'", addrs[_i].text, addr.host);
        ck_assert_str_eq(addr.host, "untouched");
        ck_assert_uint_gt(strlen(why.text), 0);
        return;
    }
    ck_assert_msg(err == OK, "'%s': %s", addrs[_i].text, why.text);
    ck_assert_str_eq(addr.host, addrs[_i].host);
    ck_assert_uint_eq(addr.port, addrs[_i].port);
    char text[ADDR_TEXT_SIZE];
    addr_format(&addr, text, sizeof text);
    ck_assert_str_eq(text, addrs[_i].text);
}
END_TEST

START_TEST(an_address_cut_anywhere_reads_no_further)
{
    static const char full[] = "[fe80::1%eth0]:2380";
    for (size_t len = 0; len < sizeof full - 1; len++) {
        char *cut = malloc(len + (len == 0));
        ck_assert_ptr_nonnull(cut);
        memcpy(cut, full, len);
        struct addr addr;
        enum err err = addr_parse(bytes_of(cut, len), &addr, NULL);
        ck_assert_int_eq(err, len > 15 ? OK : ERR_INVALID); /* "...]:2" is one already */
        free(cut);
    }
}
END_TEST

START_TEST(a_nul_inside_is_refused)
{
    struct addr addr;
    ck_assert_int_eq(addr_parse(bytes_of("ho\0st:1", 7), &addr, NULL), ERR_INVALID);
    ck_assert_int_eq(addr_parse(bytes_of("[::1\0]:1", 8), &addr, NULL), ERR_INVALID);
    struct url url;
    ck_assert_int_eq(url_parse(bytes_of("unix://a\0b", 10), &url, NULL), ERR_INVALID);
}
END_TEST

START_TEST(a_host_has_a_longest_length)
{
    char text[ADDR_HOST_MAX + 10];
    struct addr addr;
    memset(text, 'a', sizeof text);
    memcpy(text + ADDR_HOST_MAX, ":1", 2);
    ck_assert_int_eq(addr_parse(bytes_of(text, ADDR_HOST_MAX + 2), &addr, NULL), OK);
    ck_assert_uint_eq(strlen(addr.host), ADDR_HOST_MAX);
    memcpy(text + ADDR_HOST_MAX, "a:1", 3);
    ck_assert_int_eq(addr_parse(bytes_of(text, ADDR_HOST_MAX + 3), &addr, NULL), ERR_INVALID);
}
END_TEST

static const struct {
    const char *text;
    bool valid;
    enum url_scheme scheme;
    const char *rest; /* host or path */
    uint16_t port;
    const char *formatted;
} urls[] = {
    {"http://localhost:2379", true, URL_HTTP, "localhost", 2379, "http://localhost:2379"},
    {"https://10.0.0.1:2380", true, URL_HTTPS, "10.0.0.1", 2380, "https://10.0.0.1:2380"},
    {"HTTPS://a.b:1", true, URL_HTTPS, "a.b", 1, "https://a.b:1"},
    {"http://[::1]:2379/", true, URL_HTTP, "::1", 2379, "http://[::1]:2379"},
    {"unix:///run/trivet.sock", true, URL_UNIX, "/run/trivet.sock", 0, "unix:///run/trivet.sock"},
    {"unixs://localhost:m10", true, URL_UNIXS, "localhost:m10", 0, "unixs://localhost:m10"},
    {.text = ""},
    {.text = "localhost:2379"},
    {.text = "ftp://localhost:2379"},
    {.text = "http:/localhost:2379"},
    {.text = "http://"},
    {.text = "http:///"},
    {.text = "http://localhost"},
    {.text = "http://localhost:2379/path"},
    {.text = "http://localhost:2379//"},
    {.text = "http://localhost:2379?x=1"},
    {.text = "http://localhost:2379#x"},
    {.text = "http://user:pass@localhost:2379"},
    {.text = " http://localhost:2379"},
    {.text = "http://::1:2379"},
    {.text = "unix://"},
    {.text = "unix:///0123456789012345678901234567890123456789012345678901234567890123456789"
             "01234567890123456789012345678901234567890"},
};

START_TEST(urls_are_parsed_or_refused)
{
    struct url url;
    struct why why = {0};
    enum err err = url_parse(bytes_of_str(urls[_i].text), &url, &why);
    if (!urls[_i].valid) {
        ck_assert_msg(err == ERR_INVALID, "'%s' was taken", urls[_i].text);
        ck_assert_uint_gt(strlen(why.text), 0);
        return;
    }
    ck_assert_msg(err == OK, "'%s': %s", urls[_i].text, why.text);
    ck_assert_int_eq(url.scheme, urls[_i].scheme);
    bool is_unix = url.scheme == URL_UNIX || url.scheme == URL_UNIXS;
    ck_assert_str_eq(is_unix ? url.path : url.addr.host, urls[_i].rest);
    ck_assert_uint_eq(url.addr.port, urls[_i].port);
    char text[URL_TEXT_SIZE];
    url_format(&url, text, sizeof text);
    ck_assert_str_eq(text, urls[_i].formatted);
}
END_TEST

static const struct {
    const char *host;
    bool want;
} hosts[] = {
    {"localhost", true}, {"127.0.0.1", true},    {"::1", true},        {"fe80::1%eth0", true},
    {"0.0.0.0", true},   {"example.com", false}, {"LOCALHOST", false}, {"1.2.3", false},
    {"", false},         {"1.2.3.4.5", false},
};

START_TEST(only_addresses_and_localhost_are_listened_on)
{
    ck_assert_msg(addr_host_is_ip_or_localhost(hosts[_i].host) == hosts[_i].want, "%s",
                  hosts[_i].host);
}
END_TEST

static Suite *addr_suite(void)
{
    Suite *suite = suite_create("addr");
    TCase *tc = tcase_create("addr");
    tcase_add_loop_test(tc, addresses_are_parsed_or_refused, 0, (int)ARRAY_LEN(addrs));
    tcase_add_test(tc, an_address_cut_anywhere_reads_no_further);
    tcase_add_test(tc, a_nul_inside_is_refused);
    tcase_add_test(tc, a_host_has_a_longest_length);
    tcase_add_loop_test(tc, urls_are_parsed_or_refused, 0, (int)ARRAY_LEN(urls));
    tcase_add_loop_test(tc, only_addresses_and_localhost_are_listened_on, 0, (int)ARRAY_LEN(hosts));
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(addr_suite);
}
