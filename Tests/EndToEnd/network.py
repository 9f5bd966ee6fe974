"""A test network under test: starts thor-testnet, knows its processes, and looks at it from outside."""

import atexit
import base64
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))


class Skipped(Exception):
    """A check that this machine does not allow, and why."""


def wait_for(condition, seconds, step=0.05):
    """Return what `condition` returned once it is true; None when the time is over."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            return None
        time.sleep(step)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def resident(pid):
    """Resident memory in bytes."""
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) << 10
    return 0


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def processes_naming(text):
    """The ids of processes that have `text` in their command line, this one excepted."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    if text.encode() in file.read() and is_alive(int(name)):
                        found.append(int(name))
            except OSError:
                pass
    return found


class Server:
    """One of servers.py, in a process of its own."""

    def __init__(self, kind, *arguments):
        self.process = subprocess.Popen([sys.executable, f"{HERE}/servers.py", kind, *arguments],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port = int(self.process.stdout.readline())

    def stop(self):
        self.process.stdin.close()
        self.process.wait(10)


class Network:
    """thor-testnet and what it started."""

    def __init__(self, executables, routers=5, extra=(), prefix=()):
        self.executables = executables
        self.directory = tempfile.mkdtemp(prefix="thor-e2e-")
        atexit.register(shutil.rmtree, self.directory, ignore_errors=True)
        self.json_path = f"{self.directory}/network.json"
        self.output = open(f"{self.directory}/output", "w+")
        started = time.monotonic()
        self.process = subprocess.Popen(
            [*prefix, f"{executables}/thor-testnet", "--routers", str(routers), "--listen", "127.0.0.1:0",
             "--json", self.json_path, *extra],
            stdout=self.output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            # Not in our group: Ctrl-C for the tests is not Ctrl-C for the network.
            start_new_session=True)
        if not wait_for(lambda: os.path.exists(self.json_path) or self.process.poll() is not None, 90):
            self.kill()
            raise AssertionError("the network was not ready in 90 s:\n" + self.said())
        if self.process.poll() is not None:
            raise AssertionError(f"thor-testnet ended with {self.process.returncode}:\n" + self.said())
        self.seconds_to_ready = time.monotonic() - started
        with open(self.json_path) as file:
            self.json = json.load(file)
        self.socks = self.json["socks"]
        self.state = self.json["stateDirectory"]

    def said(self):
        self.output.flush()
        with open(self.output.name) as file:
            return file.read()

    @property
    def processes(self):
        """Every daemon by name."""
        all = {"directory": self.json["directory"]["pid"], "proxy": self.json["proxy"]["pid"]}
        all.update({router["nickname"]: router["pid"] for router in self.json["routers"]})
        return all

    def leftovers(self):
        """What is still there: processes, and the state directory."""
        left = [f"{name} ({pid})" for name, pid in self.processes.items() if is_alive(pid)]
        left += [f"process {pid}" for pid in processes_naming(self.state)]
        if os.path.exists(self.state):
            left.append(self.state)
        if os.path.exists(self.json_path):
            left.append(self.json_path)
        return left

    def status(self):
        """What `thor-proxy status --json` says."""
        result = subprocess.run(
            [f"{self.executables}/thor-proxy", "status", "--json", "--state", f"{self.state}/proxy"],
            capture_output=True, text=True, timeout=10)
        if result.returncode != 0:
            raise AssertionError(f"thor-proxy status: {result.stderr}")
        return json.loads(result.stdout)

    def stop(self, number=signal.SIGINT, seconds=15):
        """Ask it to end; return how many seconds that took."""
        started = time.monotonic()
        os.kill(self.process.pid, number)
        self.process.wait(seconds)
        return time.monotonic() - started

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def identity(fingerprint):
    """The 32 bytes of a fingerprint as people see it."""
    return base64.urlsafe_b64decode(fingerprint + "=")


class DirectoryObserver:
    """Asks the directory server for the consensus in its own protocol, as a client that trusts nobody would not."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(["thor-dir/1"])
        raw = socket.create_connection((host, int(port)), timeout=10)
        self.connection = context.wrap_socket(raw)
        if self.connection.selected_alpn_protocol() != "thor-dir/1":
            raise AssertionError("the directory server does not speak thor-dir/1")
        kind, _ = self.frame()
        if kind != 1:
            raise AssertionError(f"the first frame is not Hello but {kind}")
        self.revision = 0

    def frame(self):
        header = self.receive(5)
        length, kind = struct.unpack(">IB", header)
        return kind, self.receive(length)

    def receive(self, count):
        data = b""
        while len(data) < count:
            part = self.connection.recv(count - len(data))
            if not part:
                raise ConnectionError("the directory server closed the connection")
            data += part
        return data

    def consensus(self, timeout=40):
        """Wait for a consensus newer than the last one; None when the directory says there is none."""
        self.connection.settimeout(timeout)
        self.connection.sendall(struct.pack(">IBQ", 8, 6, self.revision))
        kind, body = self.frame()
        if kind == 7:
            self.revision = struct.unpack(">Q", body[1:9])[0]
            return body
        return None

    def wait_until(self, condition, seconds):
        """Ask until `condition(consensus)` holds; return the seconds it took, or None."""
        started = time.monotonic()
        while (left := seconds - (time.monotonic() - started)) > 0:
            try:
                body = self.consensus(timeout=left)
            except TimeoutError:
                return None
            if body is not None and condition(body):
                return time.monotonic() - started
        return None

    def close(self):
        self.connection.close()
