/* SPDX-License-Identifier: Apache-2.0 */
/* Raft's messages from another member (raft/frame.h), the configurations in them, and the
 * manifest of a snapshot: what is decoded is encoded and decoded again to the same. */
#include "raft/frame.h"

#include "base/cleanup.h"
#include "raft/confhist.h"
#include "raft/logload.h"
#include "tests/fuzz/fuzz.h"

static void check_again(const struct frame *frame)
{
    CLEANUP(blob_unrefp)
    struct blob *once = frame_encode(&frame->message, &frame->notes, frame->address);
    struct frame again;
    CLAIM(once != NULL);
    CLAIM(frame_decode(blob_bytes(once), &again) == OK);
    CLAIM(frame_term(&again.message) == frame_term(&frame->message));
    CLAIM(strcmp(again.address, frame->address) == 0);
    CLEANUP(blob_unrefp)
    struct blob *twice = frame_encode(&again.message, &again.notes, again.address);
    CLAIM(twice != NULL);
    CLAIM(bytes_equal(blob_bytes(once), blob_bytes(twice)));
    frame_release(&again.message);
}

/* The same bytes as a configuration: here, and by the core itself, once it is checked. */
static void check_configuration(struct bytes bytes)
{
    struct raft_configuration configuration;
    bool good = configuration_decode(bytes, &configuration) == OK;
    CLAIM(good == configuration_check(bytes));
    if (!good) {
        return;
    }
    CLAIM(configuration.n <= MEMBERS_MAX);
    struct raft_buffer encoded = configuration_encode(&configuration);
    struct raft_configuration again;
    CLAIM(configuration_decode(bytes_of(encoded.base, encoded.len), &again) == OK);
    CLAIM(again.n == configuration.n);
    raft_configuration_close(&again);
    raft_configuration_close(&configuration);
    raft_free(encoded.base);
}

static void check_log_manifest(struct bytes bytes)
{
    struct log_snapshot snapshot;
    struct log_snapshot again;
    if (manifest_decode(bytes, &snapshot) != OK) {
        return;
    }
    CLEANUP(buf_fini) struct buf encoded = {0};
    manifest_encode(&snapshot, &encoded);
    CLAIM(buf_ok(&encoded));
    CLAIM(manifest_decode(buf_bytes(&encoded), &again) == OK);
    CLAIM(again.index == snapshot.index && again.term == snapshot.term);
    CLAIM(bytes_equal(again.data, snapshot.data));
    CLAIM(bytes_equal(again.configuration, snapshot.configuration));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame frame;
    if (frame_decode(bytes_of(data, size), &frame) == OK) {
        check_again(&frame);
        frame_release(&frame.message);
    }
    check_configuration(bytes_of(data, size));
    check_log_manifest(bytes_of(data, size));
    return 0;
}
