# SPDX-License-Identifier: Apache-2.0
"""What happens to a cluster over the years: backups, restarts, a member that was away, compaction, defragmentation.

Beside etcd: a cluster of each kind a round, loaded once, to which everything happens in turn. Trivet alone: how long its
Raft snapshots keep the loop, and a member with very many keys.
"""
import json
import os
import signal
import statistics
import subprocess
import time

from bench_cluster import PATIENCE_SECONDS, Cluster, bench_command, fail, run_bench, say, verdict, wait_until

# (title, of etcd, of Trivet, the least ratio that counts as good or None): medians of seconds
ROWS = [
    ("snapshot of a member, until it is on stable storage: etcdctl beside trivet-backup", "save", "backup", 3),
    ("the same by etcdctl from both", "save", "save", None),
    ("restart of a member, until it has answered a serializable and a linearizable get", "restart", "restart", 5),
    ("the same after SIGKILL", "restart_killed", "restart_killed", None),
    ("restart of all members, until one has answered a linearizable get and a put", "restart_all", "restart_all", 4),
    ("a member that lacks {away:,} puts, from its start until it has applied them", "catch_up", "catch_up", 4),
    ("compaction of {stale:,} revisions of {keys:,} keys, beside {rate:,} puts/s", "compaction", "compaction", 8),
    ("compaction of {more_stale:,} more, for which Trivet removes rows", "removal", "removal", None),
    ("defragmentation of the leader, beside {probes:,} calls/s to it", "defrag", "defrag", None),
]
# Pairs of milliseconds, without such work and beside it:
# (title, key, the most beside it as a multiple of that without or None, the most in ms or None)
BESIDE_ROWS = [
    ("p99 of {rate:,} puts/s beside the compaction, until all members are through", "put_p99", 2, None),
    ("p99 of the puts beside that of {more_stale:,}", "put_p99_removal", None, None),
    ("longest serializable get beside the defragmentation of the member asked", "get_gap", None, 100),
    ("longest linearizable get beside it", "read_gap", None, 100),
    ("longest put beside it", "put_gap", None, 100),
]
PUTS_RATE = 2000    # beside the compaction
PROBE_RATE = 200    # of each kind beside the defragmentation
PROBES = {"get_gap": "range-serializable", "read_gap": "range", "put_gap": "put"}
REMOVALS_METRIC = "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds_count"
PAUSE_METRIC = "trivet_raft_snapshot_pause_seconds"
PAUSE_MS_MAX = 5    # for which a Raft snapshot may keep the loop
ENVIRONMENT = {**os.environ, "ETCDCTL_API": "3"}
PARTS = ("save", "restart", "catch-up", "compaction", "removal", "defrag", "large")


def run(command):
    """A command that must succeed: what it printed and the seconds that it took."""
    began = time.time()
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"failed: {' '.join(command)}\n{done.stderr}")
    return done.stdout, time.time() - began


def etcdctl_command(options, endpoint, *arguments):
    return [options.etcdctl, "--endpoints", endpoint, f"--command-timeout={PATIENCE_SECONDS}s", *arguments]


def etcdctl(options, endpoint, *arguments):
    return run(etcdctl_command(options, endpoint, *arguments))


# ---- calls ----

class Load:
    """trivet-bench beside what is measured: its report is of the time until end."""

    def __init__(self, options, endpoints, workload, clients, rate, keys):
        more = ["--duration", "1h", "--warmup", "500ms", "--timeout", "2m", "--rate", str(rate), "--keys", str(keys)]
        self.command = bench_command(options, endpoints, workload, clients, more)
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)

    def end(self):
        self.process.send_signal(signal.SIGINT)
        out = self.process.communicate()[0]
        if self.process.returncode != 0 or json.loads(out)["errors"]:
            fail(f"failed: {' '.join(self.command)}\n{out}")
        return json.loads(out)


def answers(options, endpoint, workload, keys):
    """Does the member answer a call? Wrongly must not be."""
    command = bench_command(options, endpoint, workload, 1, ["--total", "1", "--timeout", "5s", "--keys", str(keys)])
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    report = json.loads(done.stdout) if done.stdout else {"missing": 0, "wrong": 0}
    if report["missing"] or report["wrong"]:
        fail(f"a wrong answer: {done.stdout}")
    return done.returncode == 0


