"""Three network namespaces: a user's machine, from which only the nodes can be reached; the nodes; and the world behind them.

    user 44.0.0.2 ───────── 44.0.0.1 core 45.0.0.1 ───────── 45.0.0.80 world

Addresses are public ones, as exits want; no packet leaves the namespaces. The user's default route leads to the core, which
forwards nothing: whatever else the user's machine tries can be seen, and comes to nothing.
"""

import json
import os
import subprocess
import sys

from nodes import OwnNetwork

HERE = os.path.dirname(os.path.abspath(__file__))
USER, CORE, CORE_OUTSIDE, WORLD = "44.0.0.2", "44.0.0.1", "45.0.0.1", "45.0.0.80"
# In the core's network: nobody there at all, and somebody who never answers.
NOBODY, SILENT = "45.0.0.98", "45.0.0.99"
ELSEWHERE = "46.0.0.1"


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


def can_make_namespaces():
    """Whether this user may, and the machine can."""
    name = f"thor-try-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode != 0:
        return False
    works = subprocess.run(["ip", "-n", name, "link", "add", "one", "type", "veth", "peer", "name", "two"],
                           capture_output=True).returncode == 0
    subprocess.run(["ip", "netns", "delete", name], capture_output=True)
    return works


class Helper:
    """A program of ours in a namespace, which ends with its standard input."""

    def __init__(self, prefix, *command):
        self.process = subprocess.Popen([*prefix, sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        self.first = self.process.stdout.readline().strip()

    def stop(self):
        """End it, once; return what it said meanwhile."""
        return "" if self.process.stdin.closed else self.process.communicate(timeout=10)[0]


class Lab:
    def __init__(self, executables):
        self.names = {place: f"thor-{os.getpid()}-{place}" for place in ("user", "core", "world")}
        self.helpers = []
        self.network = None
        try:
            for name in self.names.values():
                ip("netns", "add", name)
                ip("-n", name, "link", "set", "lo", "up")
            self._wire("user", USER, "core", CORE)
            self._wire("world", WORLD, "core", CORE_OUTSIDE)
            ip("-n", self.names["user"], "route", "add", "default", "via", CORE)
            ip("-n", self.names["core"], "neigh", "add", SILENT, "lladdr", "02:00:00:00:00:63", "dev", "to-world", "nud", "permanent")
            self.web = int(self.helper("world", f"{HERE}/lab_web.py", WORLD).first)
            self.resolver = f"{WORLD}:" + self.helper(
                "world", f"{HERE}/names.py", WORLD, f"www.test={WORLD}", f"half.test={WORLD},2a00::1").first
            self.network = OwnNetwork(
                executables, routers=4, router_options=["--resolver", self.resolver], router_policy=(),
                where=lambda name: self.prefix("user" if name.startswith("proxy") else "core"), address=lambda name: CORE,
                parameters=["exit-connect-timeout-ms=5000"])
        except BaseException:
            self.stop()
            raise
        self.socks = self.network.socks

    def _wire(self, one, one_address, other, other_address):
        ip("-n", self.names[one], "link", "add", f"to-{other}", "type", "veth", "peer", "name", f"to-{one}", "netns",
           self.names[other])
        for place, address, device in ((one, one_address, f"to-{other}"), (other, other_address, f"to-{one}")):
            ip("-n", self.names[place], "address", "add", f"{address}/24", "dev", device)
            ip("-n", self.names[place], "link", "set", device, "up")

    def prefix(self, place):
        return ["ip", "netns", "exec", self.names[place]]

    def helper(self, place, *command):
        helper = Helper(self.prefix(place), *command)
        self.helpers.append(helper)
        return helper

    def run(self, *command, place="user", **options):
        """Run a program of the user's."""
        return subprocess.run([*self.prefix(place), *command], capture_output=True, text=options.pop("text", True),
                              timeout=options.pop("timeout", 90), stdin=subprocess.DEVNULL, **options)

    def watch(self):
        """Begin to watch what leaves the user's machine; `seen` ends it."""
        helper = self.helper("user", f"{HERE}/capture.py", "to-core")
        assert helper.first == "watching"
        return helper

    @staticmethod
    def seen(watcher):
        return json.loads(watcher.stop())

    def stop(self):
        if self.network is not None:
            self.network.stop()
        for helper in self.helpers:
            helper.stop()
        for name in self.names.values():
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)
