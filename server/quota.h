/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_QUOTA_H
#define SERVER_QUOTA_H

#include "fsm/command.h"

/* What the command may add to the database, as etcd's quota counts it; 0: never refused. */
size_t quota_cost(const struct command *command);

#endif
