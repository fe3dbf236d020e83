# SPDX-License-Identifier: Apache-2.0
"""Who writes, reads and watches during a soak, and the history that all of it must agree with.

Each client has registers of its own, which it writes by transactions that take only a larger value, and puts and deletes
keys that are used once. Readers know what was acknowledged or read before they ask. Two watchers, which go on through
any member when their stream breaks, tell what happened at which revision. The history compares what is older than
SETTLED_SECONDS (no call lasts so long) and forgets all but what every key was then, so that a soak may last for days.
"""
import collections
import random
import threading
import time

import grpc
from etcd3.etcdrpc import kv_pb2, rpc_pb2 as pb

from cluster.calls import KV, retry
import kill_witness

CALL_SECONDS = 2        # who had asked a leader that is lost has no answer for longer than that, with etcd, too
AVOIDED_SECONDS = 1     # a member that did not answer is left alone for so long
SETTLED_SECONDS = 30
REGISTERS = 16          # of a client
ONCE_KEPT = 50          # keys that are used once: so many of a client's are there
WATCHED = (b"l", b"t")  # leases' keys and ours
LEASE_TTL = 60
LEASES = 8


class History:
    """What happened at each revision: as watchers were told, against what was answered."""

    def __init__(self, watchers, violation):
        self.violation = violation
        self.lock = threading.Lock()
        self.acked = {}                     # revision -> (key, value), a value of None: deleted
        self.unknown = set()                # (key, value) that nobody answered for
        self.told = [collections.deque() for _ in range(watchers)]
        self.next = [1] * watchers          # the revision that each will be told next, or a later one
        self.state = {}                     # key -> (value, revision) at `revision`
        self.revision = 0
        self.marks = collections.deque()    # (when, revision): all had been told of it then
        self.holds = []                     # revisions whose state somebody will ask for
        self.compared = 0

    def acknowledge(self, key, value, revision):
        with self.lock:
            twice = revision in self.acked
            late = revision <= self.revision
            self.acked[revision] = (key, value)
        if twice or late:
            self.violation(f"revision {revision} of {key} was acknowledged " + ("twice" if twice else "after all others"))

    def not_answered(self, key, value):
        with self.lock:
            self.unknown.add((key, value))

    def tell(self, watcher, events):
        """EVENTS: (revision, key, value), whole revisions in order."""
        with self.lock:
            for event in events:
                if event[0] < self.next[watcher]:
                    self.violation(f"watcher {watcher} was told of revision {event[0]} behind {self.next[watcher] - 1}")
                self.told[watcher].append(event)
            self.next[watcher] = events[-1][0] + 1

    def told_revision(self):
        with self.lock:
            return min(self.next) - 1

    def hold(self, revision):
        """Whether the state at REVISION and later can be asked for; until it is released."""
        with self.lock:
            if revision < self.revision:
                return False
            self.holds.append(revision)
            return True

    def release(self, revision):
        with self.lock:
            self.holds.remove(revision)

    def at(self, revision):
        """{key: (value, revision)} at REVISION, which is held and told."""
        with self.lock:
            state = dict(self.state)
            for at, key, value in self.told[0]:
                if at > revision:
                    break
                self.change(state, at, key, value)
            return state

    @staticmethod
    def change(state, revision, key, value):
        if value is None:
            state.pop(key, None)
        else:
            state[key] = (value, revision)

    def settle(self):
        """Compare what has been told for long."""
        now = time.monotonic()
        told = self.told_revision()
        self.marks.append((now, told))
        revision = 0
        while self.marks and self.marks[0][0] < now - SETTLED_SECONDS:
            revision = self.marks.popleft()[1]
        with self.lock:
            revision = min([revision] + self.holds)
        if revision > self.revision:
            self.compare(revision)

    def compare(self, revision):
        """All up to REVISION: the watchers were told the same, it is what was answered, and nothing happened twice."""
        with self.lock:
            parts = [[] for _ in self.told]
            for part, told in zip(parts, self.told):
                while told and told[0][0] <= revision:
                    part.append(told.popleft())
            acked = {r: change for r, change in self.acked.items() if r <= revision}
            for r in acked:
                del self.acked[r]
            for other in parts[1:]:
                if other != parts[0]:
                    differing = sorted(set(parts[0]) ^ set(other))[:3]
                    self.violation(f"the watchers were not told the same up to revision {revision}: {differing}")
            seen = set()
            for at, key, value in parts[0]:
                self.check_event(at, key, value, acked, seen)
                self.change(self.state, at, key, value)
            self.revision = revision
            self.compared += len(parts[0])
        if acked:
            lost = sorted(acked.items())[:3]
            self.violation(f"{len(acked)} acknowledged writes were not told to watchers, the first: {lost}")

    def check_event(self, at, key, value, acked, seen):
        before = self.state.get(key)
        if key.startswith(b"s/r/") and (value is None or (before and before[0] >= value)):
            self.violation(f"{key} went from {before} to {value} at revision {at}")
        if (key, value) in seen and key.startswith(b"s/"):
            self.violation(f"{key} = {value} happened twice, at revision {at}")
        seen.add((key, value))
        answered = acked.pop(at, None)
        if answered is not None and answered != (key, value):
            self.violation(f"revision {at} is {key} = {value}, where {answered} was acknowledged")
        if answered is None and key.startswith(b"s/") and (key, value) not in self.unknown:
            self.violation(f"{key} = {value} at revision {at} was written by nobody")


