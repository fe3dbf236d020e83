# SPDX-License-Identifier: Apache-2.0
"""Histories (tests/history/README.md): what this side adds to the clients', and what a plot needs of all of it."""
import bisect
import collections
import heapq
import json
import re
import threading
import time

LINE = re.compile(r'\{"time":(\d+),"process":("nemesis"|\d+),"type":"(\w+)","workload":"(\w+)","f":"([\w-]+)"')
FIRST_PROCESS = 1 << 40     # the clients' own begin at 0
WRITES = {"register": {"write", "cas"}, "set": {"add"}, "append": {"txn"}, "wr": {"txn"}, "bank": {"open", "transfer"},
          "lock": {"acquire", "release", "fenced"}, "lease": {"grant", "revoke", "attach"}}
TOLD = {"events", "progress", "cancel", "close", "gone"}

Operation = collections.namedtuple("Operation", "begin end type workload f")  # ns


class Journal:
    """What the harness itself does, in a file of its own."""

    def __init__(self, path):
        self.file = open(path, "w", encoding="utf-8")
        self.lock = threading.Lock()
        self.process = FIRST_PROCESS

    def write(self, process, kind, workload, f, value, **more):
        with self.lock:
            head = {"time": time.monotonic_ns(), "process": process, "type": kind, "workload": workload, "f": f, "value": value}
            self.file.write(json.dumps({**head, **more}, separators=(",", ":")) + "\n")

    def fault(self, kind, phase, text):
        self.write("nemesis", "info", "nemesis", kind, {"phase": phase, "what": text})

    def invoke(self, workload, f, value, **more):
        """Whoever is asked answers once."""
        with self.lock:
            self.process += 1
            process = self.process
        self.write(process, "invoke", workload, f, value, **more)
        return process, workload, f, value

    def answer(self, asked, kind, value=None, **more):
        process, workload, f, before = asked
        self.write(process, kind, workload, f, before if value is None else value, **more)

    def close(self):
        self.file.close()


def time_of(line):
    return int(line[8:line.index(",")])     # {"time":N,


def merge(paths, into):
    """In the order of time: files that are each in order. Who was killed may have left half a line at the end."""
    files = [open(path, encoding="utf-8") for path in paths]
    whole = [(line for line in file if line.endswith("\n")) for file in files]
    with open(into, "w", encoding="utf-8") as out:
        out.writelines(heapq.merge(*whole, key=time_of))
    for file in files:
        file.close()


def json_value(value):
    """As the clients write it: a number when it is one's decimal digits, else a string of code points below 256."""
    if value.isdigit() and len(value) <= 18 and (value[:1] != b"0" or value == b"0"):
        return int(value)
    return value.decode("latin-1")


def read(path):
    """The clients' operations in the order in which they ended, and the faults as (begin, end, kind), times in ns."""
    operations, faults, open_operations, open_faults = [], [], {}, {}
    last = 0
    with open(path, encoding="utf-8") as file:
        for line in file:
            found = LINE.match(line)
            if not found:
                raise ValueError(f"{path}: no event: {line[:100]}")
            when, process, kind, workload, f = found.groups()
            when = last = int(when)
            if workload == "nemesis":
                if json.loads(line)["value"]["phase"] == "begin":
                    open_faults.setdefault(f, []).append(when)
                elif open_faults.get(f):
                    faults.append((open_faults[f].pop(), when, f))
            elif workload in ("final", "admin") or f in TOLD or workload == "watch":
                continue
            elif kind == "invoke":
                open_operations[process] = when
            elif process in open_operations:
                operations.append(Operation(open_operations.pop(process), when, kind, workload, f))
    faults += [(begin, last, f) for f, begins in open_faults.items() for begin in begins]
    return operations, sorted(faults)


def is_write(operation):
    return operation.f in WRITES.get(operation.workload, ())


def longest_pause(operations):
    """Seconds without an acknowledged write, and when it ended."""
    longest, when, last = 0, 0, None
    for operation in operations:
        if operation.type == "ok" and is_write(operation):
            if last is not None and operation.end - last > longest:
                longest, when = operation.end - last, operation.end
            last = operation.end
    return longest / 1e9, when


def recovery(operations, faults):
    """Of each fault: seconds from its end to the next acknowledged write that began after it. {kind: [seconds]}"""
    writes = sorted((o.begin, o.end) for o in operations if o.type == "ok" and is_write(o))
    result = collections.defaultdict(list)
    begins = [begin for begin, _ in writes]
    for _, end, kind in faults:
        at = bisect.bisect_left(begins, end)
        if at < len(writes):
            ends = min(e for _, e in writes[at:at + 200])
            result[kind].append((ends - end) / 1e9)
    return result
