# SPDX-License-Identifier: Apache-2.0
"""A member's machine: its clock, its disk, its power."""
import subprocess
import time

from cluster.calls import KV

import grpc
from etcd3.etcdrpc import rpc_pb2 as pb

from fault import Fault, names

FILLER = bytes(1 << 20)
END_SECONDS = 5     # for a member whose disk has failed, to find out and end


class ClockJump(Fault):
    """Some members' wall clocks are wrong, by seconds or by years."""

    def begin(self):
        everybody = self.cluster.all
        self.victims = self.rng.sample(everybody, self.rng.randint(1, len(everybody)))
        told = []
        for victim in self.victims:
            seconds = self.rng.choice((-1, 1)) * self.rng.choice((0.3, 2, 30, 3600, 86400 * 400)) * self.rng.uniform(0.5, 1)
            self.cluster.set_clock(victim, seconds)
            told.append(f"{victim} {seconds:+.1f} s")
        return ", ".join(told)

    def end(self):
        for victim in self.victims:
            self.cluster.set_clock(victim, 0)


class ClockStrobe(Fault):
    """A clock that goes to and fro."""

    def begin(self):
        self.victim = self.somebody()
        self.seconds = self.rng.uniform(1, 100)
        self.next = 0
        self.ahead = False
        self.tick()
        return f"{self.victim} by {self.seconds:.1f} s"

    def tick(self):
        if time.monotonic() >= self.next:
            self.next = time.monotonic() + 1    # as often as a member looks
            self.ahead = not self.ahead
            self.cluster.set_clock(self.victim, self.seconds if self.ahead else -self.seconds)

    def end(self):
        self.cluster.set_clock(self.victim, 0)


class DiskFault(Fault):
    """What a member does whose disk is not what it should be: going on or ending, but saying so and losing nothing."""

    def choose(self):
        self.victim = self.somebody()
        self.disk = self.cluster.disk(self.victim)
        self.was_up = self.victim.up
        self.victim.up = False      # it may end

    def wait_end(self, seconds):
        try:
            return self.victim.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def judge_end(self, status):
        """Ended by itself: with a message and a status of its own, not by a signal."""
        said = self.victim.log_end()
        if status <= 0 or not said:
            self.run.violation(f"{self.victim} ended with status {status} on a bad disk: {said}")
        return f"it ended with status {status}: {said[:150]}"


class DiskFull(DiskFault):
    """Meanwhile the log is filled, which soon needs room: by transactions that put much, and never come to it."""

    def begin(self):
        self.choose()
        self.disk.fill()
        self.refused = 0
        self.next = 0
        return str(self.victim)

    def tick(self):
        if time.monotonic() < self.next:
            return
        compare = pb.Compare(key=b"nobody/has/this", target=pb.Compare.VERSION, result=pb.Compare.GREATER, version=0)
        put = pb.RequestOp(request_put=pb.PutRequest(key=b"nobody/has/this", value=FILLER))
        try:
            member = self.rng.choice(self.up() or self.cluster.voters())
            member.calls.call(KV + "Txn", pb.TxnRequest(compare=[compare], success=[put]), pb.TxnResponse, 1)
        except grpc.RpcError:
            self.refused += 1
            self.next = time.monotonic() + 0.5

    def end(self):
        self.disk.empty()
        status = self.wait_end(0)
        if status is None:
            self.victim.up = self.was_up
            text = "it went on"
        else:
            text = self.judge_end(status) if self.was_up else "it was down"
            if self.was_up:
                self.cluster.start(self.victim)
        return text + (f"; {self.refused} writes were refused or lost meanwhile" if self.refused else "")


class DiskFailing(DiskFault):
    """Every access is an error."""

    def begin(self):
        self.choose()
        self.disk.stop()
        return str(self.victim)

    def end(self):
        status = self.wait_end(END_SECONDS)
        if not self.was_up:
            text = "it was down"
        elif status is None:
            text = "it went on"
        else:
            text = self.judge_end(status)
        self.victim.process.kill()
        self.victim.process.wait()
        self.disk.again()
        if self.was_up:
            self.cluster.start(self.victim)
        return text


class DiskSlow(Fault):
    def begin(self):
        self.victim = self.somebody()
        rate = self.rng.choice((10, 30, 100))
        self.cluster.disk(self.victim).throttle(rate)
        return f"{self.victim}, {rate} writes a second"

    def end(self):
        self.cluster.disk(self.victim).throttle(0)


class Power(Fault):
    """All that was not synced is lost."""
    victims_of = None

    def begin(self):
        self.victims = self.victims_of()
        self.was_up = [m for m in self.victims if m.up]
        for victim in self.victims:
            self.cluster.disk(victim).stop()
            self.cluster.kill(victim)
        return names(self.victims)

    def end(self):
        for victim in self.victims:
            self.cluster.disk(victim).again()
        for victim in self.rng.sample(self.was_up, len(self.was_up)):
            self.cluster.start(victim)


class PowerOne(Power):
    def victims_of(self):
        return [self.somebody()]


class PowerAll(Power):
    def victims_of(self):
        return self.rng.sample(self.cluster.all, len(self.cluster.all))


KINDS = {"clock-jump": ClockJump, "clock-strobe": ClockStrobe, "disk-full": DiskFull, "disk-failing": DiskFailing,
         "disk-slow": DiskSlow, "power-one": PowerOne, "power-all": PowerAll}
