#!/usr/bin/env python3
"""Real programs and raw sockets through a network on this machine. Prints a table; the exit code is 1 if a case fails.

    run.py [--executables DIR] [--full] [--only WORD]... [--group WORD]... [--report FILE]

Programs that are not installed are skipped and named. `make test-programs` installs what there is.
"""

import argparse
import contextlib
import functools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
# Behind the packages: EndToEnd has a socks.py, and so has PySocks, which requests wants.
sys.path.append(os.path.join(HERE, "../EndToEnd"))

import cases
from names import NameServer
from nodes import OwnNetwork
from servers import make_ca
from wire import Echo

# Order matters: what only looks comes first, what weighs on the network last.
import raw_socks5  # noqa: F401
import raw_socks4  # noqa: F401
import raw_http  # noqa: F401
import raw_errors  # noqa: F401
import raw_listeners  # noqa: F401
import raw_streams  # noqa: F401
import raw_isolation  # noqa: F401
import raw_circuits  # noqa: F401
import programs_curl  # noqa: F401
import programs_wrapped  # noqa: F401
import programs_ssh  # noqa: F401
import programs_python  # noqa: F401
import programs_java  # noqa: F401
import programs_browser  # noqa: F401
import leaks  # noqa: F401
import raw_load  # noqa: F401


class Process:
    """A server of ours that prints its port and ends with its standard input."""

    def __init__(self, *command):
        self.process = subprocess.Popen([sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port = int(self.process.stdout.readline())

    def stop(self):
        self.process.stdin.close()
        self.process.wait(10)


class Context:
    """What every case gets. All of it is made when it is first asked for."""

    def __init__(self, options):
        self.executables = options.executables
        self.full = options.full
        self.scratch = tempfile.mkdtemp(prefix="thor-programs-scratch-")
        self.stack = contextlib.ExitStack()
        self.stack.callback(shutil.rmtree, self.scratch, ignore_errors=True)
        self.remark = ""
        self.screenshots = options.screenshots

    def note(self, text):
        self.remark = text

    def size(self, small, full):
        return full if self.full else small

    def keep(self, thing):
        """Stop it at the end."""
        self.stack.callback(thing.stop)
        return thing

    @functools.cached_property
    def names(self):
        return self.keep(NameServer())

    @functools.cached_property
    def network(self):
        return self.keep(OwnNetwork(self.executables, router_options=["--resolver", self.names.address]))

    @property
    def socks(self):
        return self.network.socks

    @functools.cached_property
    def echo(self):
        return Echo()

    @functools.cached_property
    def echo6(self):
        return Echo("::1")

    @functools.cached_property
    def web(self):
        return self.keep(Process(f"{HERE}/web.py"))

    @functools.cached_property
    def certificates(self):
        """(CA, certificate, key), as files."""
        folder = f"{self.scratch}/tls"
        os.makedirs(folder)
        return make_ca(folder)

    @functools.cached_property
    def secure(self):
        return self.keep(Process(f"{HERE}/web.py", *self.certificates[1:]))

    @functools.cached_property
    def password_file(self):
        path = f"{self.scratch}/password"
        with open(path, "w") as file:
            file.write("open sesame\n")
        os.chmod(path, 0o600)
        return path

    @functools.cached_property
    def locked(self):
        """A proxy with a password."""
        return self.network.start_proxy("locked", ["127.0.0.1:0"], ["--password-file", self.password_file]).addresses[0]

    @functools.cached_property
    def strict(self):
        return self.network.start_proxy("strict", ["127.0.0.1:0"], ["--refuse-addresses"]).addresses[0]

    @functools.cached_property
    def strict_names(self):
        return self.network.start_proxy("apart", ["127.0.0.1:0"], ["--isolate-destination"]).addresses[0]

    @functools.cached_property
    def unix_path(self):
        self.many
        return f"{self.scratch}/proxy.socket"

    @functools.cached_property
    def many(self):
        return self.network.start_proxy(
            "many", ["127.0.0.1:0", "127.0.0.1:0", "[::1]:0", f"unix:{self.scratch}/proxy.socket"])

    @functools.cached_property
    def hasty(self):
        """A proxy of a network in which little time passes."""
        network = self.keep(OwnNetwork(self.executables, routers=3, parameters=[
            "exit-connect-timeout-ms=2000", "stream-idle-s=10", "circuit-lifetime-s=4"]))
        self.hasty_network = network
        return network.socks

    @contextlib.contextmanager
    def closed_port(self):
        """A port that refuses, and that nobody else can take meanwhile."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            yield taken.getsockname()[1]

    @contextlib.contextmanager
    def silent_port(self):
        """A port whose queue is full: connecting there is never answered."""
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for _ in range(4):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    filler.connect(listener.getsockname())
            time.sleep(0.2)
            yield listener.getsockname()[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executables", default=os.path.join(HERE, "../../.build/release"))
    parser.add_argument("--full", action="store_true", help="the sizes that the project promises")
    parser.add_argument("--only", action="append", help="run only cases whose name holds this word")
    parser.add_argument("--group", action="append", help="run only groups whose name holds this word")
    parser.add_argument("--report", help="write the table to this file too")
    parser.add_argument("--screenshots", help="keep the browser's screenshots in this directory")
    parser.add_argument("--list", action="store_true", help="print the cases and run none")
    options = parser.parse_args()
    options.executables = os.path.realpath(options.executables)
    wanted = [one for one in cases.CASES
              if (not options.only or any(word in one.name for word in options.only))
              and (not options.group or any(word.lower() in one.group.lower() for word in options.group))]
    if options.list:
        for one in wanted:
            print(f"{one.group}: {one.sentence} [{one.name}]")
        return

    context = Context(options)
    rows, failures = [], []
    with context.stack:
        for one in wanted:
            print(f"- {one.group}: {one.sentence} [{one.name}]", flush=True)
            context.remark, started = "", time.monotonic()
            try:
                if missing := one.missing():
                    raise cases.Skip("not installed: " + ", ".join(missing))
                one.function(context)
                result = "ok"
            except cases.Skip as reason:
                result, context.remark = "skipped", str(reason)
            except Exception as error:
                result = "FAILED"
                context.remark = (str(error).splitlines() or [repr(error)])[0][:200]
                failures.append(one.name)
                print("".join("    " + line for line in traceback.format_exc().splitlines(True)), flush=True)
            seconds = time.monotonic() - started
            print(f"    {result}, {seconds:.1f} s{': ' + context.remark if context.remark else ''}", flush=True)
            rows.append((one.group, one.sentence, result, f"{seconds:.1f}", context.remark))
        if failures and "network" in context.__dict__:
            print("What the daemons said:\n" + context.network.said()[-6000:])

    table = "| Group | Case | Result | s | |\n| --- | --- | --- | --- | --- |\n"
    table += "".join("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |\n" for row in rows)
    print("\n" + table)
    if options.report:
        with open(options.report, "w") as file:
            file.write(table)
    count = {result: sum(row[2] == result for row in rows) for result in ("ok", "FAILED", "skipped")}
    print(f"real programs: {count['ok']} passed, {count['FAILED']} failed, {count['skipped']} skipped"
          + (f"; failed: {', '.join(failures)}" if failures else ""))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
