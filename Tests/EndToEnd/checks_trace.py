"""No trace: what a network leaves behind of those who used it, and of its own keys. Searches every byte of it."""

import base64
import ctypes
import glob
import ipaddress
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import socks
from checks_host import needs
from network import Server, wait_for
from servers import Chat

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(f"{HERE}/../RealPrograms")

from names import NameServer  # noqa: E402, of the folder above
from nodes import OwnNetwork  # noqa: E402

CLONE_NEWNET = 0x40000000

# Who asks, whence and for what: nothing of it occurs by chance. The port is none that the system picks by itself.
PROGRAM, PROXY, DESTINATION, SILENT = "127.77.66.55", "127.77.66.54", "127.88.99.11", "127.88.99.12"
PORT, CLOSED_PORT, FORBIDDEN_PORT = 17_317, 17_318, 17_333
# What the routers' rules forbid: a range, as a rule that named the port would be found wherever rules stand.
FORBIDDEN_PORTS = "17320-17340"
NAME, NO_NAME, MALFORMED = "qzneedlename.test", "qzneedleabsent.test", "qzneedlemalformed"
USER, PASSWORD = "qzneedleuser", "qzneedlepassword"
PATH, FIELD, SENT, ANSWERED, ASKED = (
    "qzneedlepath", "qzneedlefield", "qzneedlesentbody", "qzneedleansweredbody", "qzneedleprompt")
TEXTS = [NAME, NO_NAME, MALFORMED, USER, PASSWORD, PATH, FIELD, SENT, ANSWERED, ASKED, Chat.KEY]


def spellings(data, name):
    """The ways in which bytes may be written down: as they are, hexadecimal, base64 at each offset in a longer text."""
    found = {name: data, f"{name} in hex": data.hex().encode(), f"{name} in HEX": data.hex().upper().encode()}
    for shift in range(3):
        # Without what a neighbour on either side has a part in.
        for kind, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
            text = encode(b"\0" * shift + data)
            first = (shift * 8 + 5) // 6
            last = (shift + len(data)) * 8 // 6
            found[f"{name} in {kind}, {shift}"] = text[first:last]
    return found


def needles():
    """Everything that must not be found, as name -> bytes, or a pattern for a port, which may be a part of a longer number."""
    wanted = {}
    for text in TEXTS:
        wanted.update(spellings(text.encode(), text))
    for address in (PROGRAM, PROXY, DESTINATION, SILENT):
        packed = ipaddress.IPv4Address(address).packed
        wanted.update(spellings(address.encode(), address))
        wanted[f"{address} as bytes"] = packed
        wanted[f"{address} as bytes, turned round"] = packed[::-1]
        wanted[f"{address} as hex"] = packed.hex().encode()
    patterns = {name: re.compile(re.escape(data), re.IGNORECASE) for name, data in wanted.items()}
    for port in (PORT, CLOSED_PORT, FORBIDDEN_PORT):
        patterns[f"port {port}"] = re.compile(rb"(?<![0-9])%d(?![0-9])" % port)
    return patterns


def search(places, patterns):
    """Where something was found: "PLACE: NAME" for each."""
    return [f"{place}: {name}" for place, data in places.items() for name, pattern in patterns.items() if pattern.search(data)]


def key_needles(paths):
    """The private keys in these files, each in every spelling, as path -> patterns."""
    found = {}
    for path in paths:
        with open(path) as file:
            lines = file.read().split()
        seed = base64.urlsafe_b64decode(lines[-1] + "=")
        assert len(seed) == 32, path
        found[path] = {name: re.compile(re.escape(data)) for name, data in spellings(seed, "key").items()}
    return found


