/* SPDX-License-Identifier: Apache-2.0 */
#include "base/addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <strings.h>

#include "base/cleanup.h"

/* How much of a refused text a message repeats. */
#define SHOWN(bytes) (int)((bytes).len < 200 ? (bytes).len : 200), (const char *)(bytes).data

static bool is_letter_or_digit(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_ipv4(const char *host)
{
    struct in_addr ip;
    return inet_pton(AF_INET, host, &ip) == 1;
}

/* With or without a zone: fe80::1%eth0. */
static bool is_ipv6(const char *host)
{
    char text[INET6_ADDRSTRLEN];
    size_t len = strcspn(host, "%");
    if (len >= sizeof text) {
        return false;
    }
    if (host[len] == '%') {
        size_t zone_len = strlen(host + len + 1);
        if (zone_len == 0 || zone_len >= IF_NAMESIZE) {
            return false;
        }
    }
    memcpy(text, host, len);
    text[len] = '\0';
    struct in6_addr ip;
    return inet_pton(AF_INET6, text, &ip) == 1;
}

/* The characters of host names, and the underscore that people use in them all the same. */
static bool is_name(struct bytes host)
{
    for (size_t i = 0; i < host.len; i++) {
        uint8_t c = host.data[i];
        if (!is_letter_or_digit(c) && c != '-' && c != '.' && c != '_') {
            return false;
        }
    }
    return host.len > 0;
}

static bool parse_port(struct bytes text, uint16_t *ret)
{
    if (text.len == 0 || text.len > 5) {
        return false;
    }
    uint32_t port = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        port = port * 10 + (uint32_t)(text.data[i] - '0');
    }
    if (port > UINT16_MAX) {
        return false;
    }
    *ret = (uint16_t)port;
    return true;
}

static const uint8_t *find(struct bytes text, char c)
{
    return text.len == 0 ? NULL : memchr(text.data, c, text.len);
}

/* Cut TEXT into host and port, at the colon behind the brackets or at the only colon. */
static bool split(struct bytes text, struct bytes *host, bool *bracketed, struct bytes *port)
{
    const uint8_t *end = text.data + text.len;
    *bracketed = text.len > 0 && text.data[0] == '[';
    const uint8_t *colon;
    if (*bracketed) {
        const uint8_t *close = find(text, ']');
        if (close == NULL || close + 1 == end || close[1] != ':') {
            return false;
        }
        *host = bytes_of(text.data + 1, (size_t)(close - text.data) - 1);
        colon = close + 1;
    } else {
        colon = find(text, ':');
        if (colon == NULL) {
            return false;
        }
        *host = bytes_of(text.data, (size_t)(colon - text.data));
    }
    *port = bytes_of(colon + 1, (size_t)(end - colon) - 1);
    return true;
}

enum err addr_parse(struct bytes text, struct addr *ret, struct why *why)
{
    struct bytes host;
    struct bytes port;
    bool bracketed;
    if (!split(text, &host, &bracketed, &port)) {
        why_set(why, "'%.*s' does not have the form \"host:port\"", SHOWN(text));
        return ERR_INVALID;
    }
    struct addr addr = {0};
    if (host.len == 0 || host.len > ADDR_HOST_MAX) {
        why_set(why, "'%.*s' has %s host", SHOWN(text), host.len == 0 ? "no" : "too long a");
        return ERR_INVALID;
    }
    if (!bracketed && find(port, ':') != NULL) {
        why_set(why, "'%.*s' has too many colons; an IPv6 address stands in brackets", SHOWN(text));
        return ERR_INVALID;
    }
    if (!parse_port(port, &addr.port)) {
        why_set(why, "'%.*s' has no port between 0 and 65535", SHOWN(text));
        return ERR_INVALID;
    }
    memcpy(addr.host, host.data, host.len);
    /* A NUL inside would hide what follows it. */
    bool valid = strlen(addr.host) == host.len && (bracketed ? is_ipv6(addr.host) : is_name(host));
    if (!valid) {
        why_set(why, "'%.*s' has no valid host name or address", SHOWN(text));
        return ERR_INVALID;
    }
    *ret = addr;
    return OK;
}

void addr_format(const struct addr *addr, char *text, size_t size)
{
    bool ipv6 = strchr(addr->host, ':') != NULL;
    int n = snprintf(text, size, ipv6 ? "[%s]:%u" : "%s:%u", addr->host, addr->port);
    (void)n; /* cut when the caller's text is too small */
}

static const struct {
    const char *prefix;
    enum url_scheme scheme;
} schemes[] = {
    {"http://", URL_HTTP},
    {"https://", URL_HTTPS},
    {"unix://", URL_UNIX},
    {"unixs://", URL_UNIXS},
};

static bool parse_scheme(struct bytes text, enum url_scheme *ret, struct bytes *rest)
{
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        size_t len = strlen(schemes[i].prefix);
        if (text.len >= len && strncasecmp((const char *)text.data, schemes[i].prefix, len) == 0) {
            *ret = schemes[i].scheme;
            *rest = bytes_of(text.data + len, text.len - len);
            return true;
        }
    }
    return false;
}

static enum err parse_socket_path(struct bytes text, struct bytes path, struct url *url,
                                  struct why *why)
{
    if (path.len == 0 || path.len >= sizeof url->path || find(path, '\0') != NULL) {
        why_set(why, "URL '%.*s' needs the path of a socket, at most %zu bytes", SHOWN(text),
                sizeof url->path - 1);
        return ERR_INVALID;
    }
    memcpy(url->path, path.data, path.len);
    return OK;
}

enum err url_parse(struct bytes text, struct url *ret, struct why *why)
{
    struct url url = {0};
    struct bytes rest;
    if (!parse_scheme(text, &url.scheme, &rest)) {
        why_set(why, "URL scheme must be http, https, unix, or unixs: %.*s", SHOWN(text));
        return ERR_INVALID;
    }
    if (url.scheme == URL_UNIX || url.scheme == URL_UNIXS) {
        TRY(parse_socket_path(text, rest, &url, why));
        *ret = url;
        return OK;
    }
    if (rest.len > 0 && rest.data[rest.len - 1] == '/') {
        rest.len--;
    }
    if (find(rest, '/') != NULL) {
        why_set(why, "URL must not contain a path: %.*s", SHOWN(text));
        return ERR_INVALID;
    }
    enum err err = addr_parse(rest, &url.addr, why);
    if (err != OK) {
        why_prefix(why, "URL '%.*s'", SHOWN(text));
        return err;
    }
    *ret = url;
    return OK;
}

void url_format(const struct url *url, char *text, size_t size)
{
    char addr[ADDR_TEXT_SIZE];
    const char *rest = url->path;
    if (url->scheme == URL_HTTP || url->scheme == URL_HTTPS) {
        addr_format(&url->addr, addr, sizeof addr);
        rest = addr;
    }
    int n = snprintf(text, size, "%s%s", schemes[url->scheme].prefix, rest);
    (void)n; /* cut when the caller's text is too small */
}

bool addr_host_is_ip_or_localhost(const char *host)
{
    return strcmp(host, "localhost") == 0 || is_ipv4(host) || is_ipv6(host);
}
