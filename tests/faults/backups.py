# SPDX-License-Identifier: Apache-2.0
"""The backups of a run, when it is over: each is whole, and restores to a cluster that has exactly what it claims."""
import json
import os
import shutil
import subprocess

import grpc
from etcd3.etcdrpc import rpc_pb2 as pb

from cluster.calls import KV, Member, retry

PAGE = 2000


def read_state(member, revision):
    """[(key, value, mod revision, create revision, version)] of all keys at REVISION."""
    rows = []
    key = b"\0"
    while True:
        request = pb.RangeRequest(key=key, range_end=b"\0", limit=PAGE, revision=revision)
        answer = retry(lambda r=request: member.call(KV + "Range", r, pb.RangeResponse, 20))
        rows += [(kv.key, kv.value, kv.mod_revision, kv.create_revision, kv.version) for kv in answer.kvs]
        if not answer.more:
            return rows
        key = answer.kvs[-1].key + b"\0"


def compacted(member, revision):
    """Whether the state at REVISION is there no more."""
    def ask():
        try:
            member.call(KV + "Range", pb.RangeRequest(key=b"\0", revision=revision), pb.RangeResponse)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.OUT_OF_RANGE:
                raise
            return True
        return False
    return retry(ask)


class Check:
    def __init__(self, run):
        self.run = run
        self.program = run.options.backup_program

    def tool(self, name, *command):
        done = subprocess.run([self.program, *command], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout
        self.run.violation(f"{name}: {command[0]} says {(done.stderr or done.stdout).strip()}")
        return None

    def all(self):
        """How many were good. The hash of a revision that the cluster still has must be the cluster's."""
        return sum(self.one(file) for file in self.run.backups)

    def one(self, file):
        name = os.path.basename(file)
        if self.tool(name, "verify", "--quiet", file) is None:
            return False
        status = json.loads(self.tool(name, "status", "-w", "json", file) or "null")
        return status is not None and self.restore(name, file, status["revision"], status["hash"])

    def restore(self, name, file, revision, claimed):
        cluster = self.run.cluster
        data = os.path.join(self.run.options.dir, "restored")
        client, peer = cluster.restored_addresses()
        flags = ["--name", "restored", "--data-dir", data, "--initial-cluster", "restored=" + peer, "--initial-advertise-peer-urls", peer,
                 "--initial-cluster-token", f"restored-{name}"]
        shutil.rmtree(data, ignore_errors=True)
        if self.tool(name, "restore", "--quiet", file, *flags) is None:
            return False
        process = cluster.spawn([cluster.binary, *flags, "--listen-client-urls", "http://" + client, "--advertise-client-urls",
                                 "http://" + client, "--listen-peer-urls", peer], os.path.join(self.run.options.dir, "restored.log"))
        restored = Member(client)
        try:
            return self.compare(name, restored, revision, claimed)
        except grpc.RpcError as error:
            self.run.violation(f"{name}, restored, does not serve: {error}")
            return False
        finally:
            process.kill()
            process.wait()
            restored.channel.close()
            shutil.rmtree(data, ignore_errors=True)

    def compare(self, name, restored, revision, claimed):
        at = retry(lambda: restored.get(b"\0"))[1]
        found = retry(lambda: restored.hash(revision))[0] if at == revision else None
        if found != claimed:
            self.run.violation(f"{name} claims revision {revision} with hash {claimed}, and restores to {at} with {found}")
            return False
        member = self.run.cluster.voters()[0].calls
        if compacted(member, revision):
            return True
        if read_state(restored, revision) != read_state(member, revision):
            self.run.violation(f"{name}, restored, has other keys than {member.endpoint} at revision {revision}")
            return False
        return True