class Site(threading.Thread):
    """The destination: an HTTP server whose answers are needles; told to, it goes on for ever."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server((DESTINATION, PORT), backlog=100)
        # Never accepts: whoever comes after the first two waits until he gives up.
        self.silent = socket.create_server((SILENT, PORT), backlog=0)
        self.waiting = []
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex((SILENT, PORT))
            self.waiting.append(one)
        self.seen = b""
        self.start()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            with connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    if not (part := connection.recv(65536)):
                        return
                    head += part
                self.seen += head
                body = f"{ANSWERED}\n".encode()
                if b"/endless/" in head:
                    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    while True:
                        connection.sendall(body * 100)
                        time.sleep(0.02)
                connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nX-Field: %s\r\nContent-Length: %d\r\n\r\n%s"
                                   % (FIELD.encode(), len(body), body))
        except OSError:
            pass

    def stop(self):
        # A listener is open as long as somebody waits in accept.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.join()
        for one in (self.listener, self.silent, *self.waiting):
            one.close()


class Tap(threading.Thread):
    """A TCP relay in front of a router that keeps every byte of each connection and direction: what the wire carries."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.router = None
        self.seen = []
        self.start()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            # The directory may ask before the router has said where it is.
            host, _, port = wait_for(lambda: self.router and self.router.addresses, 30)[0].rpartition(":")
            try:
                server = socket.create_connection((host, int(port)))
            except OSError:
                client.close()
                continue
            for one, other in ((client, server), (server, client)):
                self.seen.append(bytearray())
                threading.Thread(target=self.copy, args=(one, other, self.seen[-1]), daemon=True).start()

    def copy(self, source, target, seen):
        try:
            while data := source.recv(65536):
                seen += data
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.join()
        self.listener.close()


class TappedNetwork(OwnNetwork):
    """A network in which every router is reached through a tap."""

    def __init__(self, *arguments, **options):
        self.taps = {}
        super().__init__(*arguments, **options)

    def _start(self, name, command):
        if not name.startswith("router"):
            return super()._start(name, command)
        tap = self.taps[name] = Tap()
        daemon = super()._start(name, [*command, "--advertise", tap.address])
        # Nobody is told the tap's address before the router listens.
        tap.router = daemon
        return daemon

    def stop(self):
        super().stop()
        for tap in self.taps.values():
            tap.stop()