def until_answers(options, endpoint, workloads, keys):
    """The time at which the last of them had its first answer, one after the other."""
    for workload in workloads:
        at = wait_until(lambda workload=workload: answers(options, endpoint, workload, keys), f"an answer to {workload}", 0.001)
    return at


def until_equal(cluster):
    """All members have applied what any of them has."""
    def equal():
        revisions = {cluster.revision(number) for number in cluster.members}
        return len(revisions) == 1 and 0 not in revisions
    wait_until(equal, "members at the same revision", 0.1)


def removals(cluster):
    """How many compactions each member is done with on its disk."""
    return {number: cluster.metrics(number).get(REMOVALS_METRIC, 0) for number in cluster.members}


def until_removed(cluster, before):
    """All members are done with one more."""
    def removed():
        now = removals(cluster)
        return all(now[number] > count for number, count in before.items())
    wait_until(removed, "members that have removed what was compacted", 0.1)


# ---- a cluster over the years ----

class Years:
    """A cluster, and what was found: lists of seconds, of pairs of milliseconds."""

    def __init__(self, options, kind, binary):
        self.options = options
        self.kind = kind
        self.keys = options.upkeep_keys
        self.found = {key: [] for _, *keys, _ in ROWS for key in keys}
        self.found.update({key: [] for _, key, _, _ in BESIDE_ROWS}, saved_mib=[], pauses={})
        self.cluster = Cluster(binary, options.folder)

    def note(self, key, value):
        self.found[key].append(value)
        say(f"  {key}: {value if isinstance(value, list) else round(value, 2)}")

    def load(self):
        run_bench(self.options, self.cluster, "load", 256, ["--keys", str(self.keys)])
        until_equal(self.cluster)
        add_pauses(self.cluster, self.found["pauses"])

    def puts(self, count, endpoints=None):
        run_bench(self.options, self.cluster, "put", 256, ["--total", str(count), "--keys", str(self.keys)], endpoints)

    def save(self):
        path = f"{self.options.folder}/saved.db"
        ways = {"save": [self.options.etcdctl, "--endpoints", self.cluster.endpoint(1), "snapshot", "save", path]}
        if self.kind == "trivet":
            ways["backup"] = [self.options.backup, "save", "--quiet", "--endpoints", self.cluster.endpoint(1), path]
        for _ in range(self.options.repeats):
            for key, command in ways.items():
                self.note(key, run(command)[1])
                self.found["saved_mib"].append(os.stat(path).st_size / (1 << 20))
                os.remove(path)

    def restart(self):
        ask = lambda number, *workloads: until_answers(self.options, self.cluster.endpoint(number), workloads, self.keys)
        for how, key in (("stop", "restart"), ("kill", "restart_killed")):
            for _ in range(self.options.repeats):
                self.cluster.take_down(how, 2)
                began = self.cluster.restart(2)
                self.note(key, ask(2, "range-serializable", "range") - began)
                until_equal(self.cluster)
        for _ in range(self.options.repeats):
            self.cluster.take_down("stop", *self.cluster.members)
            began = self.cluster.restart(*self.cluster.members)
            self.note("restart_all", ask(1, "range", "put") - began)
            until_equal(self.cluster)

    def catch_up(self):
        self.cluster.take_down("stop", 3)
        self.puts(self.options.away, ",".join(self.cluster.endpoint(number) for number in (1, 2)))
        wanted = max(self.cluster.revision(1), self.cluster.revision(2))
        began = self.cluster.restart(3)
        self.note("catch_up", wait_until(lambda: self.cluster.revision(3) >= wanted, "a member that has caught up") - began)

    def compaction(self):
        self.compact_beside_puts(self.options.stale - self.options.away, "compaction", "put_p99")

    def removal(self):
        self.compact_beside_puts(self.options.more_stale, "removal", "put_p99_removal")

    def compact_beside_puts(self, stale, key, p99_key):
        self.puts(stale)
        alone = self.p99_beside(lambda: time.sleep(self.options.alone_seconds))
        self.note(p99_key, [alone, self.p99_beside(lambda: self.compact(key))])

    def compact(self, key):
        """Up to now; what is put meanwhile is of the next one."""
        endpoint = self.cluster.endpoint(self.cluster.leader())
        before = removals(self.cluster)
        self.note(key, etcdctl(self.options, endpoint, "compaction", "--physical", str(int(self.cluster.revision(1))))[1])
        until_removed(self.cluster, before)

    def p99_beside(self, work):
        """Milliseconds that puts take while WORK is done."""
        until_equal(self.cluster)
        load = Load(self.options, self.cluster.endpoints, "put", 64, PUTS_RATE, self.keys)
        try:
            time.sleep(1)
            work()
        except BaseException:
            load.process.kill()
            raise
        return load.end()["p99_us"] / 1000

    def defrag(self):
        until_equal(self.cluster)
        endpoint = self.cluster.endpoint(self.cluster.leader())
        longest = {key: [] for key in PROBES}
        for beside in (False, True):
            loads = {key: Load(self.options, endpoint, workload, 64, PROBE_RATE, self.keys) for key, workload in PROBES.items()}
            time.sleep(1)
            if beside:
                self.note("defrag", etcdctl(self.options, endpoint, "defrag")[1])
                time.sleep(0.5)  # who waited has the answer
            else:
                time.sleep(self.options.alone_seconds)
            for key, load in loads.items():
                longest[key].append(load.end()["max_us"] / 1000)
        for key, pair in longest.items():
            self.note(key, pair)

    def check(self):
        """Whatever has happened, the members hold the same."""
        until_equal(self.cluster)
        hashes = json.loads(etcdctl(self.options, self.cluster.endpoints, "endpoint", "hashkv", "-w", "json")[0])
        if len(hashes) != len(self.cluster.members) or len({one["HashKV"]["hash"] for one in hashes}) != 1:
            fail(f"members differ: {hashes}")
        add_pauses(self.cluster, self.found["pauses"])


