/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include "base/bytes.h"

#define ADDR_HOST_MAX  255
#define ADDR_TEXT_SIZE (ADDR_HOST_MAX + 9) /* brackets, colon, port, NUL */
#define URL_TEXT_SIZE  (ADDR_TEXT_SIZE + 8)

/* host:port as written by people: a name, an IPv4 address, or an IPv6 address in brackets, with a
 * zone or without. Port 0 asks for a free one where one listens. */
struct addr {
    char host[ADDR_HOST_MAX + 1]; /* without brackets */
    uint16_t port;
};

enum url_scheme { URL_HTTP, URL_HTTPS, URL_UNIX, URL_UNIXS };

struct url {
    enum url_scheme scheme;
    struct addr addr; /* http, https */
    char path[108];   /* unix, unixs: the socket's path */
};

MUST_CHECK enum err addr_parse(struct bytes text, struct addr *ret, struct why *why);
void addr_format(const struct addr *addr, char *text,
                 size_t size); /* brackets around an IPv6 address */

/* "http://host:port", "https://...", "unix://path", "unixs://path": no user, no query, no path but
 * "/" or none after host:port. */
MUST_CHECK enum err url_parse(struct bytes text, struct url *ret, struct why *why);

void url_format(const struct url *url, char *text, size_t size);

/* Is HOST an IP address (of either kind) or "localhost"? etcd refuses other names to listen on. */
bool addr_host_is_ip_or_localhost(const char *host);

#endif
