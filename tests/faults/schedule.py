# SPDX-License-Identifier: Apache-2.0
"""What is done in which order: all of it follows from the seed and from the kinds that are wanted.

Kinds are dealt like cards: every one comes once before any comes again, so that short runs miss none. To whom they
happen is decided when they happen, by each step's own seed.
"""
import collections
import random

GROUPS = {
    "kill": ["kill-one", "kill-leader", "kill-majority", "kill-all"],
    "pause": ["pause-one", "pause-leader", "pause-majority"],
    "partition": ["partition-halves", "partition-leader", "partition-ring", "partition-one-way", "partition-flapping"],
    "delay": ["delay-all", "delay-one"],
    "loss": ["loss-all", "loss-one", "loss-disorder"],
    "clock": ["clock-jump", "clock-strobe"],
    "disk": ["disk-full", "disk-slow", "disk-failing"],
    "power": ["power-one", "power-all"],
    "member": ["member-replace", "member-wipe", "member-learner"],
    "restart": ["restart-rolling", "restart-transfer"],
    "admin": ["admin-compact", "admin-defragment"],
    "backup": ["backup-save"],
    "corrupt": ["corrupt-log", "corrupt-database"],
}
# They count on a majority to which nothing else is done but what is gentle.
ALONE = {"member", "corrupt", "restart"}
GENTLE = {"delay-all", "loss-disorder", "clock-jump", "clock-strobe", "backup-save"}
# Of these only one at a time: each expects to find members as it left them.
PROCESSES = {"kill", "pause", "disk", "power"}
TOGETHER_PROBABILITY = 0.25

Step = collections.namedtuple("Step", "number gap hold kinds seed")


def group_of(kind):
    return kind.split("-")[0]


def parse(text):
    """The kinds that TEXT names: groups or kinds, separated by commas, or "all"."""
    kinds = []
    for name in text.split(","):
        if name == "all":
            found = [k for group in GROUPS.values() for k in group]
        elif name in GROUPS:
            found = GROUPS[name]
        elif name in GROUPS.get(group_of(name), []):
            found = [name]
        elif name == "none":
            found = []
        else:
            raise ValueError(f"no fault '{name}': it is all, none, or of {', '.join(GROUPS)}")
        kinds += [k for k in found if k not in kinds]
    return kinds


def fits(first, second):
    groups = {group_of(first), group_of(second)}
    gentle = first in GENTLE or second in GENTLE
    return len(groups) == 2 and (gentle or not groups & ALONE) and len(groups & PROCESSES) < 2


def steps(seed, kinds, pace=1):
    """Without end. PACE: so many times as long between and during faults."""
    rng = random.Random(f"{seed} schedule")
    deck = []
    number = 0
    while kinds:
        if len(deck) < 2:
            deck += rng.sample(kinds, len(kinds))
        chosen = [deck.pop(0)]
        if rng.random() < TOGETHER_PROBABILITY and deck and fits(chosen[0], deck[0]):
            chosen.append(deck.pop(0))
        number += 1
        yield Step(number, pace * rng.uniform(0.5, 2.5), pace * rng.uniform(1, 5), tuple(chosen), f"{seed} step {number}")