def measure_years(options, kind, binary):
    say(f"{kind}: {options.upkeep_keys:,} keys, over the years")
    years = Years(options, kind, binary)
    try:
        years.load()
        for part in ("save", "restart", "catch_up", "compaction", "removal", "defrag"):
            if part.replace("_", "-") in options.upkeep_parts:
                getattr(years, part)()
        years.check()
        return years.found
    finally:
        years.cluster.stop()


# ---- Trivet alone ----

def add_pauses(cluster, pauses):
    """What the members have counted since they were started; NAME_bucket{le="BOUND"} and so on."""
    for number in cluster.members:
        for name, value in cluster.metrics(number).items():
            if name.startswith(PAUSE_METRIC):
                pauses[name] = pauses.get(name, 0) + value


def pauses_line(pauses, keys):
    count = pauses.get(f"{PAUSE_METRIC}_count", 0)
    bounds = sorted((float(name.split('"')[1]) * 1000, value) for name, value in pauses.items() if "_bucket" in name)
    longest = next((bound for bound, value in bounds if value == count), float("inf"))
    mean = pauses.get(f"{PAUSE_METRIC}_sum", 0) * 1000 / max(count, 1)
    missed = "" if count > 0 and longest <= PAUSE_MS_MAX else " **missed**"
    return (f"| a Raft snapshot keeps the loop, with up to {keys:,} keys, {count / 2:,.0f} of them | "
            f"{mean:.2f} ms on the average, no longer than {longest:.3g} ms | less than {PAUSE_MS_MAX} ms{missed} |")


def measure_large(options):
    """A member alone with very many keys."""
    keys = options.large_keys
    say(f"trivet: one member, {keys:,} keys")
    found = {"keys": keys, "pauses": {}}
    cluster = Cluster(options.trivetd, options.folder, 1, ["--quota-backend-bytes=-1"])
    try:
        run_bench(options, cluster, "load", 256, ["--keys", str(keys)])
        add_pauses(cluster, found["pauses"])
        found["file_mib"] = os.stat(f"{cluster.data(1)}/member/store.db").st_size / (1 << 20)
        for how in ("stop", "kill"):
            cluster.take_down(how, 1)
            began = cluster.restart(1)
            found[how] = until_answers(options, cluster.endpoint(1), ("range-serializable", "range"), keys) - began
            time.sleep(options.settle)
            found[how + "_rss"], found[how + "_peak"] = cluster.memory("VmRSS"), cluster.memory("VmHWM")
            say(f"  {how}: {found[how]:.2f} s, {found[how + '_rss']:,.0f} MiB, at most {found[how + '_peak']:,.0f} MiB")
        return found
    finally:
        cluster.stop()


