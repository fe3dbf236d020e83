#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Changes the database of a member that does not run; live, of one that does.

    damage.py hash DATABASE DELTA    add DELTA to the hash of all records that were ever applied, as if one had
                                     been another; the checksum over the state is made to fit
    damage.py value DATABASE KEY     turn a bit of the newest value of KEY; its checksum is left as it is
    damage.py live DATABASE TEXT     turn a bit of TEXT, wherever it is in the file
"""
import sqlite3
import struct
import sys

HASH = 6  # places in the row of meta, behind the id
HASHES = (HASH, 12, 14)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def checksum(values):
    return crc32c(b"".join(v if i in HASHES else struct.pack("<Q", v & (1 << 64) - 1)
                           for i, v in enumerate(values)))


def change_hash(db, delta):
    values = list(db.execute("SELECT * FROM meta").fetchone()[1:])
    if checksum(values[:-1]) != values[-1]:
        sys.exit("damage.py: the state's checksum is not what this program makes of it")
    low, high = struct.unpack("<QQ", values[HASH])
    values[HASH] = struct.pack("<QQ", low + delta & (1 << 64) - 1, high)
    db.execute("UPDATE meta SET hash = ?, checksum = ?", (values[HASH], checksum(values[:-1])))


def change_value(db, key):
    for rev, hdr, val in db.execute("SELECT rev, hdr, val FROM log ORDER BY rev DESC").fetchall():
        if key.encode() in hdr and val:
            db.execute("UPDATE log SET val = ? WHERE rev = ?", (bytes([val[0] ^ 1]) + val[1:], rev))
            print(rev >> 20)
            return
    sys.exit(f"damage.py: no value of {key}")


def change_file(path, text):
    with open(path, "r+b") as file:
        at = file.read().find(text.encode())
        if at < 0:
            sys.exit(f"damage.py: no {text} in the file")
        file.seek(at)
        file.write(bytes([text.encode()[0] ^ 1]))


def main():
    what, path, argument = sys.argv[1:]
    if what == "live":
        change_file(path, argument)
        return
    db = sqlite3.connect(path)
    if what == "hash":
        change_hash(db, int(argument))
    else:
        change_value(db, argument)
    db.commit()
    db.close()


main()
