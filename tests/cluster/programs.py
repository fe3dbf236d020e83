# SPDX-License-Identifier: Apache-2.0
"""Where the programs under test are."""
import os
import shutil
import sys

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
BUILDS = ["build", "build/check", "build/quickstart"]


def find_program(who, name, given):
    """As scripts/cluster finds the server: what was given; where $TRIVET_BUILD says; else in the folders that the README and the
    scripts build in, or the PATH's."""
    build = os.environ.get("TRIVET_BUILD")
    if given:
        places = [given]
    elif build:
        places = [os.path.join(build, name)]
    else:
        places = [*(os.path.join(TOP, folder, name) for folder in BUILDS), shutil.which(name)]
    for place in places:
        if place and os.access(place, os.X_OK):
            return os.path.realpath(place)
    sys.exit(f"{who}: no {name} found ({', '.join(filter(None, places))}): build it first (scripts/quickstart does), or give its place")
