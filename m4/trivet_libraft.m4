# SPDX-License-Identifier: Apache-2.0
# TRIVET_LIBRAFT_ABI: raft/ reads and mends libraft's state through the public structs of 0.15. With
# other structs it would read the wrong bytes, so the build stops here and says so. The figures are
# those of raft.h 0.15.0 on 64-bit systems.

AC_DEFUN([TRIVET_LIBRAFT_ABI], [
    AC_MSG_CHECKING([whether libraft's structs are those of 0.15])
    trivet_saved_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS -std=gnu17 $LIBRAFT_CFLAGS"
    AC_COMPILE_IFELSE([AC_LANG_SOURCE([[
        #include <raft.h>
        #include <stddef.h>
        #define SIZE(type, size) _Static_assert(sizeof(struct type) == size, "size of " #type)
        #define FIELD(type, field, at) \
            _Static_assert(offsetof(struct type, field) == at, "offset of " #field " in " #type)
        SIZE(raft, 656);
        FIELD(raft, io, 16);
        FIELD(raft, fsm, 24);
        FIELD(raft, id, 32);
        FIELD(raft, current_term, 48);
        FIELD(raft, voted_for, 56);
        FIELD(raft, log, 64);
        FIELD(raft, configuration, 136);
        FIELD(raft, configuration_index, 152);
        FIELD(raft, configuration_uncommitted_index, 160);
        FIELD(raft, commit_index, 184);
        FIELD(raft, last_applied, 192);
        FIELD(raft, last_stored, 200);
        FIELD(raft, state, 208);
        FIELD(raft, follower_state.current_leader.id, 224);
        FIELD(raft, candidate_state.in_pre_vote, 233);
        FIELD(raft, leader_state.progress, 216);
        FIELD(raft, leader_state.change, 224);
        FIELD(raft, leader_state.promotee_id, 232);
        FIELD(raft, election_timer_start, 280);
        FIELD(raft, transfer, 288);
        FIELD(raft, snapshot.pending, 304);
        FIELD(raft, snapshot.put, 360);
        FIELD(raft, pre_vote, 640);
        FIELD(raft, max_catch_up_round_duration, 648);
        SIZE(raft_log, 72);
        FIELD(raft_log, entries, 0);
        FIELD(raft_log, size, 8);
        FIELD(raft_log, front, 16);
        FIELD(raft_log, back, 24);
        FIELD(raft_log, offset, 32);
        FIELD(raft_log, snapshot.last_index, 56);
        FIELD(raft_log, snapshot.last_term, 64);
        SIZE(raft_progress, 56);
        FIELD(raft_progress, state, 0);
        FIELD(raft_progress, next_index, 8);
        FIELD(raft_progress, match_index, 16);
        FIELD(raft_progress, snapshot_index, 24);
        FIELD(raft_progress, last_send, 32);
        FIELD(raft_progress, recent_recv, 48);
        SIZE(raft_entry, 40);
        FIELD(raft_entry, term, 0);
        FIELD(raft_entry, type, 8);
        FIELD(raft_entry, buf, 16);
        FIELD(raft_entry, batch, 32);
        SIZE(raft_message, 88);
        FIELD(raft_message, type, 0);
        FIELD(raft_message, server_id, 8);
        FIELD(raft_message, append_entries, 24);
        FIELD(raft_message, append_entries_result, 24);
        FIELD(raft_message, install_snapshot, 24);
        SIZE(raft_append_entries, 48);
        FIELD(raft_append_entries, term, 0);
        FIELD(raft_append_entries, prev_log_index, 8);
        FIELD(raft_append_entries, prev_log_term, 16);
        FIELD(raft_append_entries, leader_commit, 24);
        FIELD(raft_append_entries, entries, 32);
        FIELD(raft_append_entries, n_entries, 40);
        SIZE(raft_append_entries_result, 24);
        FIELD(raft_append_entries_result, term, 0);
        FIELD(raft_append_entries_result, rejected, 8);
        FIELD(raft_append_entries_result, last_log_index, 16);
        SIZE(raft_io, 408);
        FIELD(raft_io, version, 0);
        FIELD(raft_io, init, 280);
        FIELD(raft_io, start, 304);
        FIELD(raft_io, load, 296);
        FIELD(raft_io, append, 352);
        FIELD(raft_io, truncate, 360);
        FIELD(raft_io, send, 344);
        FIELD(raft_io, snapshot_put, 368);
        FIELD(raft_io, snapshot_get, 376);
        FIELD(raft_io, random, 392);
        FIELD(raft_io, async_work, 400);
        SIZE(raft_fsm, 56);
        FIELD(raft_fsm, version, 0);
        FIELD(raft_fsm, apply, 16);
        FIELD(raft_fsm, snapshot, 24);
        FIELD(raft_fsm, restore, 32);
        SIZE(raft_configuration, 16);
        SIZE(raft_server, 24);
        SIZE(raft_snapshot, 56);
    ]])],
        [AC_MSG_RESULT([yes])],
        [AC_MSG_RESULT([no])
         AC_MSG_ERROR([the installed raft.h does not have the structs of libraft 0.15, to which raft/ is tied.
  Trivet builds with Debian 12's libraft-dev (0.15.0); config.log names the struct that differs])])
    CFLAGS=$trivet_saved_CFLAGS
])
