# SPDX-License-Identifier: Apache-2.0
"""Where the server under test is."""
import os
import shutil
import sys

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))


def find_binary(who, given):
    """As scripts/cluster finds it: $TRIVET_BUILD, build/, build/check/, the PATH's."""
    build = os.environ.get("TRIVET_BUILD")
    for path in [given, build and os.path.join(build, "trivetd"), os.path.join(TOP, "build/trivetd"),
                 os.path.join(TOP, "build/check/trivetd"), shutil.which("trivetd")]:
        if path and os.access(path, os.X_OK):
            return os.path.realpath(path)
    sys.exit(f"{who}: no trivetd found: build it first (scripts/quickstart does), or give --binary")
