#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a member tells the first who reaches it: first_answer.py ENDPOINT KEY.

It calls the port until that is open, reads the key as the member has it, and prints the value, or "nothing".
"""
import socket
import sys
import time

import grpc
from etcd3.etcdrpc import rpc_pb2 as pb

RANGE = "/etcdserverpb.KV/Range"
PATIENCE_SECONDS = 60


def wait_until_open(endpoint):
    host, port = endpoint.rsplit(":", 1)
    limit = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            socket.create_connection((host, int(port))).close()
            return
        except OSError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.001)


def main():
    endpoint, key = sys.argv[1:]
    wait_until_open(endpoint)
    call = grpc.insecure_channel(endpoint).unary_unary(RANGE, request_serializer=pb.RangeRequest.SerializeToString,
                                                       response_deserializer=pb.RangeResponse.FromString)
    answer = call(pb.RangeRequest(key=key.encode(), serializable=True), timeout=PATIENCE_SECONDS)
    print(answer.kvs[0].value.decode() if answer.kvs else "nothing", flush=True)


if __name__ == "__main__":
    main()
