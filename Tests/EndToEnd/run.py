#!/usr/bin/env python3
"""End-to-end tests: the real executables, real sockets, curl. Prints what each figure came out as, as Markdown.

    run.py [--executables DIR] [--full] [--only WORD]... [--soak-minutes NUMBER] [--report FILE]

Without --full the sizes are small, for every day; with it they are those that the project promises.
"""

import argparse
import functools
import os
import subprocess
import sys
import tempfile
import time
import traceback

import checks_attack
import checks_chat
import checks_closing
import checks_failure
import checks_faults
import checks_host
import checks_lifecycle
import checks_limits
import checks_load
import checks_proxy
import checks_soak
import checks_trace
from network import Network, Server, Skipped, descriptors, resident

HERE = os.path.dirname(os.path.abspath(__file__))


class Context:
    """What every check gets: sizes, the network that they share, and the table of figures."""

    def __init__(self, options):
        self.executables = options.executables
        self.full = options.full
        self.soak_minutes = options.soak_minutes
        self.figures = []
        self.network = None
        self.resident = None
        self.scratch = tempfile.mkdtemp(prefix="thor-e2e-scratch-")

    @functools.cached_property
    def data(self):
        """The server that everything is fetched from."""
        return Server("data")

    def beginning(self):
        """Note what each process uses, once."""
        if self.resident is None:
            processes = self.network.processes
            self.resident = {name: resident(pid) for name, pid in processes.items()}
            self.descriptors = {name: descriptors(pid) for name, pid in processes.items()}

    def size(self, small, full):
        return full if self.full else small

    def figure(self, what, wanted, measured):
        self.figures.append((what, wanted, measured))
        print(f"    {what}: {measured} (wanted: {wanted})", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executables", default=os.path.join(HERE, "../../.build/release"))
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", action="append", help="run only checks whose name holds this word")
    parser.add_argument("--soak-minutes", type=float, default=0, help="for how long checks_soak.py plays; 20 s if not given")
    parser.add_argument("--report", help="write the table of figures to this file too")
    options = parser.parse_args()
    options.executables = os.path.realpath(options.executables)

    context = Context(options)
    passed, failed, skipped = [], [], []
    # Order matters: what only looks comes first, what breaks routers last, and each that needs a network of its own
    # runs beside the shared one.
    checks = (checks_lifecycle.CHECKS + checks_closing.CHECKS + checks_load.CHECKS + checks_limits.CHECKS
              + checks_chat.CHECKS + checks_proxy.CHECKS + checks_host.CHECKS + checks_trace.CHECKS
              + checks_attack.CHECKS + checks_failure.CHECKS + checks_faults.CHECKS + checks_soak.CHECKS
              + checks_proxy.BREAKING_CHECKS)
    wanted = [check for check in checks if not options.only or any(word in check.__name__ for word in options.only)]
    try:
        for check in wanted:
            print(f"- {check.__doc__.splitlines()[0]} [{check.__name__}]", flush=True)
            started = time.monotonic()
            try:
                if getattr(check, "shared", False) and context.network is None:
                    context.network = Network(context.executables)
                check(context)
                passed.append(check.__name__)
                print(f"    ok, {time.monotonic() - started:.1f} s", flush=True)
            except Skipped as reason:
                skipped.append(f"{check.__name__} ({reason})")
                print(f"    skipped: {reason}", flush=True)
            except Exception:
                failed.append(check.__name__)
                print("    FAILED\n" + "".join("    " + line for line in traceback.format_exc().splitlines(True)), flush=True)
    finally:
        if context.network is not None:
            network = context.network
            if network.process.poll() is None:
                network.stop()
            if failed:
                print("What thor-testnet said:\n" + network.said())
        subprocess.run(["rm", "-rf", context.scratch])

    table = "| What | Wanted | Came out as |\n| --- | --- | --- |\n"
    table += "".join(f"| {what} | {wanted} | {measured} |\n" for what, wanted, measured in context.figures)
    print("\n" + table)
    if options.report:
        with open(options.report, "w") as file:
            file.write(table)
    print(f"end to end: {len(passed)} passed, {len(failed)} failed" + (f": {', '.join(failed)}" if failed else "")
          + (f"; {len(skipped)} skipped: {', '.join(skipped)}" if skipped else ""))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