class Pauses:
    """The longest time without an acknowledged write, and the longest in which this program itself stood still."""

    def __init__(self):
        self.lock = threading.Lock()
        self.last = time.monotonic()
        self.longest = 0
        self.when = ""
        self.action = "the start"
        self.excused_longest = 0
        self.excused = False    # a majority is down by our own doing
        self.excuse_ends = False
        self.own = 0

    def written(self):
        now = time.monotonic()
        with self.lock:
            pause = now - self.last
            self.last = now
            if self.excused:
                self.excused_longest = max(self.excused_longest, pause)
                self.excused = not self.excuse_ends
            elif pause > self.longest:
                self.longest, self.when = pause, self.action

    def excuse(self):
        with self.lock:
            self.excused, self.excuse_ends = True, False

    def end_excuse(self):
        """The next write that is acknowledged ends it."""
        with self.lock:
            self.excuse_ends = True

    def measure_own(self, stop):
        while not stop.is_set():
            before = time.monotonic()
            time.sleep(0.02)
            self.own = max(self.own, time.monotonic() - before - 0.02)


class Load:
    """Also what kill_witness.Witness takes for its run."""

    def __init__(self, cluster, seed, clients, watchers, violation):
        self.cluster = cluster
        self.seed = seed
        self.violation = violation
        self.stop = threading.Event()       # of writers and readers
        self.finish = threading.Event()     # of watchers, leases and what is measured
        self.pauses = Pauses()
        self.history = History(watchers, violation)
        self.lock = threading.Lock()
        self.registers = [b"s/r/%d/%d" % (c, r) for c in range(clients) for r in range(REGISTERS)]
        self.floor = {key: b"" for key in self.registers}  # no read that begins now may find less
        self.newest = 0
        self.acknowledged = 0
        self.reads = 0
        self.broken = 0
        self.witness = kill_witness.Witness(self, watchers=0)
        self.active = [threading.Thread(target=self.guarded, args=(self.write, c)) for c in range(clients)]
        self.active += [threading.Thread(target=self.guarded, args=(self.read, r)) for r in range(2)]
        self.lasting = [threading.Thread(target=self.guarded, args=(self.watch, w)) for w in range(watchers)]
        self.lasting.append(threading.Thread(target=self.guarded, args=(self.witness.keep_alive,)))
        self.lasting.append(threading.Thread(target=self.guarded, args=(self.pauses.measure_own, self.finish)))

    @property
    def members(self):
        return self.cluster.reachable

    def guarded(self, action, *arguments):
        try:
            action(*arguments)
        except Exception as error:  # pylint: disable=broad-except
            self.violation(f"{action.__name__} failed: {error!r}")

    def start(self):
        for key in self.registers:
            retry(lambda k=key: self.create(k))
        self.witness.finish = self.finish
        self.witness.kept = [self.witness.grant(self.witness.any_call, LEASE_TTL) for _ in range(LEASES)]
        self.pauses.last = time.monotonic()
        for thread in self.lasting + self.active:
            thread.start()

    def create(self, key):
        """Nobody is harmed yet, but an answer may be late on a busy machine."""
        value = b"%012d" % 0
        self.history.not_answered(key, value)
        compare = pb.Compare(key=key, target=pb.Compare.CREATE, result=pb.Compare.EQUAL, create_revision=0)
        self.transact(self.members[0], compare, key, value)

    def transact(self, member, compare, key, value):
        put = pb.RequestOp(request_put=pb.PutRequest(key=key, value=value))
        return member.call(KV + "Txn", pb.TxnRequest(compare=[compare], success=[put]), pb.TxnResponse, CALL_SECONDS)

    def pick(self, rng, avoided):
        """A member at random, of those that have not failed just now if there are any."""
        now = time.monotonic()
        members = self.members
        return rng.choice([m for m in members if avoided.get(m, 0) < now] or members)

    # ---- writers ----

    def write(self, client):
        rng = random.Random(f"{self.seed} client {client}")
        registers = self.registers[client * REGISTERS:(client + 1) * REGISTERS]
        avoided = {}
        once = collections.deque()
        serial = 0
        while not self.stop.is_set():
            serial += 1
            member = self.pick(rng, avoided)
            if rng.random() < 0.7:
                key, value = rng.choice(registers), b"%012d" % serial
                action = self.write_register
            elif len(once) < ONCE_KEPT:
                key, value = b"s/once/%d/%d" % (client, serial), b"%d" % serial
                action = self.put_once
            else:
                key, value = once.popleft(), None
                action = self.delete_once
            try:
                revision = action(member, key, value)
            except grpc.RpcError:
                self.history.not_answered(key, value)
                avoided[member] = time.monotonic() + AVOIDED_SECONDS
                time.sleep(0.02)
                continue
            self.history.acknowledge(key, value, revision)
            self.note(key, value, revision)
            if action == self.put_once:
                once.append(key)

    def note(self, key, value, revision):
        with self.lock:
            self.acknowledged += 1
            self.newest = max(self.newest, revision)
            if key in self.floor:
                self.floor[key] = max(self.floor[key], value)
        self.pauses.written()

    def write_register(self, member, key, value):
        """An attempt without an answer may come later, but not over a larger value."""
        compare = pb.Compare(key=key, target=pb.Compare.VALUE, result=pb.Compare.LESS, value=value)
        answer = self.transact(member, compare, key, value)
        if not answer.succeeded:
            self.violation(f"{key} is not there or not less than {value}, which nobody has written yet")
        return answer.header.revision

    @staticmethod
    def put_once(member, key, value):
        return member.call(KV + "Put", pb.PutRequest(key=key, value=value), pb.PutResponse, CALL_SECONDS).header.revision

    def delete_once(self, member, key, _):
        answer = member.call(KV + "DeleteRange", pb.DeleteRangeRequest(key=key), pb.DeleteRangeResponse, CALL_SECONDS)
        if answer.deleted != 1:
            self.violation(f"{key} was acknowledged and is not there to be deleted")
        return answer.header.revision

    # ---- readers ----

    def read(self, reader):
        rng = random.Random(f"{self.seed} reader {reader}")
        avoided = {}
        while not self.stop.is_set():
            member = self.pick(rng, avoided)
            key = rng.choice(self.registers)
            with self.lock:
                floor, newest = self.floor[key], self.newest
            try:
                kv, revision = member.get(key, CALL_SECONDS)
            except grpc.RpcError:
                avoided[member] = time.monotonic() + AVOIDED_SECONDS
                time.sleep(0.02)
                continue
            if kv is None or kv.value < floor:
                self.violation(f"{member.endpoint} read {key} = {kv and kv.value} at {revision}, after {floor} was seen")
                return
            if revision < newest:
                self.violation(f"{member.endpoint} read at revision {revision}, after {newest} was acknowledged")
            with self.lock:
                self.floor[key] = max(self.floor[key], kv.value)
                self.reads += 1

    # ---- watchers ----

    def watch(self, watcher):
        rng = random.Random(f"{self.seed} watcher {watcher}")
        avoided = {}
        while not self.finish.is_set():
            member = self.pick(rng, avoided)
            with kill_witness.Stream(member.channel, "/etcdserverpb.Watch/Watch", pb.WatchResponse, self.finish) as stream:
                create = pb.WatchCreateRequest(key=WATCHED[0], range_end=WATCHED[1], start_revision=self.history.next[watcher])
                stream.asked.put(pb.WatchRequest(create_request=create))
                try:
                    for answer in stream.answers:
                        if answer.canceled:
                            self.violation(f"watcher {watcher} was cancelled at {self.history.next[watcher]}: {answer}")
                            return
                        self.take(watcher, answer.events)
                except grpc.RpcError:
                    avoided[member] = time.monotonic() + AVOIDED_SECONDS
                    self.broken += not self.finish.is_set()
                    time.sleep(0.02)

    def take(self, watcher, events):
        now = time.monotonic()
        changes = []
        for event in events:
            deleted = event.type == kv_pb2.Event.DELETE
            changes.append((event.kv.mod_revision, event.kv.key, None if deleted else event.kv.value))
            if deleted and event.kv.key.startswith(b"lease/"):
                self.witness.ended(int(event.kv.key[6:]), now)
        if changes:
            self.history.tell(watcher, changes)

    # ---- the end ----

    def wait_told(self, revision, seconds):
        """Until watchers were told of everything up to REVISION, which needs a later write."""
        limit = time.monotonic() + seconds
        while self.history.told_revision() < revision and time.monotonic() < limit and not self.cluster.over.is_set():
            time.sleep(0.02)
        return self.history.told_revision() >= revision

    def end_writes(self):
        """Nobody is harmed any more. The revision of the last write, which everybody was told of and which is compared."""
        self.stop.set()
        for thread in self.active:
            thread.join()
        if self.cluster.over.is_set():
            return None
        marker = b"%d" % time.monotonic_ns()
        self.history.not_answered(b"s/end", marker)
        revision = retry(lambda: random.choice(self.members).put(b"s/end", marker))
        self.pauses.written()
        if not self.wait_told(revision, 90):
            self.violation(f"watchers were told up to {self.history.told_revision()}, not up to {revision}")
            return None
        self.history.compare(revision)
        return revision

    def end(self):
        self.stop.set()
        self.finish.set()
        for thread in self.active + self.lasting:
            thread.join(10)

    def check_leases(self):
        answer = self.witness.any_call(kill_witness.LEASE + "LeaseLeases", pb.LeaseLeasesRequest(), pb.LeaseLeasesResponse)
        missing = set(self.witness.kept) - {lease.ID for lease in answer.leases}
        if missing:
            self.violation(f"{len(missing)} of {LEASES} leases that were kept alive have ended")
