/* SPDX-License-Identifier: Apache-2.0 */
/* etcd's methods that this version does not serve. They are in the table all the same: a client is
 * told that the method is missing, not the service, and the metrics have a line for each. */
#include "api/call.h"
#include "base/cleanup.h"

#define UNARY(name)      \
    {                    \
        .path = "/" name \
    }
#define SERVER_STREAM(name)                     \
    {                                           \
        .path = "/" name, .server_stream = true \
    }
#define BIDI(name)                                                     \
    {                                                                  \
        .path = "/" name, .client_stream = true, .server_stream = true \
    }

static const struct method rows[] = {
    UNARY("etcdserverpb.Maintenance/Downgrade"),
    UNARY("etcdserverpb.Auth/AuthEnable"),
    UNARY("etcdserverpb.Auth/AuthDisable"),
    UNARY("etcdserverpb.Auth/UserAdd"),
    UNARY("etcdserverpb.Auth/UserGet"),
    UNARY("etcdserverpb.Auth/UserList"),
    UNARY("etcdserverpb.Auth/UserDelete"),
    UNARY("etcdserverpb.Auth/UserChangePassword"),
    UNARY("etcdserverpb.Auth/UserGrantRole"),
    UNARY("etcdserverpb.Auth/UserRevokeRole"),
    UNARY("etcdserverpb.Auth/RoleAdd"),
    UNARY("etcdserverpb.Auth/RoleGet"),
    UNARY("etcdserverpb.Auth/RoleList"),
    UNARY("etcdserverpb.Auth/RoleDelete"),
    UNARY("etcdserverpb.Auth/RoleGrantPermission"),
    UNARY("etcdserverpb.Auth/RoleRevokePermission"),
};

const struct method_table rpc_unserved = {.rows = rows, .count = ARRAY_LEN(rows)};
