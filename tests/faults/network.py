# SPDX-License-Identifier: Apache-2.0
"""The members' network: namespaces on trivet-faults-switch, and what is wrong with the links between them.

Faults come in layers, each with a name: they add up, and go one by one. Clients reach every member all the time.
"""
import collections
import subprocess

NET = "10.231.0"

Link = collections.namedtuple("Link", "delay_us jitter_us loss_ppm repeat_ppm cut", defaults=(0, 0, 0, 0, 0))
GOOD = Link()


def merge(links):
    """All that is wrong at once: times add up, the worst chance and any cut count."""
    result = GOOD
    for link in links:
        result = Link(result.delay_us + link.delay_us, result.jitter_us + link.jitter_us, max(result.loss_ppm, link.loss_ppm),
                      max(result.repeat_ppm, link.repeat_ppm), max(result.cut, link.cut))
    return result


class Network:
    def __init__(self, program, slots, seed):
        self.process = subprocess.Popen([program, "--net", NET, "--ports", str(slots + 1), "--seed", str(seed)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.spaces = {}
        for _ in range(slots):
            port, fd = self.process.stdout.readline().split()
            self.spaces[int(port) - 1] = f"/proc/{self.process.pid}/fd/{fd}"
        self.layers = {}
        self.links = {}     # (from, to) -> Link, of those that are not good

    def host(self, slot):
        return f"{NET}.{slot + 2}"

    def enter(self, slot):
        """What stands before a command that shall run there."""
        return ["nsenter", "--net=" + self.spaces[slot]]

    def command(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def put(self, name, links):
        """{(from slot, to slot): Link}; replaces the layer."""
        self.layers[name] = links
        self.apply()

    def drop(self, name):
        if self.layers.pop(name, None) is not None:
            self.apply()

    def apply(self):
        wanted = {pair: merge(layer.get(pair, GOOD) for layer in self.layers.values())
                  for layer in self.layers.values() for pair in layer}
        wanted = {pair: link for pair, link in wanted.items() if link != GOOD}
        for pair in self.links.keys() | wanted.keys():
            link = wanted.get(pair, GOOD)
            if link != self.links.get(pair, GOOD):
                said = self.command("link " + " ".join(str(n) for n in (pair[0] + 1, pair[1] + 1, *link)))
                if said != "ok":
                    raise OSError(f"the switch says: {said}")
        self.links = wanted

    def counts(self):
        """Packets: carried, and not because of a cut, lost, doubled, dropped because too many waited."""
        return dict(zip(("carried", "cut", "lost", "repeated", "overflowed"), map(int, self.command("counts").split())))
