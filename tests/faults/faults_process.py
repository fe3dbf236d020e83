# SPDX-License-Identifier: Apache-2.0
"""Members are killed, stand still, and are restarted in order."""
from fault import Fault, names


class Kill(Fault):
    victims_of = None

    def begin(self):
        self.victims = [m for m in self.victims_of() if m.up]
        for victim in self.victims:
            self.cluster.kill(victim)
        return names(self.victims) or "nobody is up"

    def end(self):
        for victim in self.rng.sample(self.victims, len(self.victims)):
            self.cluster.start(victim)


class KillOne(Kill):
    def victims_of(self):
        return [self.rng.choice(self.cluster.voters())]


class KillLeader(Kill):
    def victims_of(self):
        return [self.cluster.leader() or self.rng.choice(self.cluster.voters())]


class KillMajority(Kill):
    def victims_of(self):
        return self.majority()


class KillAll(Kill):
    def victims_of(self):
        return self.cluster.all


class Pause(Fault):
    victims_of = None

    def begin(self):
        self.victims = [m for m in self.victims_of() if m.up]
        for victim in self.victims:
            self.cluster.pause(victim)
        return names(self.victims) or "nobody is up"

    def end(self):
        for victim in self.victims:
            self.cluster.resume(victim)


class PauseOne(Pause):
    victims_of = KillOne.victims_of


class PauseLeader(Pause):
    victims_of = KillLeader.victims_of


class PauseMajority(Pause):
    victims_of = KillMajority.victims_of


class Rolling(Fault):
    """All of them, one after the other, in order; the next one when all are well."""
    lasts = False

    def begin(self):
        order = self.rng.sample(self.cluster.all, len(self.cluster.all))
        for member in order:
            self.cluster.stop(member)
            self.cluster.start(member)
            self.cluster.settle()
        return names(order)


class Transfer(Fault):
    lasts = False

    def begin(self):
        leader = self.cluster.leader()
        target = self.rng.choice(self.cluster.voters())
        if leader in (None, target):
            return f"{target} leads already" if leader else "nobody leads"
        identity = self.cluster.identity(self.cluster.listed(leader), target)
        output, said = self.cluster.etcdctl(leader, "move-leader", identity or "0")
        return f"{leader} to {target}" + ("" if output is not None else f": {said}")


KINDS = {"kill-one": KillOne, "kill-leader": KillLeader, "kill-majority": KillMajority, "kill-all": KillAll,
         "pause-one": PauseOne, "pause-leader": PauseLeader, "pause-majority": PauseMajority,
         "restart-rolling": Rolling, "restart-transfer": Transfer}
