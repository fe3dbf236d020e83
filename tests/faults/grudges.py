# SPDX-License-Identifier: Apache-2.0
"""Who does not hear whom: sets of (from, to), by members' slots."""


def both_ways(left, right):
    return {(a, b) for a in left for b in right} | {(b, a) for a in left for b in right}


def halves(rng, slots):
    """A majority and a minority."""
    order = rng.sample(slots, len(slots))
    count = rng.randint(1, (len(slots) - 1) // 2)
    return both_ways(order[:count], order[count:])


def alone(slots, slot):
    return both_ways([slot], [s for s in slots if s != slot])


def ring(rng, slots):
    """Everybody hears a majority, and no two the same one: neighbours on a circle."""
    order = rng.sample(slots, len(slots))
    reach = len(slots) // 2 // 2 or 1
    cut = set()
    for i, a in enumerate(order):
        for j, b in enumerate(order):
            distance = abs(i - j) if len(slots) == 3 else min(abs(i - j), len(slots) - abs(i - j))
            if distance > reach:
                cut.add((a, b))
    return cut


def one_way(rng, slots, slot):
    """It is heard and hears nothing, or the other way around; of some of the others or of all."""
    others = [s for s in slots if s != slot]
    others = rng.sample(others, rng.randint(1, len(others)))
    return {(o, slot) for o in others} if rng.random() < 0.5 else {(slot, o) for o in others}


def describe(slots, cut, name):
    """For people. NAME gives a slot's."""
    both = sorted((a, b) for a, b in cut if a < b and (b, a) in cut)
    single = sorted((a, b) for a, b in cut if (b, a) not in cut)
    parts = [f"{name(a)}-{name(b)}" for a, b in both] + [f"{name(a)}>{name(b)}" for a, b in single]
    return " ".join(parts) if len(cut) < len(slots) * (len(slots) - 1) else "everybody"
