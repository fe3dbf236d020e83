# SPDX-License-Identifier: Apache-2.0
"""A run: members, clients, faults; then everything heals, and what clients saw is checked."""
import collections
import json
import os
import subprocess
import threading
import time

from cluster.calls import retry  # before grpc, which reads what it sets
from cluster.members import Gone

import grpc

import backups
import fleet
import history
import nemesis
import plot

CLIENT_END_SECONDS = 150    # for the clients to finish what is under way and be told of everything
LEASE_LATE_SECONDS = 120    # beyond its TTL: while nobody leads no lease ends, and a new leader grants all of it again


class Client:
    """trivet-faults-client."""

    def __init__(self, run):
        options = run.options
        self.run = run
        self.log = open(os.path.join(options.dir, "client.log"), "w", encoding="utf-8")
        self.process = subprocess.Popen(
            [options.client, "--endpoints", run.cluster.client_endpoints(), "--workload", options.workload, "--clients",
             str(options.clients), "--rate", str(options.rate), "--timeout", f"{options.timeout}s", "--seed",
             str(options.seed & 0xFFFFFFFF), "--history", os.path.join(options.dir, "clients.jsonl")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)

    def end(self):
        """Nobody is harmed any more. Its summary, as {word: number}."""
        self.process.stdin.close()
        try:
            status = self.process.wait(CLIENT_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            status = f"none after {CLIENT_END_SECONDS} s"
        said = self.process.stdout.read().split()
        self.log.close()
        if status != 0:
            with open(self.log.name, encoding="utf-8") as file:
                self.run.violation(f"the clients ended with status {status}: {file.read().strip()}")
        summary = dict(zip(said[::2], said[1::2]))
        if status == 0 and int(summary["told"]) < int(summary["newest"]):
            self.run.violation(f"not all watchers were told of everything: up to {summary['told']} of {summary['newest']}")
        return summary

    def kill(self):
        self.process.kill()
        self.process.wait()


class Run:
    def __init__(self, options, no_sandbox):
        self.options = options
        self.began = time.monotonic()
        self.violations = []
        self.interrupted = False
        self.guard = threading.Lock()
        self.backups = []
        self.backups_good = 0
        self.detected = 0       # damage that a member refused to start upon
        self.harmless = 0       # damage after which it had the others' state
        self.verdict = "not checked"
        self.recovery_seconds = None
        self.packets = {}
        self.cluster = fleet.Fleet(self, no_sandbox)
        self.journal = history.Journal(os.path.join(options.dir, "harness.jsonl"))
        self.nemesis = nemesis.Nemesis(self, options.kinds)
        self.client = None
        self.history = os.path.join(options.dir, "history.jsonl")
        self.operations, self.faults = [], []

    def say(self, text):
        if not self.options.quiet:
            print(f"{time.monotonic() - self.began:7.1f} s  {text}", flush=True)

    def violation(self, text):
        """The first ones tell; what follows from them would hide them."""
        with self.guard:
            self.violations.append(text)
            self.cluster.over.set()
            if len(self.violations) <= 10:
                print(f"{time.monotonic() - self.began:7.1f} s  VIOLATION: {text}", flush=True)

    # ---- the run ----

    def execute(self):
        """The exit status: 0 good, 1 something is wrong, 2 too little happened to say so."""
        try:
            self.cluster.begin(self.options.members)
            self.client = Client(self)
            self.nemesis.work(time.monotonic() + 60 * self.options.minutes)
            self.heal()
            told = self.client.end().get("told", "0")
            self.client = None
            if not self.violations:
                self.check_states(int(told))
            if self.backups:
                self.backups_good = backups.Check(self).all()
        except Gone:
            pass
        except (KeyboardInterrupt, SystemExit):
            self.interrupted = True
        except (grpc.RpcError, OSError, subprocess.SubprocessError) as error:
            self.violation(f"the run failed: {error!r}")
        self.end()
        self.judge()
        return self.report()

    def end(self):
        self.cluster.over.set()
        if self.client:
            self.client.kill()
        if self.cluster.network:
            self.packets = self.cluster.network.counts()
        self.cluster.end_all()
        self.journal.close()

    def heal(self):
        """A majority is there: it must answer within a bound, and everybody come to the same."""
        began = time.monotonic()
        self.nemesis.repair()
        self.cluster.wait_until("a write is acknowledged", self.write_end)
        self.recovery_seconds = time.monotonic() - began
        self.cluster.settle()
        told = []   # None: nobody has answered

        def ask():
            told.append(nemesis.alarms(self))
            return told[-1] is not None

        self.cluster.wait_until("the alarms are told", ask)
        alarms = told[-1]
        if alarms:
            self.violation(f"alarms: {alarms}")
        slow = [(s, kinds) for s, kinds in self.nemesis.healing + [(self.recovery_seconds, "the end")] if s > self.options.heal_max]
        if slow:
            self.violation(f"not healed within {self.options.heal_max} s: " + ", ".join(f"{k} {s:.1f} s" for s, k in slow))

    def write_end(self):
        """One attempt; each is another value."""
        value = time.monotonic_ns()
        asked = self.journal.invoke("register", "write", ["s/end", value])
        try:
            revision = self.cluster.voters()[0].calls.put(b"s/end", b"%d" % value)
        except grpc.RpcError:
            self.journal.answer(asked, "info")
            raise
        self.journal.answer(asked, "ok", revision=revision)
        return True

    def newest(self):
        return max(retry(lambda m=m: m.calls.get(b"s/end"))[1] for m in self.cluster.voters())

    def check_states(self, told):
        """All members have the same, at the revision TOLD to every watcher, and now. The former goes into the history, which
        says whether it is what was acknowledged; what came after it, the ends of leases, was seen by nobody.
        """
        newest = self.newest()
        hashes, states = {}, {}
        for member in self.cluster.voters():
            self.cluster.wait_until(f"{member} has revision {newest}",
                                    lambda m=member: m.calls.status().header.revision >= newest)
            asked = self.journal.invoke("final", "state", {"key": "\0", "range_end": "\0"})
            hashes[member.name] = retry(lambda m=member: m.calls.hash(newest))
            states[member.name] = backups.read_state(member.calls, newest)
            kvs = [[key.decode("latin-1"), history.json_value(value), *numbers]
                   for key, value, *numbers in backups.read_state(member.calls, told)]
            value = {"kvs": kvs, "hash": retry(lambda m=member: m.calls.hash(told))[0]}
            self.journal.answer(asked, "ok", value, revision=told, member=member.client)
        if len(set(hashes.values())) != 1:
            self.violation(f"hashes at revision {newest} differ: {hashes}")
        first = self.cluster.voters()[0].name
        for name, state in states.items():
            if state != states[first]:
                self.violation(f"{name} has other keys than {first} at revision {newest}")

    # ---- what came of it ----

    def judge(self):
        parts = [os.path.join(self.options.dir, name) for name in ("clients.jsonl", "harness.jsonl")]
        history.merge([p for p in parts if os.path.exists(p)], self.history)
        self.operations, self.faults = history.read(self.history)
        if self.violations or self.interrupted:
            self.verdict = "not checked: the run was broken off"
        elif os.access(self.options.checker, os.X_OK):
            self.check_history()
        else:
            self.verdict = f"not checked: there is no {self.options.checker}"

    def check_history(self):
        done = subprocess.run([self.options.checker, "check", "--lease-late", f"{LEASE_LATE_SECONDS}s", "--min-members",
                               str(len(self.cluster.voters())), self.history], capture_output=True, text=True, check=False)
        said = (done.stdout + done.stderr).strip()
        with open(os.path.join(self.options.dir, "verdict.txt"), "w", encoding="utf-8") as file:
            file.write(said + "\n")
        self.verdict = {0: "valid", 1: "INVALID", 2: "unknown"}.get(done.returncode, f"the checker ended with status {done.returncode}")
        if done.returncode != 0:
            self.violation(f"the history is {self.verdict}:\n{said[:4000]}")

    def too_little(self):
        """Why nothing follows from the run; None: enough happened."""
        if self.interrupted:
            return "it was ended by a signal"
        if not os.access(self.options.checker, os.X_OK):
            return f"there is no {self.options.checker} to check the history"
        answered = sum(o.type == "ok" for o in self.operations)
        if answered < self.options.ops_min:
            return f"{answered} operations were answered, {self.options.ops_min} are the least"
        done = sum(self.nemesis.counts.values())
        if done < self.options.faults_min:
            return f"{done} faults, {self.options.faults_min} are the least"
        return None

    def figures(self):
        options = self.options
        results = collections.Counter((o.workload, o.f, o.type) for o in self.operations)
        pause, when = history.longest_pause(self.operations)
        begin = min((o.begin for o in self.operations), default=when)
        recovery = {kind: {"median": sorted(found)[len(found) // 2], "most": max(found)}
                    for kind, found in sorted(history.recovery(self.operations, self.faults).items())}
        return {"seed": options.seed, "members": options.members, "workload": options.workload, "minutes": options.minutes,
                "operations": {" ".join(key): count for key, count in sorted(results.items())},
                "faults": dict(sorted(self.nemesis.counts.items())), "skipped": self.nemesis.skipped,
                "recovery_seconds": recovery, "pause_seconds": pause, "pause_at_seconds": (when - begin) / 1e9,
                "heal_seconds": self.recovery_seconds, "packets": self.packets,
                "backups": {"saved": len(self.backups), "restored": self.backups_good},
                "damage": {"refused": self.detected, "harmless": self.harmless},
                "verdict": self.verdict, "violations": self.violations, "void": self.too_little()}

    def report(self):
        figures = self.figures()
        with open(os.path.join(self.options.dir, "report.json"), "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=2)
        svg = self.options.svg or os.path.join(self.options.dir, "run.svg")
        kinds = sum(self.nemesis.counts.values())
        plot.write(svg, f"{self.options.workload.replace(',', ', ')}: {self.options.members} members, {kinds} faults",
                   f"seed {self.options.seed}, {self.options.rate} operations a second asked for; history {self.verdict.partition(':')[0]}",
                   self.operations, self.faults)
        print_report(figures, svg)
        if self.violations:
            print(f"{len(self.violations)} VIOLATIONS; data, logs and histories are in {self.options.dir}\n"
                  f"again: {self.options.again}", flush=True)
            return 1
        if figures["void"]:
            print(f"VOID: {figures['void']}; again: {self.options.again}", flush=True)
            return 2
        print("good", flush=True)
        return 0


def print_report(figures, svg):
    by_workload = collections.defaultdict(collections.Counter)
    for name, count in figures["operations"].items():
        workload, f, kind = name.split()
        by_workload[f"{workload} {f}"][kind] += count
    print(f"{sum(figures['faults'].values())} faults: " + (", ".join(f"{k} {n}" for k, n in figures["faults"].items()) or "none"))
    for kind, why in figures["skipped"].items():
        print(f"skipped: {kind}: {why}")
    for name, counts in sorted(by_workload.items()):
        print(f"  {name:18} ok {counts['ok']:7}  fail {counts['fail']:6}  unknown {counts['info']:6}")
    for kind, found in figures["recovery_seconds"].items():
        print(f"  after {kind:20} the next write was acknowledged within {found['median']:.2f} s (median), {found['most']:.2f} s (longest)")
    print(f"the longest time without an acknowledged write: {figures['pause_seconds']:.2f} s, {figures['pause_at_seconds']:.0f} s from "
          f"the beginning")
    if figures["heal_seconds"] is not None:
        print(f"healed {figures['heal_seconds']:.2f} s after the last fault; all members were compared")
    if figures["packets"]:
        print("packets between members and clients: " + ", ".join(f"{n} {k}" for k, n in figures["packets"].items()))
    if figures["backups"]["saved"]:
        print(f"{figures['backups']['saved']} backups saved, {figures['backups']['restored']} restored and compared")
    if any(figures["damage"].values()):
        print(f"damaged data: {figures['damage']['refused']} times refused, {figures['damage']['harmless']} times harmless")
    print(f"history: {figures['verdict']}; plot: {svg}", flush=True)
