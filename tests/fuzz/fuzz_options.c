/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines, and the environment: trivetd's, checked and taken apart as at its start, and a
 * table of options such as those of the other programs; and each word as an address, a URL and a
 * duration.
 *
 *   0  u8: bit 0 a table of options, else trivetd
 *   1  words, one a line; those that begin with ETCD_ are the environment */
#include "base/cleanup.h"
#include "cmd/cli/options.h"
#include "cmd/trivetd/flags.h"
#include "cmd/trivetd/settings.h"
#include "tests/fuzz/fuzz.h"

#define WORDS_MAX 64u
#define ARGS_MAX  4u

#define DURATION_MS_MAX 1000000000000000u

struct words {
    const char *args[WORDS_MAX + 2]; /* the program's name first, NULL last */
    int count;
    const char *environ_vars[WORDS_MAX + 1];
    size_t environ_count;
};

/* Cut TEXT, which ends with a NUL, at its ends of lines. */
static void cut(char *text, struct words *words)
{
    words->args[words->count++] = "program";
    char *rest = text;
    char *line;
    for (unsigned i = 0; i < WORDS_MAX && (line = strsep(&rest, "\n")) != NULL; i++) {
        if (strncmp(line, "ETCD_", 5) == 0 && strchr(line, '=') != NULL) {
            words->environ_vars[words->environ_count++] = line;
        } else {
            words->args[words->count++] = line;
        }
    }
}

static void check_word(const char *text)
{
    struct bytes bytes = bytes_of_str(text);
    struct addr addr;
    struct addr again;
    struct url url;
    struct url url_again;
    char formatted[URL_TEXT_SIZE];
    uint64_t ms;
    struct why why;
    if (addr_parse(bytes, &addr, &why) == OK) {
        addr_format(&addr, formatted, sizeof formatted);
        CLAIM(addr_parse(bytes_of_str(formatted), &again, &why) == OK);
        CLAIM(strcmp(again.host, addr.host) == 0 && again.port == addr.port);
    }
    if (url_parse(bytes, &url, &why) == OK) {
        url_format(&url, formatted, sizeof formatted);
        CLAIM(url_parse(bytes_of_str(formatted), &url_again, &why) == OK);
        CLAIM(url_again.scheme == url.scheme);
    }
    if (duration_parse_ms(text, &ms) == OK) {
        CLAIM(ms <= DURATION_MS_MAX);
    }
    if (flags_parse_duration(text, &ms) == OK) {
        CLAIM(ms <= DURATION_MS_MAX);
    }
}

static void ignore(const char *text)
{
    CLAIM(text != NULL);
}

static void check_settings(const struct settings *settings)
{
    const struct config *config = settings->config;
    CLAIM(config->heartbeat_ms > 0 && config->heartbeat_ms <= config->election_ms / 5);
    CLAIM(settings->cluster.count >= 1 && settings->cluster.count <= MEMBERS_MAX);
    CLAIM(settings->self != NULL);
    CLAIM(settings->listen_peer_count <= LISTEN_URLS_MAX);
    CLAIM(settings->listen_client_count <= LISTEN_URLS_MAX);
    CLAIM(config->request_bytes_max <= REQUEST_BYTES_MAX);
}

static void check_trivetd(const struct words *words)
{
    struct config config;
    struct settings settings;
    struct why why = {{0}};
    enum flags_outcome outcome =
        flags_parse(words->count, words->args, words->environ_vars, &config, ignore, &why);
    if (outcome == FLAGS_OK && settings_make(&config, &settings, &why) == OK) {
        check_settings(&settings);
        settings_fini(&settings);
    }
}

static void check_table(const struct words *words)
{
    struct options {
        const char *text;
        uint64_t number;
        bool flag;
        uint64_t duration_ms;
    } options = {.text = NULL};
    static const struct option_row rows[] = {
        {"text", OPTION_TEXT, offsetof(struct options, text), "TEXT", ""},
        {"number", OPTION_NUMBER, offsetof(struct options, number), "N", ""},
        {"flag", OPTION_BOOL, offsetof(struct options, flag), NULL, ""},
        {"duration", OPTION_DURATION_MS, offsetof(struct options, duration_ms), "TIME", ""},
    };
    const char *args[ARGS_MAX];
    size_t arg_count;
    struct why why;
    if (options_parse(rows, ARRAY_LEN(rows), words->count, words->args, &options, args, ARGS_MAX,
                      &arg_count, &why) == OK) {
        CLAIM(arg_count <= ARGS_MAX);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader input = reader_of(bytes_of(data, size));
    bool is_table = read_u8(&input) % 2 == 1;
    CLEANUP(buf_fini) struct buf text = {0};
    buf_append_bytes(&text, fuzz_view(&input, SIZE_MAX));
    write_u8(&text, 0);
    CLAIM(buf_ok(&text));
    struct words words = {.count = 0};
    cut((char *)text.data, &words);
    if (is_table) {
        check_table(&words);
    } else {
        check_trivetd(&words);
    }
    for (int i = 1; i < words.count; i++) {
        check_word(words.args[i]);
    }
    return 0;
}
