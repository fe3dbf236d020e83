#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Members are added, removed, promoted, killed, stopped, wiped and replaced at random, under load, for as long as asked.

All the while clients write, read and watch (soak_load.py), and backups are taken, restored and compared (soak_backup.py).
What the actions do never takes a majority away, unless --all-down lets them kill all members at once. Between two actions
every member must answer and list the members that there shall be. In the end: every acknowledged write is there, every
watcher was told everything once, all members have the same keys and the same HashKV, and never was there no acknowledged
write for longer than --pause-max while a majority was up. The seed decides what is done, in which order.
"""
import argparse
import collections
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from cluster.calls import retry  # before grpc, which reads what it sets
from cluster.programs import find_program
from cluster.members import Gone, Members

import grpc

import soak_backup
from soak_load import Load

FLAGS = ["--heartbeat-interval=50", "--election-timeout=500", "--quota-backend-bytes=-1"]
CATCHUP_ENTRIES = 100   # of the log, for who is behind: if there is such a flag, members are sent databases all the time
CATCHUP_FLAGS = ["--snapshot-count=500", f"--snapshot-catchup-entries={CATCHUP_ENTRIES}"]
WATCHERS = 2
CRASH_PROBABILITY = 0.4  # that another member crashes in the middle of a change of members


class Actions:
    """Each is a method that returns what it did, for people. RNG is its own: how one went does not change what the next is."""

    def __init__(self, cluster, load, options):
        self.cluster = cluster
        self.load = load
        self.options = options
        self.installs = 0
        self.forgotten = 0

    def possible(self):
        """What the members that there are allow: {kind: weight}."""
        voters, learners = len(self.cluster.voters()), len(self.cluster.learners())
        kinds = {"kill": 4, "pause": 3, "restart": 3, "transfer": 3, "replace": 3, "wipe": 3, "compact": 2, "defragment": 2, "roll": 1}
        if voters <= self.options.members:
            kinds["add"] = 3
            kinds["learner" if learners == 0 else "promote"] = 3
        if voters > self.options.members:
            kinds["remove"] = 6
        if learners:
            kinds["drop"] = 2
        if self.options.catchup:
            kinds["away"] = 2
        if self.options.all_down:
            kinds["all"] = 1
        return {k: w for k, w in kinds.items() if not self.options.only or k in self.options.only} or {"compact": 1}

    def choose(self, rng):
        """The leader half the time: that is where most can go wrong."""
        leader = self.cluster.leader()
        other = rng.choice(self.cluster.voters())
        return leader if rng.random() < 0.5 and leader else other

    def choose_minority(self, rng):
        first = self.choose(rng)
        rest = [m for m in self.cluster.voters() if m is not first]
        count = rng.randint(1, max(1, self.cluster.can_lose()))
        return [first] + rng.sample(rest, count - 1)

    def maybe_crash(self, rng, *but):
        """Somebody, while members change: down and up again at once."""
        wanted, others = rng.random() < CRASH_PROBABILITY, [m for m in self.cluster.voters() if m.up and m not in but]
        if not wanted or self.cluster.can_lose() < 1 or not others:
            return ""
        victim = rng.choice(others)
        self.cluster.kill(victim)
        self.cluster.start(victim)
        return f", {victim} crashes meanwhile"

    # ---- processes ----

    def kill(self, rng):
        victims = self.choose_minority(rng)
        for victim in victims:
            self.cluster.kill(victim)
        time.sleep(rng.uniform(0, 1.5))
        for victim in rng.sample(victims, len(victims)):
            self.cluster.start(victim)
        return f"{names(victims)} by SIGKILL"

    def all(self, rng):
        victims = list(self.cluster.all)
        self.load.pauses.excuse()
        for victim in victims:
            self.cluster.kill(victim)
        time.sleep(rng.uniform(0, 0.5))
        for victim in rng.sample(victims, len(victims)):
            self.cluster.start(victim)
        self.cluster.settle()
        self.load.pauses.end_excuse()
        return f"{names(victims)} by SIGKILL, which is everybody"

    def pause(self, rng):
        victims = self.choose_minority(rng)
        for victim in victims:
            self.cluster.pause(victim)
        time.sleep(rng.uniform(0.2, 4))
        for victim in victims:
            self.cluster.resume(victim)
        return f"{names(victims)} by SIGSTOP"

    def restart(self, rng):
        victim = self.choose(rng)
        self.cluster.stop(victim)
        self.cluster.start(victim)
        return f"{victim} in order"

    def transfer(self, rng):
        target = rng.choice(self.cluster.voters())
        leader = self.cluster.leader()
        if leader in (None, target):
            return f"{target} leads already" if leader else "nobody leads"
        identity = self.cluster.identity(self.cluster.listed(leader), target)
        output, said = self.cluster.etcdctl(leader, "move-leader", identity or "0")
        return f"{leader} to {target}" + ("" if output is not None else f": {said}")

    # ---- members ----

    def grown(self, rng, learner, again=None):
        member = self.cluster.add(rng, learner, again)
        self.cluster.start(member)
        crash = self.maybe_crash(rng)
        self.cluster.join(member)
        self.cluster.settle()
        return member, crash

    def add(self, rng):
        return "{} as a voter{}".format(*self.grown(rng, False))

    def learner(self, rng):
        return "{} as a learner{}".format(*self.grown(rng, True))

    def promote(self, rng):
        member = self.cluster.learners()[0]
        self.cluster.promote(rng, member)
        return str(member) + self.maybe_crash(rng, member)

    def remove(self, rng):
        member = self.choose(rng)
        self.cluster.remove(rng, member)
        return str(member) + self.maybe_crash(rng)

    def drop(self, rng):
        member = self.cluster.learners()[0]
        self.cluster.remove(rng, member)
        return f"{member}, a learner"

    def replace(self, rng):
        """The one that goes first, or the one that comes."""
        old = self.choose(rng)
        remove_first = rng.random() < 0.5
        if remove_first:
            self.cluster.remove(rng, old)
        new, crash = self.grown(rng, False)
        if not remove_first:
            self.cluster.remove(rng, old)
        return f"{old} by {new}{crash}, {'removed' if remove_first else 'added'} first"

    def wipe(self, rng):
        """Its disk is lost: it is removed and added again under its name, at its place."""
        member = self.choose(rng)
        self.cluster.kill(member)
        shutil.rmtree(member.data)
        self.cluster.remove(rng, member)
        _, crash = self.grown(rng, False, member)
        return f"{member} loses its data{crash}"

    def roll(self, rng):
        """Every voter is replaced, one after the other: add, promote, remove."""
        for learner in self.cluster.learners():
            self.cluster.remove(rng, learner)
        old = self.cluster.voters()
        for member in rng.sample(old, len(old)):
            new = self.cluster.add(rng, True)
            self.cluster.start(new)
            self.cluster.join(new)
            self.cluster.settle()
            self.cluster.promote(rng, new)
            self.cluster.settle()
            self.cluster.remove(rng, member)
            self.cluster.settle()
        return f"{names(old)} by {names(self.cluster.voters())}"

    # ---- data ----

    def compact(self, rng):
        """Not what a watcher has still to be told."""
        revision = max(1, self.load.history.told_revision() - rng.randrange(1000))
        physical = ["--physical"] if rng.random() < 0.5 else []
        asked = rng.choice(self.cluster.voters())
        output, said = self.cluster.etcdctl(asked, "compaction", str(revision), *physical)
        return f"up to {revision}" + ("" if output is not None else f": {said}")

    def defragment(self, rng):
        asked = rng.choice(self.cluster.voters())  # a learner refuses
        output, said = self.cluster.etcdctl(asked, "defrag")
        if output is None:
            self.load.violation(f"defragment {asked}: {said}")
        return str(asked)

    def away(self, rng):
        """For so long that the others' logs have forgotten what it lacks."""
        member = self.choose(rng)
        self.cluster.kill(member)
        installs = member.count_in_log("took another member's database")
        self.cluster.wait_until("somebody leads", self.cluster.leader)
        begin = retry(lambda: self.cluster.leader().calls.status().raftIndex)
        wanted = begin + 10 * CATCHUP_ENTRIES + 1000
        self.cluster.wait_until(f"the log grows to {wanted}", lambda: any(
            m.up and m.calls.status().raftIndex > wanted for m in self.cluster.voters()))
        self.cluster.start(member)
        self.cluster.settle()
        taken = member.count_in_log("took another member's database") > installs
        self.installs += taken
        self.forgotten += 1
        return f"{member}, which " + ("takes another's database" if taken else "reads the log")


