# SPDX-License-Identifier: Apache-2.0
"""Backups that are taken during a soak, each from a member at random, restored into a cluster of one member and compared.

What a backup claims is its revision. The new member must be exactly there, and every key must have the value and the
revision that it had in the history then; its hash must be the one that the backup claims.
"""
import json
import os
import random
import shutil
import subprocess
import threading

import grpc
from etcd3.etcdrpc import rpc_pb2 as pb

from cluster.calls import KV, Member, retry
from cluster.members import PATIENCE_SECONDS, SLOTS
from soak_load import WATCHED

SAVE_SECONDS = 60


def read_state(member, revision=0, serializable=False):
    """{key: (value, revision)} of all that is watched, at REVISION; the revision of the first answer."""
    state = {}
    first = None
    key = WATCHED[0]
    while True:
        request = pb.RangeRequest(key=key, range_end=WATCHED[1], limit=2000, revision=revision, serializable=serializable)
        answer = retry(lambda r=request: member.call(KV + "Range", r, pb.RangeResponse, 20))
        first = first or answer.header.revision
        revision = revision or first
        for kv in answer.kvs:
            state[kv.key] = (kv.value, kv.mod_revision)
        if not answer.more:
            return state, first
        key = answer.kvs[-1].key + b"\0"


def difference(got, wanted):
    """The first keys that differ, for people."""
    keys = sorted(k for k in got.keys() | wanted.keys() if got.get(k) != wanted.get(k))
    return f"{len(keys)} keys differ: " + ", ".join(f"{k} is {got.get(k)}, was {wanted.get(k)}" for k in keys[:3])


def can_be_made(binary):
    """Whether there is a trivet-backup beside BINARY, of a version whose members serve Maintenance.Snapshot."""
    program = os.path.join(os.path.dirname(binary), "trivet-backup")
    if not os.access(program, os.X_OK):
        return None
    told = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
    return program if "restore" in told.stdout + told.stderr else None


class Backups:
    def __init__(self, cluster, load, program, seed, every):
        self.cluster = cluster
        self.load = load
        self.program = program
        self.rng = random.Random(f"{seed} backups")
        self.every = every
        self.stop = threading.Event()
        self.folder = os.path.join(cluster.folder, "backup")
        self.checked = 0
        self.not_saved = 0      # the member that was asked was harmed meanwhile
        self.thread = threading.Thread(target=load.guarded, args=(self.work,))

    def work(self):
        while not self.stop.wait(self.rng.uniform(0.3, 1.7) * self.every) and not self.cluster.over.is_set():
            self.one(self.rng.choice(self.cluster.reachable), self.rng.random() < 0.5)

    def one(self, member, with_etcdctl):
        """The state that MEMBER has now, or a later one, is what is saved: it may be behind."""
        try:
            begin = member.status().header.revision
        except grpc.RpcError:
            self.not_saved += 1
            return
        if not self.load.history.hold(begin):
            self.not_saved += 1
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        try:
            self.save_and_check(member, with_etcdctl, begin)
        finally:
            self.load.history.release(begin)
        if not self.cluster.over.is_set():
            shutil.rmtree(self.folder)

    def save_and_check(self, member, with_etcdctl, begin):
        file = os.path.join(self.folder, "saved.db")
        if with_etcdctl:
            save = ["etcdctl", "--endpoints=" + member.endpoint, "snapshot", "save", file]
        else:
            save = [self.program, "save", "--quiet", "--endpoints", member.endpoint, "--timeout", "10s", file]
        try:
            saved = subprocess.run(save, capture_output=True, timeout=SAVE_SECONDS, check=False).returncode == 0
        except subprocess.TimeoutExpired:
            saved = False
        if not saved:
            self.not_saved += 1
            return
        name = f"the backup of {member.endpoint} by {os.path.basename(save[0])}"
        if self.run(name, "verify", "--quiet", file) is None:
            return
        status = json.loads(self.run(name, "status", "-w", "json", file) or "null")
        if status is None:
            return
        if status["revision"] < begin:
            self.load.violation(f"{name} has revision {status['revision']}, where the member had {begin} before")
        elif self.load.wait_told(status["revision"], PATIENCE_SECONDS):
            self.restore_and_check(name, file, status["revision"], status["hash"])
        else:
            self.load.violation(f"watchers were not told of revision {status['revision']}, which {name} has")

    def run(self, name, *command):
        done = subprocess.run([self.program, *command], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout
        self.load.violation(f"{name}: {command[0]} says {(done.stderr or done.stdout).strip()}")
        return None

    def restore_and_check(self, name, file, revision, claimed_hash):
        first_port = self.cluster.first_port + 2 * SLOTS
        client, peer = f"127.0.0.1:{first_port}", f"http://127.0.0.1:{first_port + 1}"
        flags = ["--name", "restored", "--data-dir", os.path.join(self.folder, "data"), "--initial-cluster", "restored=" + peer,
                 "--initial-advertise-peer-urls", peer, "--initial-cluster-token", f"restored-{revision}"]
        if self.run(name, "restore", "--quiet", file, *flags) is None:
            return
        process = self.cluster.spawn([self.cluster.binary, *flags, "--listen-client-urls", "http://" + client,
                                      "--advertise-client-urls", "http://" + client, "--listen-peer-urls", peer],
                                     os.path.join(self.folder, "restored.log"))
        restored = Member(client)
        try:
            got, at = read_state(restored)
            if at != revision:
                self.load.violation(f"{name} claims revision {revision} and restores to {at}")
            wanted = self.load.history.at(revision)
            if got != wanted:
                self.load.violation(f"{name}, restored, at revision {revision}: {difference(got, wanted)}")
            found = retry(lambda: restored.hash(revision))[0]
            if found != claimed_hash:
                self.load.violation(f"{name} claims hash {claimed_hash} and restores to {found}")
        except grpc.RpcError as error:
            self.load.violation(f"{name}, restored, does not serve: {error}")
        finally:
            process.kill()
            process.wait()
            restored.channel.close()
        self.checked += 1

    def end(self):
        self.stop.set()
        self.thread.join(3 * SAVE_SECONDS)

    def last(self):
        """One that nothing disturbs."""
        before = self.checked
        self.one(self.rng.choice(self.cluster.reachable), self.rng.random() < 0.5)
        if self.checked == before and not self.cluster.over.is_set():
            self.load.violation("a backup could not be saved although nobody was harmed")
