"""The networks that are compared: Thor, and beside it C Tor, a chain of ssh hops, and a plain SOCKS forwarder.

Each is a context manager that starts its processes on free loopback ports with their state in a directory of their own,
and stops them again. Once entered it has `socks` (its address) and `roles` (a name for each part, and its processes).
"""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time

import measure
from measure import MeasureError


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until(is_true, seconds, what):
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            raise MeasureError(f"{what} did not happen within {seconds} s")
        time.sleep(0.1)


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
        return True
    except OSError:
        return False


class Peer:
    """What all have in common: a temporary directory, and processes that end with it."""

    name = ""
    version = ""
    # Whether SOCKS user names are understood, as different users.
    has_users = True

    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="onion-bench-"))
        self.processes = []
        self.socks = None
        self.roles = {}

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            measure.stop(process, 15)
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self):
        raise NotImplementedError

    def run(self, name, command, **options):
        log = open(self.directory / f"{name}.log", "wb")
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self.directory, **options)
        log.close()
        self.processes.append(process)
        return process

    def log_tail(self, name):
        text = (self.directory / f"{name}.log").read_text(errors="replace")
        return " / ".join(text.strip().splitlines()[-4:])


class Thor(Peer):
    """thor-testnet with three routers, so that the path is the same three, in some order."""

    name = "Thor"

    def __init__(self, executables, environment=None):
        super().__init__()
        self.executables = pathlib.Path(executables).resolve()
        self.environment = environment
        self.description = {}

    def start(self):
        program = self.executables / "thor-testnet"
        if not program.exists():
            raise MeasureError(f"there is no {program}: swift build -c release")
        description = self.directory / "network.json"
        process = self.run(
            "testnet",
            [str(program), "--routers", "3", "--listen", "127.0.0.1:0", "--state", str(self.directory / "state"),
             "--json", str(description)], env={**os.environ, **(self.environment or {})})
        wait_until(lambda: description.exists() or process.poll() is not None, 60, "the start of thor-testnet")
        if process.poll() is not None:
            raise MeasureError(f"thor-testnet ended: {self.log_tail('testnet')}")
        self.description = json.loads(description.read_text())
        self.socks = self.description["socks"]
        self.roles = measure.testnet_roles(self.description)
        done = subprocess.run([str(self.executables / "thor-proxy"), "--version"], capture_output=True, text=True)
        self.version = done.stdout.strip()

    def circuit_command(self, program, *options):
        directory = self.description["directory"]
        return [str(pathlib.Path(program).resolve()), directory["address"], directory["publicKeyFile"], *map(str, options)]

    def circuits_per_second(self, program, count, concurrency):
        """Have onion-circuits build circuits, as a client of its own."""
        if not pathlib.Path(program).exists():
            raise MeasureError(f"there is no {program}: swift build --package-path Benchmarks -c release")
        done = subprocess.run(
            self.circuit_command(program, "--count", count, "--concurrency", concurrency), capture_output=True,
            text=True, timeout=120)
        if done.returncode != 0:
            raise MeasureError(f"onion-circuits: {done.stderr.strip()[-300:]}")
        return json.loads(done.stdout)["perSecond"]

    def kibibytes_per_idle_circuit(self, program, count):
        """Let `count` circuits stand idle; return what each adds to a router's memory, by role."""
        before = {role: measure.resident_mebibytes(pids()) for role, pids in self.roles.items()}
        holder = subprocess.Popen(
            self.circuit_command(program, "--hold", count, "--concurrency", 100), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            line = measure.read_line(holder, 180)
            if not line.startswith("holding"):
                raise MeasureError(f"onion-circuits: {line} {holder.stderr.read().strip()[-300:]}")
            return {role: (measure.resident_mebibytes(pids()) - before[role]) * 1024 / count
                    for role, pids in self.roles.items() if role.startswith("router")}
        finally:
            holder.stdin.close()
            measure.stop(holder)


class Tor(Peer):
    """C Tor, three relays and an authority, tuned to its best; the path is pinned."""

    name = "C Tor"
    parameters = (
        "cc_alg=2 cc_cwnd_init=1000 cc_cwnd_min=1000 cc_cwnd_max=2000 cc_vegas_alpha_exit=900 cc_vegas_beta_exit=950 "
        "cc_vegas_gamma_exit=900 cc_vegas_delta_exit=2000 cc_sscap_exit=4000")

    def start(self):
        tor, gencert = shutil.which("tor"), shutil.which("tor-gencert")
        if not tor or not gencert:
            raise MeasureError("tor or tor-gencert is not installed (apt-get install tor)")
        self.version = subprocess.run([tor, "--version"], capture_output=True, text=True).stdout.splitlines()[0]
        self.ports = {name: (free_port(), free_port()) for name in ("directory", "relay1", "relay2", "relay3")}
        identity = self.authority_key(gencert)
        fingerprints = {name: self.fingerprint(tor, name) for name in self.ports}
        authority = (
            f"DirAuthority bench orport={self.ports['directory'][0]} no-v2 v3ident={identity} "
            f"127.0.0.1:{self.ports['directory'][1]} {fingerprints['directory']}\n")
        for name in self.ports:
            self.write_router(name, authority, fingerprints)
        self.client_port, self.control_port = free_port(), free_port()
        self.write_client(authority, fingerprints)
        self.path = [fingerprints[f"relay{index}"] for index in (1, 2, 3)]
        started = {name: self.run(name, [tor, "-f", str(self.directory / name / "torrc")])
                   for name in [*self.ports, "client"]}
        wait_until(lambda: "Bootstrapped 100%" in (self.directory / "client.log").read_text(errors="replace")
                   or any(process.poll() is not None for process in started.values()), 150, "the start of C Tor")
        for name, process in started.items():
            if process.poll() is not None:
                raise MeasureError(f"tor ({name}) ended: {self.log_tail(name)}")
        self.version += " " + self.layer_cipher()
        self.socks = f"127.0.0.1:{self.client_port}"
        roles = {"proxy": "client", "router 1": "relay1", "router 2": "relay2", "router 3": "relay3",
                 "directory": "directory"}
        self.roles = {role: (lambda pid=started[name].pid: [pid]) for role, name in roles.items()}

    def layer_cipher(self):
        """Which layer cipher the relays offer, from the consensus; a client of the same version takes the best."""
        files = [self.directory / "client" / name for name in ("cached-microdesc-consensus", "cached-consensus")]
        text = next((file.read_text() for file in files if file.exists()), "")
        offers = re.findall(r"^pr .*\bRelay=(\S+)", text, re.MULTILINE)
        has_cgo = bool(offers) and all(re.search(r"(^|[-,])6\b", offer) for offer in offers)
        return "Layer cipher: " + ("Counter Galois Onion" if has_cgo else f"AES-CTR (Relay={offers[:1]})")

    def authority_key(self, gencert):
        keys = self.directory / "directory" / "keys"
        keys.mkdir(parents=True)
        os.chmod(self.directory / "directory", 0o700)
        os.chmod(keys, 0o700)
        done = subprocess.run(
            [gencert, "--create-identity-key", "-m", "12", "-a", f"127.0.0.1:{self.ports['directory'][1]}",
             "--passphrase-fd", "0"], cwd=keys, input="bench\n", capture_output=True, text=True)
        certificate = keys / "authority_certificate"
        if done.returncode != 0 or not certificate.exists():
            raise MeasureError(f"tor-gencert: {done.stderr.strip()[-300:]}")
        return re.search(r"^fingerprint ([0-9A-F]{40})$", certificate.read_text(), re.MULTILINE)[1]

    def fingerprint(self, tor, name):
        data = self.directory / name
        data.mkdir(mode=0o700, exist_ok=True)
        done = subprocess.run(
            [tor, "--ignore-missing-torrc", "-f", "none", "--defaults-torrc", "none", "--list-fingerprint",
             "--orport", str(self.ports[name][0]), "--nickname", name, "--datadirectory", str(data),
             "--dirserver", "x 127.0.0.1:1 " + "F" * 40, "--quiet"],
            capture_output=True, text=True, cwd=self.directory)
        found = re.search(r"^\S+ ((?:[0-9A-F]{4} ?){10})$", done.stdout, re.MULTILINE)
        if not found:
            raise MeasureError(f"tor --list-fingerprint: {done.stdout.strip()} {done.stderr.strip()}")
        return found[1].replace(" ", "")

    def common(self, name, authority):
        return (
            f"TestingTorNetwork 1\n{authority}DataDirectory {self.directory / name}\nNickname {name}\n"
            "Address 127.0.0.1\nRunAsDaemon 0\nLog notice stdout\nShutdownWaitLength 0\nAvoidDiskWrites 1\n"
            "Schedulers KIST\nKISTSchedRunInterval 1 msec\nSafeLogging 1\nUseDefaultFallbackDirs 0\n")

    def write_router(self, name, authority, fingerprints):
        or_port, dir_port = self.ports[name]
        text = self.common(name, authority) + (
            f"ORPort 127.0.0.1:{or_port}\nSocksPort 0\nAssumeReachable 1\nExitRelay 1\nExitPolicyRejectPrivate 0\n"
            "ExitPolicy accept *:*\nDoSCircuitCreationEnabled 0\nDoSConnectionEnabled 0\nDoSStreamCreationEnabled 0\n"
            "ContactInfo bench@example.org\n")
        if name == "directory":
            text += (
                f"DirPort 127.0.0.1:{dir_port}\nAuthoritativeDirectory 1\nV3AuthoritativeDirectory 1\n"
                "TestingV3AuthInitialVotingInterval 20\nTestingV3AuthInitialVoteDelay 4\n"
                "TestingV3AuthInitialDistDelay 4\nV3AuthVotingInterval 20\nV3AuthVoteDelay 4\nV3AuthDistDelay 4\n"
                "TestingDirAuthVoteGuard *\nTestingDirAuthVoteExit *\nTestingMinFastFlagThreshold 0\n"
                "TestingMinExitFlagThreshold 0\n"
                f"ConsensusParams {self.parameters}\n")
        (self.directory / name / "torrc").write_text(text)

    def write_client(self, authority, fingerprints):
        (self.directory / "client").mkdir(mode=0o700)
        (self.directory / "client" / "torrc").write_text(self.common("client", authority) + (
            f"SocksPort 127.0.0.1:{self.client_port}\nControlPort 127.0.0.1:{self.control_port}\n"
            f"EntryNodes {fingerprints['relay1']}\nMiddleNodes {fingerprints['relay2']}\n"
            f"ExitNodes {fingerprints['relay3']}\nStrictNodes 1\nEnforceDistinctSubnets 0\n"
            "ClientRejectInternalAddresses 0\nClientDNSRejectInternalAddresses 0\nMaxClientCircuitsPending 1024\n"
            "MaxCircuitDirtiness 3600\nLearnCircuitBuildTimeout 0\nCircuitBuildTimeout 60\n"))

    def circuits_per_second(self, count, concurrency):
        """Build circuits along the pinned path through the control port, `concurrency` at a time."""
        with socket.create_connection(("127.0.0.1", self.control_port), 30) as control:
            control.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            lines = control.makefile("rb")

            def expect():
                while not (line := lines.readline()).startswith((b"250 ", b"5")):
                    pass
                if not line.startswith(b"250"):
                    raise MeasureError(f"tor's control port: {line.decode().strip()}")

            control.sendall(b'AUTHENTICATE ""\r\n')
            expect()
            control.sendall(b"SETEVENTS CIRC\r\n")
            expect()
            request = f"EXTENDCIRCUIT 0 {','.join(self.path)}\r\n".encode()
            ended = 0
            mine, done_early = set(), set()
            start = time.monotonic()
            control.sendall(request * min(concurrency, count))
            started = min(concurrency, count)
            while ended < count:
                line = lines.readline()
                words = line.split()
                if line.startswith(b"250 EXTENDED"):
                    mine.add(words[2])
                    if words[2] in done_early:
                        ended += 1
                    continue
                if not line.startswith(b"650 CIRC"):
                    if line.startswith(b"5"):
                        raise MeasureError(f"tor's control port: {line.decode().strip()}")
                    continue
                circuit, state = words[2], words[3]
                if state == b"FAILED" and circuit in mine:
                    # One that fails would make the rate look better than it is.
                    raise MeasureError(f"a circuit of C Tor failed: {line.decode().strip()}")
                if state != b"BUILT":
                    continue
                if circuit in mine:
                    ended += 1
                else:
                    done_early.add(circuit)
                    continue
                message = f"CLOSECIRCUIT {circuit.decode()}\r\n".encode()
                if started < count:
                    message += request
                    started += 1
                control.sendall(message)
            return count / (time.monotonic() - start)


class SSHChain(Peer):
    """`ssh -D` through two jump hosts to a third, each an sshd of its own; aes128-gcm."""

    name = "ssh chain"
    has_users = False
    cipher = "aes128-gcm@openssh.com"

    def start(self):
        ssh, keygen = shutil.which("ssh"), shutil.which("ssh-keygen")
        sshd = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
        if not ssh or not keygen or not sshd:
            raise MeasureError("ssh or sshd is not installed (apt-get install openssh-client openssh-server)")
        self.version = subprocess.run([ssh, "-V"], capture_output=True, text=True).stderr.strip()
        if os.getuid() == 0:
            # Where sshd drops its rights when it has any.
            pathlib.Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        for name in ("user", "host"):
            subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(self.directory / name)], check=True)
        shutil.copy(self.directory / "user.pub", self.directory / "authorized")
        hops = {}
        for index in (1, 2, 3):
            port = free_port()
            configuration = self.directory / f"sshd{index}.conf"
            configuration.write_text(
                f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {self.directory / 'host'}\nPidFile none\n"
                f"AuthorizedKeysFile {self.directory / 'authorized'}\nStrictModes no\nUsePAM no\n"
                "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
                f"AllowTcpForwarding yes\nCiphers {self.cipher}\nLogLevel ERROR\nUseDNS no\n")
            hops[index] = (port, self.run(f"sshd{index}", [sshd, "-D", "-e", "-f", str(configuration)]))
        for port, _ in hops.values():
            wait_until(lambda: accepts(port), 10, "the start of sshd")
        socks = free_port()
        configuration = self.directory / "ssh.conf"
        configuration.write_text(
            f"Host *\n  IdentityFile {self.directory / 'user'}\n  IdentitiesOnly yes\n  StrictHostKeyChecking no\n"
            f"  UserKnownHostsFile /dev/null\n  Ciphers {self.cipher}\n  Compression no\n  LogLevel ERROR\n"
            "  BatchMode yes\n  ExitOnForwardFailure yes\n  HostName 127.0.0.1\n"
            + "".join(f"Host hop{index}\n  Port {port}\n" for index, (port, _) in hops.items())
            + "Host hop2\n  ProxyJump hop1\nHost hop3\n  ProxyJump hop2\n")
        client = self.run("ssh", [ssh, "-F", str(configuration), "-N", "-D", f"127.0.0.1:{socks}", "hop3"])
        wait_until(lambda: accepts(socks) or client.poll() is not None, 20, "the start of the ssh chain")
        if client.poll() is not None:
            raise MeasureError(f"ssh ended: {self.log_tail('ssh')} {self.log_tail('sshd1')}")
        self.socks = f"127.0.0.1:{socks}"
        self.roles = {"proxy": lambda: measure.descendants(client.pid)}
        for index, (_, process) in hops.items():
            self.roles[f"router {index}"] = lambda pid=process.pid: measure.descendants(pid)


class Microsocks(Peer):
    """One hop without cryptography."""

    name = "microsocks"
    has_users = False

    def start(self):
        program = shutil.which("microsocks")
        if not program:
            raise MeasureError("microsocks is not installed (apt-get install microsocks)")
        port = free_port()
        process = self.run("microsocks", [program, "-i", "127.0.0.1", "-p", str(port)])
        wait_until(lambda: accepts(port) or process.poll() is not None, 10, "the start of microsocks")
        if process.poll() is not None:
            raise MeasureError(f"microsocks ended: {self.log_tail('microsocks')}")
        self.socks = f"127.0.0.1:{port}"
        self.roles = {"proxy": lambda: [process.pid]}
