# SPDX-License-Identifier: Apache-2.0
"""Members come and go, lose their data, and have damaged data. Each of these ends with a whole cluster."""
import os
import shutil
import time

import grpc

from fault import Fault, names
import grudges
from network import Link

CRASH_PROBABILITY = 0.4
# Of a log that goes on where the database, whose newest part is damaged, does not reach.
LACKS = "the database ends before the log begins"
START_SECONDS = 60  # for a member with damaged data, to refuse or to answer
HASH_SECONDS = 20


class Replace(Fault):
    """One goes, and another comes with an empty directory: before or after."""
    lasts = False

    def grown(self, learner, again=None):
        member = self.cluster.add(self.rng, learner, again)
        self.cluster.start(member)
        self.maybe_crash()
        self.cluster.join(member)
        self.cluster.settle()
        return member

    def maybe_crash(self):
        """Somebody, while members change: down and up again at once."""
        if self.rng.random() < CRASH_PROBABILITY and self.cluster.can_lose() >= 1:
            victim = self.rng.choice(self.up())
            self.cluster.kill(victim)
            self.cluster.start(victim)
            self.crashed.append(victim)

    def told(self, text):
        return text + (f", {names(self.crashed)} crashes meanwhile" if self.crashed else "")

    def begin(self):
        self.crashed = []
        old = self.somebody()
        remove_first = self.rng.random() < 0.5
        if remove_first:
            self.cluster.remove(self.rng, old)
        new = self.grown(False)
        if not remove_first:
            self.cluster.remove(self.rng, old)
        return self.told(f"{old} by {new}, {'removed' if remove_first else 'added'} first")


class Learner(Replace):
    """A learner comes, is promoted, and another one goes."""

    def begin(self):
        self.crashed = []
        new = self.grown(True)
        self.cluster.promote(self.rng, new)
        self.cluster.settle()
        old = self.somebody()
        self.cluster.remove(self.rng, old)
        self.maybe_crash()
        return self.told(f"{new} is promoted, {old} goes")


class Wipe(Replace):
    """Its data is lost: it is removed and added again under its name, at its place."""

    def begin(self):
        self.crashed = []
        member = self.somebody()
        self.cluster.kill(member)
        self.wipe(member)
        return self.told(str(member))

    def wipe(self, member):
        shutil.rmtree(member.data)
        self.cluster.remove(self.rng, member)
        self.grown(False, member)


class Corrupt(Wipe):
    """Bits of a member's data turn while it is down. It is started where no other member hears it, because a member that
    takes damage for a torn end has forgotten what it has acknowledged. It must refuse to start, say that it lacks a
    database, or hold what the others hold at its revision; then it is wiped and comes again.
    """

    def files(self, member):
        found = [os.path.join(folder, name) for folder, _, names in os.walk(member.data) for name in names if self.wanted(name)]
        return sorted(f for f in found if os.path.getsize(f) > 0)

    @staticmethod
    def wanted(name):
        raise NotImplementedError

    def begin(self):
        self.crashed = []
        member = self.somebody()
        self.cluster.kill(member)
        what = self.flip(self.files(member))
        slots = self.cluster.slots()
        self.cluster.network.put("corrupt", self.silence(slots, member.slot))
        try:
            lacked = member.count_in_log(LACKS)
            self.cluster.start(member)
            member.up = False   # it may end
            came = self.watch(member, lacked)
            member.process.kill()
            member.process.wait()
        finally:
            self.cluster.network.drop("corrupt")
        self.wipe(member)
        return self.told(f"{member}, {what}: {came}")

    @staticmethod
    def silence(slots, slot):
        return {pair: Link(cut=1) for pair in grudges.alone(slots, slot)}

    def flip(self, paths):
        """1 to 20 bits of one file, of what is not zero: files may be longer than what was written."""
        contents = {}
        for path in paths:
            with open(path, "rb") as file:
                contents[path] = bytearray(file.read())
        used = {path: [i for i, byte in enumerate(data) if byte] for path, data in contents.items()}
        path = self.rng.choices(paths, [len(used[p]) for p in paths])[0]
        count = self.rng.randint(1, 20)
        for _ in range(count):
            contents[path][self.rng.choice(used[path])] ^= 1 << self.rng.randrange(8)
        with open(path, "r+b") as file:
            file.write(contents[path])
            os.fsync(file.fileno())
        return f"{count} bits of {os.path.basename(path)}"

    def watch(self, member, lacked):
        limit = time.monotonic() + START_SECONDS
        while time.monotonic() < limit:
            status = member.process.poll()
            if status is not None:
                return self.judge_end(member, status)
            if member.count_in_log(LACKS) > lacked:
                self.run.detected += 1
                return "it waits for the database of another"
            try:
                return self.judge_start(member, member.calls.status().header.revision)
            except grpc.RpcError:
                time.sleep(0.1)
        self.run.violation(f"{member} with damaged data neither starts nor ends: {member.log_end()}")
        return "it does neither"

    def judge_end(self, member, status):
        said = member.log_end()
        if status <= 0 or not said:
            self.run.violation(f"{member} ended with status {status} on damaged data: {said}")
        self.run.detected += 1
        return f"it does not start: {said[:150]}"

    def judge_start(self, member, revision):
        """What it holds is what the others hold there."""
        try:
            mine = member.calls.hash(revision)
        except grpc.RpcError as error:
            self.run.detected += 1
            return f"it starts, and does not tell its hash: {error.details()}"
        other = self.rng.choice(self.up())
        limit = time.monotonic() + HASH_SECONDS
        while time.monotonic() < limit:
            try:
                theirs = other.calls.hash(revision)
                break
            except grpc.RpcError as error:
                if "compacted" in (error.details() or ""):
                    return "it starts, at a revision that the others have compacted"
                time.sleep(0.1)
        else:
            return f"it starts; {other} does not tell its hash"
        if mine[1] == theirs[1] and mine[0] != theirs[0]:
            self.run.violation(f"{member} serves damaged data: at revision {revision} it has {mine}, {other} has {theirs}")
        self.run.harmless += 1
        return f"it starts, with the others' state at revision {revision}"


class CorruptLog(Corrupt):
    @staticmethod
    def wanted(name):
        return not name.startswith("store.db") and not name.endswith(".clock")


class CorruptDatabase(Corrupt):
    @staticmethod
    def wanted(name):
        return name.startswith("store.db")


KINDS = {"member-replace": Replace, "member-learner": Learner, "member-wipe": Wipe, "corrupt-log": CorruptLog,
         "corrupt-database": CorruptDatabase}
