# SPDX-License-Identifier: Apache-2.0
"""What all faults have in common."""


class Fault:
    lasts = True    # there is something to wait for between its beginning and its end

    def __init__(self, run, rng):
        self.run = run
        self.cluster = run.cluster
        self.rng = rng

    def begin(self):
        """What it does, for people."""
        raise NotImplementedError

    def tick(self):
        """Many times a second while it lasts."""

    def end(self):
        """Undo it; what came of it, for people."""
        return ""

    # ---- to whom ----

    def up(self):
        return [m for m in self.cluster.voters() if m.up]

    def somebody(self):
        """Up; the leader half the time: that is where most can go wrong."""
        leader = self.cluster.leader() if self.rng.random() < 0.5 else None
        return leader or self.rng.choice(self.up() or self.cluster.voters())

    def majority(self):
        voters = self.cluster.voters()
        return self.rng.sample(voters, len(voters) // 2 + 1)


def names(members):
    return " ".join(str(m) for m in members)
