# SPDX-License-Identifier: Apache-2.0
"""What operators do: compact, defragment, save backups."""
import os
import subprocess

import grpc

from fault import Fault

SAVE_SECONDS = 60


class Compact(Fault):
    lasts = False

    def begin(self):
        member = self.somebody()
        try:
            newest = member.calls.status().header.revision
        except grpc.RpcError:
            return f"{member} does not tell its revision"
        revision = max(1, newest - self.rng.randrange(300))
        physical = ["--physical"] if self.rng.random() < 0.5 else []
        asked = self.run.journal.invoke("admin", "compact", {"revision": revision})
        output, said = self.cluster.etcdctl(member, "compaction", str(revision), *physical)
        self.run.journal.answer(asked, "ok" if output is not None else "info")
        return f"up to {revision}" + ("" if output is not None else f": {said}")


class Defragment(Fault):
    lasts = False

    def begin(self):
        member = self.somebody()
        output, said = self.cluster.etcdctl(member, "defrag")
        return str(member) + ("" if output is not None else f": {said}")


class Backup(Fault):
    """Saved while it lasts. What was saved is looked at when the run is over."""

    def begin(self):
        member = self.somebody()
        self.file = os.path.join(self.run.options.dir, f"backup-{len(self.run.backups)}.db")
        self.process = subprocess.Popen([self.run.options.backup_program, "save", "--quiet", "--endpoints", member.client, "--timeout",
                                         "10s", self.file], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        return f"of {member}"

    def end(self):
        try:
            saved = self.process.wait(SAVE_SECONDS) == 0
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            saved = False
        if saved:
            self.run.backups.append(self.file)
        return "saved" if saved else "not saved"


KINDS = {"admin-compact": Compact, "admin-defragment": Defragment, "backup-save": Backup}
