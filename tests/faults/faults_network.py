# SPDX-License-Identifier: Apache-2.0
"""Members do not hear each other, or late, or not all of it. Clients reach them all."""
import time

import grudges
from fault import Fault
from network import Link

CUT = Link(cut=1)


class Layer(Fault):
    """One layer of what is wrong between members."""

    def put(self, links):
        self.cluster.network.put(type(self).__name__, links)

    def cut(self, pairs):
        self.put({pair: CUT for pair in pairs})
        return grudges.describe(self.cluster.slots(), pairs, self.cluster.name_of)

    def pairs(self):
        slots = self.cluster.slots()
        return [(a, b) for a in slots for b in slots if a != b]

    def end(self):
        self.cluster.network.drop(type(self).__name__)


class Halves(Layer):
    def begin(self):
        return self.cut(grudges.halves(self.rng, self.cluster.slots()))


class LeaderAlone(Layer):
    def begin(self):
        leader = self.cluster.leader() or self.rng.choice(self.cluster.voters())
        return self.cut(grudges.alone(self.cluster.slots(), leader.slot))


class Ring(Layer):
    def begin(self):
        return self.cut(grudges.ring(self.rng, self.cluster.slots()))


class OneWay(Layer):
    def begin(self):
        return self.cut(grudges.one_way(self.rng, self.cluster.slots(), self.somebody().slot))


class Flapping(Layer):
    """Another cut, or none, every few hundred milliseconds."""

    def begin(self):
        self.next = 0
        self.count = 0
        self.tick()
        return ""

    def tick(self):
        if time.monotonic() < self.next:
            return
        self.next = time.monotonic() + self.rng.uniform(0.1, 0.9)
        self.count += 1
        slots = self.cluster.slots()
        choice = self.rng.randrange(4)
        if choice == 0:
            self.cut(set())
        elif choice == 1:
            self.cut(grudges.one_way(self.rng, slots, self.rng.choice(slots)))
        else:
            self.cut(grudges.halves(self.rng, slots))

    def end(self):
        super().end()
        return f"{self.count} times"


class DelayAll(Layer):
    def begin(self):
        delay, jitter = self.rng.randrange(5, 120), self.rng.randrange(0, 60)
        self.put({pair: Link(delay_us=1000 * delay, jitter_us=1000 * jitter) for pair in self.pairs()})
        return f"{delay} ms, up to {jitter} ms more"


class DelayOne(Layer):
    """As much as an election timeout."""

    def begin(self):
        victim = self.somebody()
        delay = self.rng.randrange(100, 600)
        self.put({pair: Link(delay_us=1000 * delay) for pair in self.pairs() if victim.slot in pair})
        return f"{victim} {delay} ms"


class LossAll(Layer):
    def begin(self):
        percent = self.rng.randrange(2, 25)
        self.put({pair: Link(loss_ppm=10000 * percent) for pair in self.pairs()})
        return f"{percent} % of the packets"


class LossOne(Layer):
    def begin(self):
        victim = self.somebody()
        percent = self.rng.randrange(20, 80)
        self.put({pair: Link(loss_ppm=10000 * percent) for pair in self.pairs() if victim.slot in pair})
        return f"{victim} {percent} % of the packets"


class Disorder(Layer):
    """Packets come twice, and overtake each other."""

    def begin(self):
        percent = self.rng.randrange(10, 50)
        self.put({pair: Link(jitter_us=self.rng.randrange(1000, 30000), repeat_ppm=10000 * percent) for pair in self.pairs()})
        return f"{percent} % of the packets twice, out of order"


KINDS = {"partition-halves": Halves, "partition-leader": LeaderAlone, "partition-ring": Ring, "partition-one-way": OneWay,
         "partition-flapping": Flapping, "delay-all": DelayAll, "delay-one": DelayOne, "loss-all": LossAll, "loss-one": LossOne,
         "loss-disorder": Disorder}
