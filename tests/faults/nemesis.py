# SPDX-License-Identifier: Apache-2.0
"""The faults. Each begins, may do something again and again while it lasts, and ends; what it does is told to people and
written into the history. After each the cluster must heal: every member answers, and lists the members that there are.
"""
import collections
import random
import threading
import time

import grpc

import faults_admin
import faults_machine
import faults_members
import faults_network
import faults_process
import schedule

TICK_SECONDS = 0.05
KINDS = {**faults_process.KINDS, **faults_network.KINDS, **faults_machine.KINDS, **faults_members.KINDS, **faults_admin.KINDS}


class Nemesis:
    def __init__(self, run, kinds):
        self.run = run
        self.counts = collections.Counter()
        self.skipped = {k: why for k in kinds for why in [run.cluster.why_not(k)] if why}
        self.kinds = [k for k in kinds if k not in self.skipped]
        self.healing = []       # (seconds, kinds): until everything was well again
        self.over = threading.Event()

    def wait(self, seconds):
        return not self.over.wait(max(0, seconds)) and not self.run.cluster.over.is_set()

    def work(self, end):
        """Until END of the monotonic clock; a step that has begun is finished."""
        for step in schedule.steps(self.run.options.seed, self.kinds, self.run.options.pace):
            if not self.wait(min(step.gap, end - time.monotonic())) or time.monotonic() >= end:
                return
            self.one(step, end)

    def one(self, step, end):
        rng = random.Random(step.seed)
        faults = [(kind, KINDS[kind](self.run, rng)) for kind in step.kinds]
        faults.sort(key=lambda fault: not fault[1].lasts)   # what takes its time happens while the other lasts
        begun = []
        try:
            for kind, fault in faults:
                self.begin(step, kind, fault)
                begun.append((kind, fault))
            limit = min(time.monotonic() + step.hold, max(end, time.monotonic() + 1))
            while any(f.lasts for _, f in begun) and time.monotonic() < limit and self.wait(TICK_SECONDS):
                for _, fault in begun:
                    fault.tick()
        finally:
            for kind, fault in rng.sample(begun, len(begun)):
                text = fault.end()
                if fault.lasts:
                    self.tell(step.number, kind, "end", text)
                self.counts[kind] += 1
        self.heal(step)

    def begin(self, step, kind, fault):
        """What does not last is over when it has begun."""
        if fault.lasts:
            self.tell(step.number, kind, "begin", fault.begin())
            return
        self.run.journal.fault(kind, "begin", "")
        self.tell(step.number, kind, "end", fault.begin())

    def heal(self, step):
        """What was broken must be whole again by itself."""
        began = time.monotonic()
        self.run.cluster.settle()
        self.healing.append((time.monotonic() - began, "+".join(step.kinds)))

    def tell(self, number, kind, phase, text):
        self.run.say(f"{number:4} {kind:20} {phase:5} {text or ''}".rstrip())
        self.run.journal.fault(kind, phase, text or "")

    def repair(self):
        """After the last fault, and after one that was broken off."""
        cluster = self.run.cluster
        if cluster.network:
            for layer in list(cluster.network.layers):
                cluster.network.drop(layer)
        for member in cluster.all:
            if member.process.poll() is None and not member.up:
                cluster.resume(member)
            elif member.process.poll() is not None and not member.up:
                cluster.start(member)


def alarms(run):
    """The alarms that there are, by etcdctl's list; None: nobody answers."""
    for member in run.cluster.voters():
        if member.up:
            try:
                output, _ = run.cluster.etcdctl(member, "alarm", "list")
            except grpc.RpcError:
                output = None
            if output is not None:
                return output.strip()
    return None
