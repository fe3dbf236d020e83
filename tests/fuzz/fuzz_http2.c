/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever bytes a client sends to the gRPC port.
 *
 *   0  how: bits 0-3 how the rest is cut (0: not at all, else pieces of the square of that), bit 4
 *      the client reads nothing until it has said everything, bit 5 it has not greeted before,
 *      bit 6 time passes at the end
 *   1  what it sends */
#include "base/cleanup.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/rpc_conn.h"

#define WAIT_MS 12000 /* longer than a handshake */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader input = reader_of(bytes_of(data, size));
    uint8_t how = read_u8(&input);
    size_t piece = how & 0x0f;
    struct rpc_conn conn;
    rpc_conn_start(&conn);
    if ((how & 0x20) == 0) {
        rpc_conn_greet(&conn);
    }
    if (!conn.closed) {
        stream_fake_hold(conn.stream, (how & 0x10) != 0);
    }
    while (reader_left(&input) > 0 && !conn.closed) {
        CLEANUP(fuzz_free)
        struct bytes bytes = fuzz_take(&input, piece == 0 ? SIZE_MAX : piece * piece);
        (void)stream_fake_send(conn.stream, bytes);
        fuzz_member_settle(&conn.member);
    }
    if (!conn.closed) {
        stream_fake_hold(conn.stream, false);
        fuzz_member_settle(&conn.member);
    }
    if ((how & 0x40) != 0) {
        env_fake_advance(conn.member.fake, WAIT_MS);
    }
    rpc_conn_stop(&conn);
    return 0;
}
