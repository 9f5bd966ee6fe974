"""A network of our own making: like thor-testnet's, but its routers ask our name server, and it can live in a namespace."""

import atexit
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time

# What thor-testnet sets, so that one user may load one machine.
PARAMETERS = [
    "allow-loopback=1", "allow-same-subnet=1", "allow-one-hop-begin=1", "streams-per-circuit=8192",
    "begins-per-second=100000", "begin-burst=100000", "resolves-per-circuit=4096", "resolves-total=16384",
    "circuits-per-client-link=16384", "creates-per-second=10000", "create-burst=10000", "handshake-queue-per-link=1024",
    "connections-per-address=8192", "half-open-per-address=4096", "connects-per-second=10000", "connect-burst=10000",
]
OPEN_LOOPBACK = ["--exit-policy", "accept 127.0.0.0/8:*", "--exit-policy", "accept [::1]/128:*"]
COUNTRIES = ["SE", "NO", "DK", "IS", "FI", "DE", "CH", "NL"]


class Daemon:
    """One of the daemons: what it printed, and when it is ready."""

    def __init__(self, network, name, command, prefix=()):
        self.name = name
        self.log = open(f"{network.directory}/{name}.log", "w")
        self.process = subprocess.Popen(
            [*prefix, f"{network.executables}/{command[0]}", *command[1:], "--exit-with-parent"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, start_new_session=True)
        self.addresses = []
        self.lines = []
        self.changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.strip())
                if match := re.match(r"listening (\S+)", line):
                    self.addresses.append(match.group(1))
                self.changed.notify_all()
        with self.changed:
            self.lines.append("(ended)")
            self.changed.notify_all()

    def wait(self, condition, seconds=60):
        with self.changed:
            self.changed.wait_for(lambda: condition() or "(ended)" in self.lines, seconds)
            if not condition():
                raise AssertionError(f"{self.name} did not come up: {self.lines}\n{self.said()}")

    def ready(self, seconds=60):
        self.wait(lambda: "ready" in self.lines, seconds)

    def said(self):
        self.log.flush()
        with open(self.log.name) as file:
            return file.read()

    @property
    def pid(self):
        return self.process.pid

    def stop(self):
        """Ask it to end; kill it if it does not."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(6)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


class OwnNetwork:
    """A directory server, routers, and a proxy.

    `where(name)` gives the words that come before a daemon's command, such as `ip netns exec NAME`; `address(name)` where
    it listens.
    """

    def __init__(self, executables, routers=5, parameters=(), router_options=(), proxy_options=(), listen=("127.0.0.1:0",),
                 where=lambda name: (), address=lambda name: "127.0.0.1", router_policy=tuple(OPEN_LOOPBACK)):
        self.executables = executables
        self.directory = tempfile.mkdtemp(prefix="thor-programs-")
        atexit.register(shutil.rmtree, self.directory, ignore_errors=True)
        self.where = where
        self.daemons = []
        started = time.monotonic()
        try:
            self._key("directory")
            options = [word for text in [*PARAMETERS, *parameters] for word in ("--parameter", text)]
            self.ds = self._start("directory", [
                "thor-directory", self._path("directory.key"), "--listen", f"{address('directory')}:0",
                "--open-registration", *options])
            self.ds.ready()
            self.routers = []
            for index in range(routers):
                name = f"router{index}"
                self._key(name)
                extra = router_options(index) if callable(router_options) else router_options
                self.routers.append(self._start(name, [
                    "thor-router", self.ds.addresses[0], self._path("directory.pub"), self._path(f"{name}.key"),
                    "--listen", f"{address(name)}:0", "--nickname", name, "--country", COUNTRIES[index % len(COUNTRIES)],
                    *router_policy, *extra]))
            for router in self.routers:
                router.ready()
            self.proxy = self.start_proxy("proxy", listen, proxy_options)
        except BaseException:
            self.stop()
            raise
        self.seconds_to_ready = time.monotonic() - started
        self.socks = self.proxy.addresses[0]

    def start_proxy(self, name, listen, options=(), waits=True):
        """Start a proxy, another one perhaps."""
        places = [word for place in listen for word in ("--listen", place)]
        proxy = self._start(name, [
            "thor-proxy", self.ds.addresses[0], self._path("directory.pub"), *places, *options])
        if waits:
            proxy.ready()
        return proxy

    def _path(self, name):
        return f"{self.directory}/{name}"

    def _key(self, name):
        for arguments in (("generate", self._path(f"{name}.key")),
                          ("public", self._path(f"{name}.key"), self._path(f"{name}.pub"))):
            subprocess.run([f"{self.executables}/thor-keys", *arguments], check=True, capture_output=True)

    def _start(self, name, command):
        daemon = Daemon(self, name, [*command, "--state", self._path(f"state-{name}")], self.where(name))
        self.daemons.append(daemon)
        return daemon

    def state(self, name="proxy"):
        return self._path(f"state-{name}")

    def status(self, name="proxy"):
        """What `thor-proxy status --json` says."""
        import json
        result = subprocess.run([f"{self.executables}/thor-proxy", "status", "--json", "--state", self.state(name)],
                                capture_output=True, text=True, timeout=10)
        if result.returncode != 0:
            raise AssertionError(f"thor-proxy status: {result.stderr}")
        return json.loads(result.stdout)

    @property
    def processes(self):
        """Every daemon's id by name."""
        return {daemon.name: daemon.pid for daemon in self.daemons}

    def said(self):
        return "\n".join(f"{daemon.name}: {daemon.said()}" for daemon in self.daemons)

    def stop(self):
        for daemon in reversed(self.daemons):
            daemon.stop()
