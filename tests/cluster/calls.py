# SPDX-License-Identifier: Apache-2.0
"""Calls to a member, as the tests in Python make them."""
import os
import time

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # the commands that kill are processes; calls go on meanwhile
# Calls that fail at once do not wait for the connection that they want; else nothing looks after it for five seconds.
os.environ["GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS"] = "100"

import grpc
from etcd3.etcdrpc import rpc_pb2 as pb

KV = "/etcdserverpb.KV/"
CALL_SECONDS = 3


class Member:
    """Calls to one endpoint."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.min_reconnect_backoff_ms", 1000),
                   ("grpc.max_reconnect_backoff_ms", 200)]
        self.channel = grpc.insecure_channel(endpoint, options=options)

    def call(self, method, request, answer_type, seconds=CALL_SECONDS):
        return self.channel.unary_unary(method, request_serializer=lambda m: m.SerializeToString(),
                                        response_deserializer=answer_type.FromString)(request, timeout=seconds)

    def put(self, key, value):
        return self.call(KV + "Put", pb.PutRequest(key=key, value=value), pb.PutResponse).header.revision

    def get(self, key, seconds=CALL_SECONDS):
        answer = self.call(KV + "Range", pb.RangeRequest(key=key), pb.RangeResponse, seconds)
        return (answer.kvs[0] if answer.kvs else None), answer.header.revision

    def swap(self, key, mod_revision, value):
        compare = pb.Compare(key=key, target=pb.Compare.MOD, result=pb.Compare.EQUAL, mod_revision=mod_revision)
        put = pb.RequestOp(request_put=pb.PutRequest(key=key, value=value))
        answer = self.call(KV + "Txn", pb.TxnRequest(compare=[compare], success=[put]), pb.TxnResponse)
        return answer.succeeded, answer.header.revision

    def hash(self, revision):
        answer = self.call("/etcdserverpb.Maintenance/HashKV", pb.HashKVRequest(revision=revision), pb.HashKVResponse, 10)
        return answer.hash, answer.compact_revision

    def status(self):
        return self.call("/etcdserverpb.Maintenance/Status", pb.StatusRequest(), pb.StatusResponse, 2)


def retry(action, seconds=90):
    """The result of ACTION, tried until it works; the last error after SECONDS."""
    limit = time.monotonic() + seconds
    while True:
        try:
            return action()
        except grpc.RpcError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.2)
