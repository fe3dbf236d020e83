#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Members as processes, each in a network and on a disk of its own, under faults; clients write down what they see, and the
history is checked. The seed decides which faults there are, in which order; docs/testing.md tells what each does.
"""
import argparse
import os
import random
import shlex
import shutil
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..")]

from cluster.programs import find_program

import sandbox
import schedule

WORKLOADS = ["register", "set", "append", "wr", "lock", "watch", "lease", "bank"]


def parse_options():
    parser = argparse.ArgumentParser(prog="faults", description=__doc__, epilog="Arguments after -- are flags for each member.",
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", default="register", help=f"separated by commas, or all: {', '.join(WORKLOADS)}")
    parser.add_argument("--faults", default="all", help=f"groups or single kinds, separated by commas; all, none, {', '.join(schedule.GROUPS)}")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--members", type=int, choices=(3, 5), default=3)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--rate", type=int, default=200, help="operations a second, at most (default 200)")
    parser.add_argument("--clients", type=int, default=20, help="at once (default 20)")
    parser.add_argument("--timeout", type=float, default=2, help="seconds of a call (default 2)")
    parser.add_argument("--pace", type=float, default=1, help="so many times as long between and during faults (default 1)")
    parser.add_argument("--heal-max", type=float, default=60, help="seconds after which everything must be well again (default 60)")
    parser.add_argument("--ops-min", type=int, help="fewer answers make the run void (default: a tenth of what was asked for)")
    parser.add_argument("--faults-min", type=int, help="fewer faults make the run void (default: one each 30 s)")
    parser.add_argument("--dir", help="for data, logs and histories, and kept; default: a fresh one, kept only when something is wrong")
    parser.add_argument("--svg", help="where to draw the run (default: in the directory)")
    parser.add_argument("--binary", help="the server (default: as scripts/cluster finds it)")
    parser.add_argument("--quiet", action="store_true", help="say nothing until the end")
    parser.add_argument("--no-sandbox", action="store_true", help="without namespaces: those faults that work without")
    parser.add_argument("--list", action="store_true", help="print the steps of this seed for so many minutes, and do nothing")
    parser.add_argument("flags", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        options.kinds = schedule.parse(options.faults)
    except ValueError as error:
        parser.error(str(error))
    options.workload = ",".join(WORKLOADS) if options.workload == "all" else options.workload
    unknown = set(options.workload.split(",")) - set(WORKLOADS)
    if unknown:
        parser.error(f"no workload '{min(unknown)}': it is all, or of {', '.join(WORKLOADS)}")
    seconds = 60 * options.minutes
    options.ops_min = int(options.rate * seconds / 10) if options.ops_min is None else options.ops_min
    options.faults_min = int(seconds / 30) * bool(options.kinds) if options.faults_min is None else options.faults_min
    return options


def find_parts(options):
    options.binary = find_program("faults", "trivetd", options.binary)
    build = os.path.dirname(options.binary)
    options.switch = os.path.join(build, "tests/faults/trivet-faults-switch")
    options.client = os.path.join(build, "tests/faults/trivet-faults-client")
    options.checker = os.path.join(build, "tests/history/trivet-history")
    backup = os.path.join(build, "trivet-backup")
    options.backup_program = backup if os.access(backup, os.X_OK) else None
    if not os.access(options.client, os.X_OK):
        sys.exit(f"faults: there is no {options.client}: build it first (make)")


def command_again(options):
    words = ["scripts/faults", "--workload", options.workload, "--faults", options.faults, "--minutes", f"{options.minutes:g}",
             "--members", str(options.members), "--seed", str(options.seed), "--rate", str(options.rate), "--clients",
             str(options.clients), "--pace", f"{options.pace:g}"]
    return shlex.join(words + (["--", *options.flags] if options.flags else []))


def print_steps(options):
    begin = 0
    for step in schedule.steps(options.seed, options.kinds, options.pace):
        begin += step.gap
        if begin > 60 * options.minutes:
            return
        print(f"{step.number:4} {begin:7.1f} s  {step.hold:4.1f} s  {' + '.join(step.kinds)}")
        begin += step.hold


def end_by_signal(*_):
    sys.exit(1)


def main():
    options = parse_options()
    if options.list:
        print_steps(options)
        return
    find_parts(options)
    sandbox.sweep()
    keep = options.dir is not None
    options.dir = sandbox.make_folder(options.dir)
    options.outside_pid = os.getpid()
    options.again = command_again(options)
    options.with_clock = any(schedule.group_of(k) == "clock" for k in options.kinds)
    sys.stdout.flush()
    no_sandbox = "as asked for" if options.no_sandbox else sandbox.enter()
    signal.signal(signal.SIGTERM, end_by_signal)
    signal.signal(signal.SIGHUP, end_by_signal)
    print(f"seed {options.seed}, {options.members} members of {options.binary}"
          + (f"; no namespaces: {no_sandbox}" if no_sandbox else ""), flush=True)
    from run import Run  # grpc has threads: only now, in the process that stays
    run = Run(options, no_sandbox)
    status = run.execute()
    finish(run, keep or status != 0 and not run.interrupted)
    sys.stdout.flush()
    os._exit(status)  # channels that still connect would be waited for


def finish(run, keep):
    """What is kept is readable without the run's mounts."""
    if not keep:
        shutil.rmtree(run.options.dir, ignore_errors=True)
        return
    with open(os.path.join(run.options.dir, "kept"), "w", encoding="utf-8"):
        pass
    for number, disk in enumerate(run.cluster.disks):
        if run.violations:
            shutil.copytree(disk.path, os.path.join(run.options.dir, f"data{number}"), dirs_exist_ok=True,
                            ignore=shutil.ignore_patterns("lost+found", "balloon"))
        os.unlink(disk.image)


if __name__ == "__main__":
    main()