def names(members):
    return " ".join(str(m) for m in members)


class Pressure(threading.Thread):
    """trivet-bench beside the clients that are checked: its keys are others, its answers are not looked at."""

    def __init__(self, cluster, options):
        super().__init__()
        self.cluster = cluster
        self.program = os.path.join(os.path.dirname(options.binary), "trivet-bench")
        self.options = options
        self.stop = threading.Event()

    def run(self):
        rate = ["--rate", str(self.options.load_rate)] if self.options.load_rate else []
        while not self.stop.is_set():
            endpoints = ",".join(m.endpoint for m in self.cluster.reachable)
            process = subprocess.Popen([self.program, "--endpoints", endpoints, "--clients", str(self.options.load), "--prefix", "b/",
                                        "--warmup", "0s", "--duration", "3s", *rate, "put"], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while process.poll() is None and not self.stop.wait(0.05):
                pass
            process.kill()
            process.wait()
            self.stop.wait(0.2)


class Soak:
    def __init__(self, options):
        self.options = options
        self.violations = []
        self.guard = threading.Lock()
        self.began = time.monotonic()
        self.counts = collections.Counter()
        flags = FLAGS + (CATCHUP_FLAGS if options.catchup else []) + options.flags
        self.cluster = Members(options.dir, options.binary, flags, self.violation)
        self.load = Load(self.cluster, options.seed, options.clients, WATCHERS, self.violation)
        self.backups = None
        if options.backup_program:
            self.backups = soak_backup.Backups(self.cluster, self.load, options.backup_program, options.seed, options.backup_every)
        self.pressure = Pressure(self.cluster, options)
        self.actions = Actions(self.cluster, self.load, options)
        self.revision = 0       # at the end

    def say(self, text):
        print(f"{time.monotonic() - self.began:7.1f} s  {text}", flush=True)

    def violation(self, text):
        """The first ones tell; what follows from them would hide them."""
        with self.guard:
            self.violations.append(text)
            self.cluster.over.set()
            self.load.stop.set()
            if len(self.violations) <= 10:
                self.say(f"VIOLATION: {text}")

    def act(self):
        rng = random.Random(f"{self.options.seed} actions")
        end = self.began + 60 * self.options.minutes
        number = 0
        while not self.cluster.over.is_set():
            if number >= self.options.actions if self.options.actions else time.monotonic() > end:
                return
            number += 1
            kinds = self.actions.possible()
            kind = rng.choices(list(kinds), list(kinds.values()))[0]
            self.load.pauses.action = f"action {number}, {kind}"
            begin = time.monotonic()
            text = getattr(self.actions, kind)(random.Random(f"{self.options.seed} action {number}"))
            self.cluster.settle()
            self.load.history.settle()
            self.say(f"{number:4} {kind:10} {text} ({time.monotonic() - begin:.1f} s)")
            self.counts[kind] += 1
            time.sleep(rng.uniform(0, 0.5))

    def check_end(self):
        """Nobody is harmed any more: all members have exactly what the history says."""
        self.load.pauses.action = "the end"
        if self.backups:
            self.backups.end()
            self.backups.last()
        self.pressure.stop.set()
        self.pressure.join()
        revision = self.load.end_writes()
        self.cluster.settle()
        if revision is None:
            return
        wanted = self.load.history.at(revision)
        for member in self.cluster.all:
            self.wait_for_revision(member, revision)
            got, _ = soak_backup.read_state(member.calls, revision, member.learner)
            if got != wanted:
                self.violation(f"{member} at revision {revision}: {soak_backup.difference(got, wanted)}")
        for key, floor in self.load.floor.items():
            if wanted.get(key, (b"", 0))[0] < floor:
                self.violation(f"{key} is {wanted.get(key)}, after {floor} was acknowledged or read")
        newest = self.revision = max(retry(lambda m=m: m.calls.get(b"s/end"))[1] for m in self.cluster.voters())
        hashes = {m.name: retry(lambda m=m: m.calls.hash(newest)) for m in self.cluster.voters()}
        if len(set(hashes.values())) != 1:
            self.violation(f"hashes at revision {newest} differ: {hashes}")
        self.load.check_leases()
        alarms, said = self.cluster.etcdctl(self.cluster.voters()[0], "alarm", "list")
        if alarms != "":
            self.violation(f"alarms: {alarms or said}")

    def wait_for_revision(self, member, revision):
        """A learner, too, comes to what the others have; it serves this much, and no hash."""
        self.cluster.wait_until(f"{member} has revision {revision}", lambda: member.calls.status().header.revision >= revision)

    def check_run(self):
        """That what was to be shown was shown."""
        pauses = self.load.pauses
        if self.options.pause_max and pauses.longest > self.options.pause_max:
            self.violation(f"{pauses.longest:.2f} s without an acknowledged write during {pauses.when}; this program stood "
                           f"still for {pauses.own:.2f} s at most")
        if self.load.acknowledged < 10 * sum(self.counts.values()) or self.load.reads == 0:
            self.violation(f"void: {self.load.acknowledged} writes, {self.load.reads} reads")
        if self.actions.forgotten and not self.actions.installs:
            self.violation(f"void: {self.actions.forgotten} members were away, and none was sent the database")

    def run(self):
        try:
            self.cluster.begin(self.options.members)
            self.load.start()
            self.pressure.start()
            if self.backups:
                self.backups.thread.start()
            self.act()
            if not self.violations:
                self.check_end()
                self.check_run()
        except Gone:
            pass
        except (KeyboardInterrupt, SystemExit):
            self.violation("the soak was ended by a signal")
        except (grpc.RpcError, OSError, subprocess.SubprocessError) as error:
            self.violation(f"the soak failed: {error!r}")
        finally:
            self.end()
        self.sum_up()
        return 1 if self.violations else 0

    def end(self):
        self.cluster.over.set()
        self.pressure.stop.set()
        if self.backups:
            self.backups.stop.set()
        self.load.end()
        self.cluster.end_all()

    def sum_up(self):
        load, pauses = self.load, self.load.pauses
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.counts.items()))
        print(f"{sum(self.counts.values())} actions: {kinds}")
        print(f"{load.acknowledged} writes acknowledged, {len(load.history.unknown)} without an answer; {load.reads} reads; "
              f"{load.history.compared} changes told to each of {WATCHERS} watchers over {load.broken} broken streams; "
              f"{load.witness.renewals} renewals of leases; revision {self.revision} at the end")
        print(f"the longest time without an acknowledged write: {pauses.longest:.2f} s ({pauses.when})"
              + (f"; {pauses.excused_longest:.2f} s when all were down" if self.counts["all"] else "")
              + f"; this program stood still for {pauses.own:.2f} s at most")
        if self.backups:
            print(f"{self.backups.checked} backups restored and compared, {self.backups.not_saved} not saved because of what was "
                  "done to a member")
        else:
            print("no backups: there is no trivet-backup beside the server")
        if self.actions.forgotten:
            print(f"{self.actions.installs} of {self.actions.forgotten} members that were away for long took another's database")
        print("good" if not self.violations else f"{len(self.violations)} VIOLATIONS, seed {self.options.seed}; data and logs "
              f"of the members are in {self.options.dir}", flush=True)