def large_lines(large):
    lines = [pauses_line(large["pauses"], large["keys"])]
    for how, title in (("stop", "restart"), ("kill", "the same after SIGKILL, which reads and checks every value")):
        lines.append(f"| {title} of a member alone with {large['keys']:,} keys ({large['file_mib'] / 1024:.1f} GiB), until it has answered "
                     f"a serializable and a linearizable get | {large[how]:.1f} s | |")
        lines.append(f"| its memory then, and at most | {large[how + '_rss']:,.0f}, {large[how + '_peak']:,.0f} MiB | |")
    return lines


# ---- tables ----

def titled(options, title):
    return title.format(keys=options.upkeep_keys, away=options.away, stale=options.stale, more_stale=options.more_stale, rate=PUTS_RATE, probes=PROBE_RATE * len(PROBES))


def gather(rounds, key):
    return [value for found in rounds for value in found[key]]


def seconds_table(options, etcd, trivet):
    lines = ["| work | etcd s | Trivet s | ratio | wanted |", "|---|---:|---:|---:|---|"]
    for title, etcd_key, trivet_key, floor in ROWS:
        values = gather(etcd, etcd_key), gather(trivet, trivet_key)
        if all(values):
            took = [statistics.median(one) for one in values]
            ratio = took[0] / took[1]
            lines.append(f"| {titled(options, title)} | {took[0]:.2f} | {took[1]:.2f} | {ratio:.1f}x | {verdict(ratio, floor)} |")
    return lines


def beside_cell(pairs):
    return ", ".join(f"{statistics.median(one):.1f}" for one in zip(*pairs))


def beside_table(options, etcd, trivet):
    lines = ["| ms | etcd without, beside it | Trivet without, beside it | wanted |", "|---|---:|---:|---|"]
    for title, key, times_max, ms_max in BESIDE_ROWS:
        pairs = gather(etcd, key), gather(trivet, key)
        if not all(pairs):
            continue
        without, beside = (statistics.median(one) for one in zip(*pairs[1]))
        limit = times_max * without if times_max else ms_max
        wanted = "" if not limit else f"at most {times_max} times that without" if times_max else f"at most {ms_max} ms"
        missed = " **missed**" if limit and beside > limit else ""
        lines.append(f"| {titled(options, title)} | {beside_cell(pairs[0])} | {beside_cell(pairs[1])} | {wanted}{missed} |")
    return lines


def tables(options, rounds, large):
    lines = []
    if rounds["etcd"]:
        lines += seconds_table(options, rounds["etcd"], rounds["trivet"]) + [""]
        lines += beside_table(options, rounds["etcd"], rounds["trivet"]) + [""]
    lines += ["| Trivet alone | found | wanted |", "|---|---|---|"]
    if rounds["trivet"]:
        pauses = {}
        for found in rounds["trivet"]:
            for name, value in found["pauses"].items():
                pauses[name] = pauses.get(name, 0) + value
        lines.append(pauses_line(pauses, options.upkeep_keys))
    return lines + (large_lines(large) if large else [])


def measure(options):
    """Everything: the lines to print, and what they are made of."""
    kinds = [("etcd", options.etcd), ("trivet", options.trivetd)]
    rounds = {"etcd": [], "trivet": []}
    beside = set(options.upkeep_parts) - {"large"}
    for number in range(options.rounds if beside else 0):
        for kind, binary in kinds if number % 2 == 0 else kinds[::-1]:
            rounds[kind].append(measure_years(options, kind, binary))
    large = measure_large(options) if "large" in options.upkeep_parts else None
    return {"rounds": rounds, "large": large, "lines": tables(options, rounds, large)}