class Usage:
    """One user's day: everything that can be asked of a proxy, and every way in which it can fail."""

    def __init__(self, network):
        self.network = network
        host, _, port = network.socks.rpartition(":")
        self.proxy = (host, int(port))

    def connection(self):
        return socket.create_connection(self.proxy, timeout=30, source_address=(PROGRAM, 0))

    def raw(self, data, ends=False):
        """Send bytes, and perhaps no more; return all that comes back."""
        with self.connection() as connection:
            connection.sendall(data)
            if ends:
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            try:
                while part := connection.recv(65536):
                    answer += part
            except OSError:
                pass
            return answer

    def socks5(self, host, port, command=1):
        """The reply's code, and the connection."""
        connection = self.connection()
        connection.sendall(b"\x05\x01\x02")
        socks.receive(connection, 2)
        connection.sendall(bytes([1, len(USER)]) + USER.encode() + bytes([len(PASSWORD)]) + PASSWORD.encode())
        socks.receive(connection, 2)
        try:
            target = b"\x01" + ipaddress.IPv4Address(host).packed
        except ValueError:
            target = b"\x03" + bytes([len(host)]) + host.encode()
        connection.sendall(bytes([5, command, 0]) + target + port.to_bytes(2, "big"))
        return socks.receive(connection, 4)[1], connection

    def request(self, path=PATH):
        head = f"POST /{path} HTTP/1.1\r\nHost: {NAME}\r\nX-Field: {FIELD}\r\nContent-Length: {len(SENT)}\r\n\r\n"
        return (head + SENT).encode()

    def fetch(self, host=NAME, path=PATH):
        code, connection = self.socks5(host, PORT)
        assert code == 0, f"reply {code}"
        with connection:
            socks.receive(connection, 6)  # An IPv4 address and a port, or zeros.
            connection.sendall(self.request(path))
            return connection.recv(65536)

    def everything(self, executables, folder):
        assert b"200 OK" in self.fetch() and b"200 OK" in self.fetch(DESTINATION)
        for host, port, codes in ((DESTINATION, CLOSED_PORT, {5}), (NO_NAME, PORT, {4}), (NAME, FORBIDDEN_PORT, {2}),
                                  (SILENT, PORT, {6, 4, 1})):
            code, connection = self.socks5(host, port)
            connection.close()
            assert code in codes, (host, port, code)
        for host in (NAME, NO_NAME):
            self.socks5(host, 0, command=0xF0)[1].close()
        self.socks5(DESTINATION, 0, command=0xF1)[1].close()
        # SOCKS4a, CONNECT, a request to be forwarded, and what makes no sense.
        fourth = self.raw(b"\x04\x01" + PORT.to_bytes(2, "big") + b"\0\0\0\x01" + USER.encode() + b"\0" + NAME.encode() + b"\0"
                          + self.request())
        assert fourth[:2] == b"\0\x5a" and ANSWERED.encode() in fourth, fourth[:20]
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        tunnel = self.raw(f"CONNECT {NAME}:{PORT} HTTP/1.1\r\nHost: {NAME}:{PORT}\r\nProxy-Authorization: Basic {token}\r\n\r\n"
                          .encode() + self.request())
        assert ANSWERED.encode() in tunnel, tunnel
        forwarded = self.raw(f"GET http://{NAME}:{PORT}/{PATH} HTTP/1.1\r\nHost: {NAME}:{PORT}\r\nX-Field: {FIELD}\r\n\r\n"
                             .encode())
        assert ANSWERED.encode() in forwarded, forwarded
        for nonsense in (f"CONNECT {MALFORMED} HTTP/1.1\r\n\r\n", f"GET {MALFORMED} HTTP/9.9\r\n\r\n", f"\x16{MALFORMED}",
                         f"\x05\x01\x63{MALFORMED}", f"\x04\x09{MALFORMED}", f"GET http://{MALFORMED}:x/ HTTP/1.1\r\n\r\n",
                         f"CONNECT {NAME}:{PORT} HTTP/1.1\r\nProxy-Authorization: Basic !{MALFORMED}\r\n\r\n"):
            self.raw(nonsense.encode(), ends=True)
        self.raw(b"\x05\x01\x00\x05\x01\x00\x03" + bytes([len(MALFORMED) + 1]) + MALFORMED.encode() + b"\x01\x00\x50",
                 ends=True)
        self.chat(executables, folder)
        # A tunnel whose circuit dies, as a router in it is killed.
        code, connection = self.socks5(NAME, PORT)
        assert code == 0, code
        with connection:
            connection.sendall(self.request("endless/" + PATH))
            assert connection.recv(65536)
            _, middle, _ = carrying(self.network)
            os.kill(self.network.processes[middle], signal.SIGKILL)
            try:
                while connection.recv(65536):
                    pass
            except ConnectionResetError:
                pass
        assert b"200 OK" in self.fetch()
        subprocess.run([f"{executables}/thor-proxy", "newnym", "--state", self.network.state()], check=True, capture_output=True,
                       timeout=20)
        assert b"200 OK" in self.fetch()

    def chat(self, executables, folder):
        server = Server("chat")
        key = f"{folder}/api.key"
        with open(key, "w") as file:
            file.write(Chat.KEY + "\n")
        os.chmod(key, 0o600)
        try:
            # Over TLS it would be hidden anyway; so it goes in clear, by hand, as an exit would see it.
            body = f'{{"model": "m", "messages": [{{"role": "user", "content": "{ASKED}"}}]}}'
            answer = self.raw(f"POST http://127.0.0.1:{server.port}/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                              f"Authorization: Bearer {Chat.KEY}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            assert ASKED.encode() in answer, answer
        finally:
            server.stop()
            os.remove(key)


class World:
    """A network of daemons, a name server and a site, in a network namespace of their own where the machine allows one."""

    def __init__(self, context, name, options=(), network=OwnNetwork, before=()):
        self.executables = context.executables
        self.folder = f"{context.scratch}/{name}"
        self.temporary = f"{self.folder}/tmp"
        self.here = f"{self.folder}/cwd"
        for path in (self.temporary, self.here):
            os.makedirs(path)
        # As systemd would, it takes what the daemons say of themselves.
        self.notified = bytearray()
        self.notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notifications.bind(f"{self.folder}/notify")
        threading.Thread(target=self._take_notifications, daemon=True).start()
        self.names = NameServer("127.0.0.1", {NAME: [DESTINATION]})
        self.site = Site()
        try:
            self.network = network(
                context.executables, routers=5, proxy_options=options, parameters=["exit-connect-timeout-ms=1500"],
                router_options=["--resolver", self.names.address, *options],
                router_policy=["--exit-policy", f"reject *:{FORBIDDEN_PORTS}", "--exit-policy", "accept 127.0.0.0/8:*"],
                where=lambda _: [*before, "env", "-C", self.here, f"TMPDIR={self.temporary}", f"SWIFT_BACKTRACE={_backtracing()}",
                                 f"NOTIFY_SOCKET={self.folder}/notify"])
        except BaseException:
            self.site.stop()
            self.names.stop()
            raise

    def _take_notifications(self):
        while data := self.notifications.recv(65536):
            self.notified += data + b"\n"

    def keys(self):
        return sorted(glob.glob(f"{self.network.directory}/**/*.key", recursive=True))

    def left_behind(self):
        """All that is there to be read after a run, as place -> bytes; private key files excepted."""
        places = {}
        keys = set(self.keys())
        for root in (self.network.directory, self.temporary, self.here):
            for folder, _, files in os.walk(root):
                for path in (f"{folder}/{file}" for file in files):
                    if os.path.isfile(path) and path not in keys:
                        with open(path, "rb") as file:
                            places[path.removeprefix(root)] = file.read()
                    places.setdefault("names of files", b"")
                    places["names of files"] += path.removeprefix(root).encode() + b"\n"
        for daemon in self.network.daemons:
            places[f"{daemon.name}'s standard output"] = "\n".join(daemon.lines).encode()
            for what in ("cmdline", "environ"):
                try:
                    with open(f"/proc/{daemon.pid}/{what}", "rb") as file:
                        places[f"{daemon.name}'s {what}"] = file.read()
                except OSError:
                    pass  # It was killed.
        assert b"STATUS=" in self.notified, self.notified
        places["what the service manager is told"] = bytes(self.notified)
        for words in ([], ["--json"], ["--exits"], ["--routers"]):
            answer = subprocess.run([f"{self.executables}/thor-proxy", "status", *words, "--state", self.network.state()],
                                    capture_output=True, timeout=20)
            places[f"status {' '.join(words)}"] = answer.stdout + answer.stderr
        return places

    def stop(self):
        self.network.stop()
        self.site.stop()
        self.names.stop()
        self.notifications.shutdown(socket.SHUT_RDWR)
        self.notifications.close()


def carrying(network):
    """The names of the routers in the one circuit that has streams."""
    circuits = [circuit for circuit in network.status()["circuits"] if circuit["streamCount"] > 0]
    assert len(circuits) == 1, circuits
    return [hop["nickname"] for hop in circuits[0]["hops"]]


def _backtracing():
    """What asks Swift's runtime for a backtrace of a crash, and tells it where the program is that prints one."""
    compiler = shutil.which("swiftc")
    folder = os.path.join(os.path.dirname(os.path.realpath(compiler)), "../libexec/swift/linux") if compiler else ""
    program = os.path.join(folder, "swift-backtrace-static")
    return "enable=yes,interactive=no,color=no" + (f",swift-backtrace={program}" if os.path.exists(program) else "")


def _apart(action):
    """Run in a network namespace of our own, where the proxy's connections come from an address that nobody else has."""
    outcome = []

    def run():
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.unshare(CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "unshare")
            for words in (["addr", "add", f"{PROXY}/8", "dev", "lo"], ["link", "set", "lo", "up"],
                          ["route", "replace", "local", "127.0.0.0/8", "dev", "lo", "table", "local", "src", PROXY]):
                subprocess.run(["ip", *words], check=True, capture_output=True)
            action()
        except BaseException as error:
            outcome.append(error)

    # A namespace belongs to a thread, and to what it starts.
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if outcome:
        raise outcome[0]


def no_trace(context):
    """A day's use, and every failure, leave no address, name, key or content behind: logs, state, status and all else."""
    needs("root", "ip")
    _apart(lambda: _no_trace(context))


def _check_search(patterns):
    """Each way of writing something down is found, with other things round it."""
    packed = ipaddress.IPv4Address(PROGRAM).packed
    for written in (NAME.upper(), NAME.encode().hex(), f"{PROGRAM}:1", f"x:{PORT}\n", packed.hex(),
                    *(base64.b64encode(b"?" * count + NAME.encode() + b"!") for count in range(3)),
                    *(base64.urlsafe_b64encode(b"?" * count + USER.encode() + b"!") for count in range(3)),
                    b"\xff" + packed + b"\0", b"\xff" + packed[::-1] + b"\0"):
        data = written if isinstance(written, bytes) else written.encode()
        assert search({"here": b"before " + data + b" after"}, patterns), written
    assert not search({"here": b"example.com 127.0.0.1:1080 173170 2026-11-23T12:00:00Z"}, patterns)


def _no_trace(context):
    patterns = needles()
    _check_search(patterns)
    # What shows addresses at the level that shows them is found: so the search would find it elsewhere.
    loud = World(context, "loud", ["--log-level", "debug", "--testing.log-addresses"])
    try:
        Usage(loud.network).fetch()
        found = search(loud.left_behind(), patterns)
        assert any(NAME in one and "proxy.log" in one for one in found), found
        assert any("port" in one for one in found), found
    finally:
        loud.stop()
    # And at debug without that option it is not.
    for name, options in (("quiet", []), ("debug", ["--log-level", "debug"])):
        world = World(context, name, options)
        try:
            Usage(world.network).everything(context.executables, world.folder)
            assert FIELD.encode() in world.site.seen and SENT.encode() in world.site.seen
            places = world.left_behind()
            keys = key_needles(world.keys())
            assert len(keys) >= 1 + 5 + 1 + 5 + 5, sorted(keys)
            found = search(places, patterns)
            for path, spelling in keys.items():
                found += [f"{one} of {os.path.basename(path)}" for one in search(places, spelling)]
            if name == "quiet":
                context.figure("bytes searched after a day's use", "no trace", sum(map(len, places.values())))
            assert not found, "\n".join(found)
            assert not os.listdir(world.temporary) and not os.listdir(world.here), "something was left in the temporary directory"
        finally:
            world.stop()


def who_knows_whom(context):
    """Nobody in a circuit has a connection with both ends: the guard has one with the user, the exit with the destination."""
    needs("root", "ip")
    _apart(lambda: _who_knows_whom(context))


def _sockets(pid):
    """The TCP connections of a process: its and the other's end, each as address:port in the kernel's hexadecimal."""
    own = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        if target.startswith("socket:["):
            own.add(target[8:-1])
    found = set()
    with open(f"/proc/{pid}/net/tcp") as file:
        for line in list(file)[1:]:
            words = line.split()
            if words[9] in own and words[3] == "01":
                found.add((words[1], words[2]))
    return found


def _who_knows_whom(context):
    world = World(context, "circuit")
    try:
        network = world.network
        code, connection = Usage(network).socks5(NAME, PORT)
        assert code == 0, code
        with connection:
            names = carrying(network)
            by_name = {daemon.name: _sockets(daemon.pid) for daemon in network.daemons}
            sockets = [by_name["proxy"], *(by_name[name] for name in names)]
            ends = lambda one, other: {(there, here) for here, there in one} & other
            # Each has a connection with the next, and none with anybody further on.
            for index, one in enumerate(sockets):
                for distance, other in enumerate(sockets[index + 1:], 1):
                    if distance == 1:
                        assert ends(one, other), (index, names)
                    elif (index, index + distance) != (1, 3):
                        # Guard and exit may have one for another circuit: routers have with any.
                        assert not ends(one, other), (index, distance, names)
            destination = "%08X:%04X" % (int.from_bytes(ipaddress.IPv4Address(DESTINATION).packed, "little"), PORT)
            knows = [any(there == destination for _, there in one) for one in sockets]
            assert knows == [False, False, False, True], (knows, names)
    finally:
        world.stop()


def on_the_wire(context):
    """Whoever records the wire between a user and the guard sees TLS 1.3, no destination and no content."""
    needs("root", "ip")
    _apart(lambda: _on_the_wire(context))


def _records(data):
    """The types of the whole TLS records that the bytes are; None if they are anything else."""
    found, at = [], 0
    while at + 5 <= len(data):
        kind, version, count = data[at], data[at + 1:at + 3], int.from_bytes(data[at + 3:at + 5], "big")
        if kind not in (20, 22, 23) or version not in (b"\x03\x01", b"\x03\x03"):
            return None
        found.append(kind)
        at += 5 + count
    return found


def _on_the_wire(context):
    # Four bytes are in so much noise by chance.
    patterns = {name: pattern for name, pattern in needles().items() if "as bytes" not in name}
    world = World(context, "wire", network=TappedNetwork)
    try:
        usage = Usage(world.network)
        for host in (NAME, DESTINATION):
            assert ANSWERED.encode() in usage.fetch(host)
        # What went in and came out would be found.
        assert len(search({"site": world.site.seen}, patterns)) >= 4
        code, connection = usage.socks5(NAME, PORT)
        assert code == 0, code
        with connection:
            tap = world.network.taps[carrying(world.network)[0]]
            connection.sendall(usage.request())
            assert connection.recv(65536)
        seen = [bytes(one) for one in tap.seen]
        assert sum(map(len, seen)) > 20_000, [len(one) for one in seen]
        for one in seen:
            kinds = _records(one)
            # Hello in clear; but for a peer that left in the middle of it, all that follows is sealed.
            assert kinds is not None and set(kinds[3:]) <= {23}, kinds
        found = search({f"connection {index}": one for index, one in enumerate(seen)}, patterns)
        assert not found, "\n".join(found)
        context.figure("bytes searched on the wire to a guard", "TLS alone", sum(map(len, seen)))
    finally:
        world.stop()


def no_trace_of_crash(context):
    """A daemon that crashes leaves no core file, even where core files are allowed, and prints nothing of its memory."""
    needs("root", "ip", "prlimit")
    _apart(lambda: _no_trace_of_crash(context))


def _no_trace_of_crash(context):
    for number in (signal.SIGABRT, signal.SIGSEGV):
        world = World(context, f"crash-{number.name}", before=["prlimit", "--core=unlimited"])
        try:
            Usage(world.network).fetch()
            for daemon in (world.network.proxy, world.network.routers[0], world.network.ds):
                before = len(daemon.said())
                os.kill(daemon.pid, number)
                assert daemon.process.wait(20) == -number, daemon.process.returncode
                # It may have had something to log just before.
                said = [line for line in daemon.said()[before:].splitlines() if not re.match(r"\S+Z (info|notice) ", line)]
                assert not said, said
            assert wait_for(lambda: not os.listdir(world.here), 1), os.listdir(world.here)
            found = search(world.left_behind(), needles())
            assert not found, "\n".join(found)
        finally:
            world.stop()


CHECKS = [who_knows_whom, on_the_wire, no_trace, no_trace_of_crash]