def parse_options():
    parser = argparse.ArgumentParser(prog="soak", description=__doc__.split("\n", maxsplit=1)[0],
                                     epilog="Arguments after -- are flags for each member.")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--actions", type=int, default=0, help="end after so many actions instead")
    parser.add_argument("--members", type=int, choices=(3, 5), default=3)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--clients", type=int, default=8, help="that write and are checked (default 8)")
    parser.add_argument("--load", type=int, default=16, help="clients of trivet-bench beside them (default 16)")
    parser.add_argument("--load-rate", type=int, default=1000, help="writes of theirs a second; 0: as many as can be (default 1000)")
    parser.add_argument("--backup-every", type=float, default=5, help="seconds, on average (default 5)")
    parser.add_argument("--pause-max", type=float, default=3, help="seconds without an acknowledged write; 0: only told (default 3)")
    parser.add_argument("--all-down", action="store_true", help="now and then all members are killed at once")
    parser.add_argument("--only", type=lambda text: text.split(","), help="kinds of actions, separated by commas")
    parser.add_argument("--dir", help="for data and logs, and kept; default: a fresh one, kept only when something is wrong")
    parser.add_argument("--binary", help="the server (default: as scripts/cluster finds it)")
    parser.add_argument("flags", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.binary = find_program("soak", "trivetd", options.binary)
    told = subprocess.run([options.binary, "--help"], capture_output=True, text=True, check=True).stdout
    options.catchup = "--snapshot-catchup-entries" in told
    options.backup_program = soak_backup.can_be_made(options.binary)
    return options


def main():
    options = parse_options()
    keep = options.dir is not None
    options.dir = os.path.abspath(options.dir or tempfile.mkdtemp(prefix="trivet-soak."))
    os.makedirs(options.dir, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"seed {options.seed}, {options.members} members of {options.binary}", flush=True)
    status = Soak(options).run()
    if status == 0 and not keep:
        shutil.rmtree(options.dir)
    sys.stdout.flush()
    os._exit(status)  # channels that still connect would be waited for


if __name__ == "__main__":
    main()
