/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_USAGE_H
#define API_USAGE_H

#include "api/service_private.h"

/* What clients have asked for, as metrics. */

/* The few that stand in the server's registry. */
void usage_register(struct service *service);

/* Those of every method and code, grpc_server_*: written when somebody looks, as they would be a
 * thousand in the registry. */
void usage_write(const struct service *service, struct buf *buf);

#endif
