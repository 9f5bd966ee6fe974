"""What the proxy shows and does for its user: exits by country, trace, run, status, start."""

import glob
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import socks
from checks_load import MIB, fetch, shared
from network import Network, Server, Skipped, is_alive, wait_for
from servers import make_ca


class Mirror:
    """A server that tells every client the address that it sees it come from."""

    def __init__(self, address="127.0.0.1"):
        self.listener = socket.create_server((address, 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, (address, _) = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(address.encode())

    def stop(self):
        self.listener.close()


def seen_by(mirror, proxy, user):
    connection = socks.connect(proxy, "127.0.0.1", mirror.port, user=user, password="x", timeout=60)
    with connection:
        return connection.makefile("rb").read().decode()


@shared
def exits_by_country(context):
    """1,000 requests with country-xx user names: all leave by the exits of that country."""
    mirror = Mirror()
    sources = {router["country"].lower(): router["exitSource"] for router in context.network.json["routers"]}
    assert len(sources) == len(context.network.json["routers"]), sources
    countries = sorted(sources)

    def ask(index):
        country = countries[index % len(countries)]
        # Ten users a country, so that there are many circuits.
        return sources[country] == seen_by(mirror, context.network.socks, f"country-{country}+{index // len(countries) % 10}")

    started = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        right = sum(pool.map(ask, range(1000)))
    context.figure("1,000 requests by country: from the right exit", "1000",
                   f"{right}, in {time.monotonic() - started:.1f} s")
    assert right == 1000
    unwanted = [seen_by(mirror, context.network.socks, f"country-not-{countries[0]}+{index}") for index in range(20)]
    assert sources[countries[0]] not in unwanted, unwanted
    for router in context.network.json["routers"]:
        assert seen_by(mirror, context.network.socks, f"exit-{router['fingerprint']}") == router["exitSource"]
    try:
        seen_by(mirror, context.network.socks, "country-zz")
        raise AssertionError("a stream left in a country without an exit")
    except socks.SocksError as error:
        assert error.code == 2, error
    mirror.stop()


# Trace

def thor_proxy(context, *arguments, state=None, **options):
    command, *rest = arguments
    return subprocess.run(
        [f"{context.executables}/thor-proxy", command, "--state", state or f"{context.network.state}/proxy", *rest],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, **options)


def _tls_server(context):
    if not hasattr(context, "tls_server"):
        folder = f"{context.scratch}/trace"
        os.makedirs(folder)
        context.trace_ca, certificate, key = make_ca(folder)
        context.tls_server = Server("chat", certificate, key)
    return context.tls_server.port


@shared
def trace(context):
    """thor-proxy trace explains a request over http and https, as a table and as JSON."""
    port = context.data.port
    result = thor_proxy(context, "trace", "--json", f"http://127.0.0.1:{port}/small/traced")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["httpStatus"] == 200 and told["connectedAddress"] == "127.0.0.1" and "failure" not in told, told
    hops = told["circuit"]["hops"]
    known = {router["fingerprint"]: router for router in context.network.json["routers"]}
    assert len(hops) == 3 and len({hop["fingerprint"] for hop in hops} & set(known)) == 3, hops
    for hop in hops:
        assert hop["country"] == known[hop["fingerprint"]]["country"]
        assert 0 < hop["buildSeconds"] < 10 and 0 < hop["roundTripSeconds"] < 10, hop
    assert abs(sum(hop["buildSeconds"] for hop in hops) - told["circuit"]["buildSeconds"]) < 0.001
    steps = [told[name] for name in ("circuitWaitSeconds", "connectSeconds", "firstByteSeconds")]
    assert all(0 <= step <= told["totalSeconds"] for step in steps), told
    assert "tlsSeconds" not in told and "resolveSeconds" not in told
    context.figure("trace on loopback: round trip to the exit, connect, first byte", "-",
                   ", ".join(f"{told_seconds * 1000:.1f} ms" for told_seconds in
                             (hops[-1]["roundTripSeconds"], told["connectSeconds"], told["firstByteSeconds"])))

    tls = _tls_server(context)
    result = thor_proxy(context, "trace", "--ca-file", context.trace_ca, f"https://127.0.0.1:{tls}/")
    assert result.returncode == 0, result.stderr
    for words in ("guard", "middle", "exit", "TLS, with the server", "first byte", "HTTP "):
        assert words in result.stdout, result.stdout
    country = context.network.json["routers"][0]["country"]
    result = thor_proxy(context, "trace", "--json", "--country", country.lower(), f"http://127.0.0.1:{port}/small/x")
    assert json.loads(result.stdout)["circuit"]["hops"][-1]["country"] == country, result


@shared
def trace_errors(context):
    """Each way in which a trace can fail is said plainly: URL, proxy, exit, destination, TLS."""
    nobody = socket.create_server(("127.0.0.1", 0))
    closed = nobody.getsockname()[1]
    nobody.close()
    tls = _tls_server(context)
    cases = [
        (64, "no URL", ["nonsense"]), (64, "cannot be traced", ["ftp://a/"]), (64, "user name", ["http://a:b@c/"]),
        (69, "step connect", [f"http://127.0.0.1:{closed}/"]), (69, "refused", [f"http://127.0.0.1:{closed}/"]),
        (69, "step resolve", ["http://no-such-name.invalid/"]),
        (69, "no exit of this network is in ZZ", ["--country", "zz", "http://127.0.0.1/"]),
        (69, "step", ["--exit", "-" + "A" * 42, "http://127.0.0.1/"]),
        (76, "not valid here", [f"https://127.0.0.1:{tls}/"]),
        (76, "does not speak TLS", [f"https://127.0.0.1:{context.data.port}/"]),
        (76, "not for the address", ["--ca-file", context.trace_ca, f"https://127.0.0.2:{tls}/"]),
        (69, "no proxy runs", ["--state", f"{context.scratch}/nowhere", "http://127.0.0.1/"]),
    ]
    # The certificate's server listens on 127.0.0.1 alone: another address of it needs a relay.
    relay = socket.create_server(("127.0.0.2", 0))
    cases[-2][2][2] = f"https://127.0.0.2:{relay.getsockname()[1]}/"

    def copy(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass

    def serve():
        client, _ = relay.accept()
        server = socket.create_connection(("127.0.0.1", tls))
        threading.Thread(target=copy, args=(server, client), daemon=True).start()
        copy(client, server)

    threading.Thread(target=serve, daemon=True).start()
    wrong = []
    for code, words, arguments in cases:
        result = thor_proxy(context, "trace", *arguments)
        if result.returncode != code or words.lower() not in result.stderr.lower():
            wrong.append(f"{arguments}: {result.returncode}, wanted {code} and {words!r}: {result.stderr.strip()}")
    relay.close()
    assert not wrong, "\n".join(wrong)


# Run

INSIDE = """
import socket, sys
import urllib.request
def tries(host, port):
    try:
        socket.create_connection((host, port), timeout=3).close()
        return "reached"
    except OSError as error:
        return type(error).__name__
print(open("/proc/net/dev").read().count(":"))
print(urllib.request.urlopen(sys.argv[1], timeout=60).read().decode().strip())
print(tries("127.0.0.1", int(sys.argv[2])))
"""


def run_command(context, *arguments, options=(), **more):
    return subprocess.run(
        [f"{context.executables}/thor-proxy", "run", "--state", f"{context.network.state}/proxy", *options, "--",
         *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, **more)


def can_isolate():
    return subprocess.run(["unshare", "-Urn", "true"], capture_output=True).returncode == 0


@shared
def run_sets_variables(context):
    """thor-proxy run: a command uses the proxy by its variables, ends with its status and hears signals."""
    port = context.data.port
    options = ["--no-isolation"]
    result = run_command(context, "curl", "-sS", f"http://127.0.0.1:{port}/small/by-http-proxy", options=options)
    assert result.stdout == "hello by-http-proxy\n" and result.returncode == 0, result
    script = 'echo $ALL_PROXY $https_proxy "[$no_proxy]"'
    result = run_command(context, "sh", "-c", script, options=options + ["--user", "country-se+a b"])
    place = f"country-se%2Ba%20b:x@{context.network.socks}"
    assert result.stdout == f"socks5h://{place} http://{place} []\n", result
    for code in (0, 3, 255):
        assert run_command(context, "sh", "-c", f"exit {code}", options=options).returncode == code
    assert run_command(context, "no-such-command", options=options).returncode == 127
    assert run_command(context, "/etc/passwd", options=options).returncode == 126
    # Where nothing can be said.
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [f"{context.executables}/thor-proxy", "run", "--state", f"{context.network.state}/proxy", *options, "--",
             "no-such-command"], stdin=subprocess.DEVNULL, stderr=full, timeout=120)
    assert result.returncode == 127, result
    assert run_command(context, "sh", "-c", "kill -KILL $$", options=options).returncode == 137
    assert run_command(context, options=options).returncode == 64
    process = subprocess.Popen(
        [f"{context.executables}/thor-proxy", "run", "--state", f"{context.network.state}/proxy", *options, "--", "sh",
         "-c", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done"],
        stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 42


@shared
def run_isolates(context):
    """thor-proxy run: in its namespace a command has the proxy and no other way out; where that cannot be it is said."""
    if not can_isolate():
        raise Skipped("no network namespace may be made here")
    port = context.data.port
    url = f"http://127.0.0.1:{port}/small/inside"
    result = run_command(context, sys.executable, "-c", INSIDE, url, str(port), options=["--require-isolation"])
    # One interface; the proxy works; and a server outside is not there for those who go round it.
    assert result.stdout.splitlines() == ["1", "hello inside", "ConnectionRefusedError"], (result.stdout, result.stderr)
    assert result.stderr == "", result.stderr
    result = run_command(context, "curl", "-sS", "--noproxy", "*", "--max-time", "5", "http://192.0.2.1/")
    assert result.returncode == 7, result
    result = run_command(context, "curl", "-sS", "--noproxy", "*", "--max-time", "20", "http://example.com/")
    assert result.returncode == 6, result
    # 64 MiB, whole, by each of the proxy's protocols.
    count = context.size(16, 64) * MIB
    for proxy in ("$ALL_PROXY", "$http_proxy"):
        result = run_command(
            context, "sh", "-c", f"curl -sS --proxy {proxy} http://127.0.0.1:{port}/bytes/{count}/1 | wc -c")
        assert result.stdout.strip() == str(count), result
    identity = run_command(context, "sh", "-c", "id -u; id -g; exit 5")
    assert identity.stdout.split() == [str(os.getuid()), str(os.getgid())] and identity.returncode == 5, identity
    # The sockets of those who look names up for others are not there.
    services = ["/run/nscd", "/run/systemd/resolve", "/run/avahi-daemon"]
    making = (f"mount -t tmpfs none /run && for each in {' '.join(services)}; do mkdir -p $each && touch $each/socket; "
              "done && exec \"$@\"")
    result = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", making, "sh", f"{context.executables}/thor-proxy", "run", "--require-isolation",
         "--state", f"{context.network.state}/proxy", "--", "find", *services, "-name", "socket"],
        capture_output=True, text=True, timeout=60)
    assert result.stdout == "" and result.returncode == 0, result
    # Where no namespace may be made.
    forbidding = "echo 0 >/proc/sys/user/max_user_namespaces; echo 0 >/proc/sys/user/max_net_namespaces; exec \"$@\""
    command = ["unshare", "-Ur", "sh", "-c", forbidding, "sh", f"{context.executables}/thor-proxy", "run", "--state",
               f"{context.network.state}/proxy"]
    result = subprocess.run([*command, "--", "echo", "done"], capture_output=True, text=True, timeout=60)
    assert result.stdout == "done\n" and "could go round the proxy" in result.stderr, result
    result = subprocess.run([*command, "--require-isolation", "--", "echo", "done"], capture_output=True, text=True,
                            timeout=60)
    assert result.stdout == "" and result.returncode == 71 and "was not run" in result.stderr, result


# Status

@shared
def status_shows(context):
    """thor-proxy status: round trips, countries, streams, traffic; and no destination."""
    before = context.network.status()["traffic"]
    count = 8 * MIB
    assert fetch(context.network.socks, context.data.port, f"/bytes/{count}/1")[1] == count
    with socks.connect(context.network.socks, "127.0.0.1", context.data.port):
        status = context.network.status()
        grown = status["traffic"]["inByteCount"] - before["inByteCount"]
        assert count <= grown < count + MIB, grown
        assert status["traffic"]["outByteCount"] > before["outByteCount"]
        assert status["listeners"] == [context.network.socks] and status["wantsPassword"] is False
        # The exits by country have had many circuits built.
        assert 0 < status["usualBuildSeconds"] <= status["buildLimitSeconds"] < 10, status
        complete = [circuit for circuit in status["circuits"] if circuit["state"] != "building"]
        for circuit in complete:
            assert circuit["roundTripSeconds"] > 0 and circuit["buildSeconds"] > 0 and circuit["ageSeconds"] > 0
            assert all(hop["country"] and hop["roundTripSeconds"] > 0 for hop in circuit["hops"]), circuit
            assert "destinations" not in circuit
        assert sum(circuit["streamCount"] for circuit in complete) >= 1
        # With its colon: the digits alone may be some of a round trip's.
        assert f":{context.data.port}" not in json.dumps(status["circuits"])
    assert wait_for(lambda: context.network.status()["traffic"]["inBytesPerSecond"] > MIB, 10), "no rate"
    text = thor_proxy(context, "status").stdout
    assert "round trip" in text and "traffic: in " in text, text
    watch = subprocess.Popen(
        [f"{context.executables}/thor-proxy", "status", "--watch", "--state", f"{context.network.state}/proxy"],
        stdout=subprocess.PIPE, text=True)
    seen = 0
    for line in watch.stdout:
        seen += line.startswith("ready:")
        if seen == 2:
            break
    # It ends when nobody reads it any more.
    watch.stdout.close()
    assert watch.wait(10) == 0, watch.returncode


class Proxy:
    """A proxy of a network's, beside its own."""

    def __init__(self, context, state, *arguments, network=None):
        network = network or context.network
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [f"{context.executables}/thor-proxy", network.json["directory"]["address"],
             network.json["directory"]["publicKeyFile"], "--listen", "127.0.0.1:0", "--state", state, *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.address = None
        for line in self.process.stdout:
            if line.startswith("listening "):
                self.address = line.split()[1]
                break
        assert self.address, self.process.stderr.read()

    def until_ready(self):
        for line in self.process.stdout:
            if line == "ready\n":
                return

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()
        return self.process.stderr.read()


@shared
def status_destinations(context):
    """Destinations are shown only by a proxy that was started with --reveal-destinations, which warns."""
    state = f"{context.scratch}/revealing"
    proxy = Proxy(context, state, "--reveal-destinations")
    with socks.connect(proxy.address, "127.0.0.1", context.data.port):
        status = json.loads(thor_proxy(context, "status", "--json", state=state).stdout)
        open_ones = [place for circuit in status["circuits"] for place in circuit["destinations"]]
        assert open_ones == [f"127.0.0.1:{context.data.port}"], status["circuits"]
        assert f"to 127.0.0.1:{context.data.port}" in thor_proxy(context, "status", state=state).stdout
    gone = wait_for(lambda: not any(circuit["destinations"] for circuit in json.loads(
        thor_proxy(context, "status", "--json", state=state).stdout)["circuits"]), 10)
    assert gone, "a stream that is over is still shown"
    assert "learns where you go" in proxy.stop()


@shared
def fast_start(context):
    """The first byte of the first request: within 1 s from nothing, 0.3 s with a consensus on disk."""
    state = f"{context.scratch}/fast"
    figures = []
    for what in ("from nothing", "with a consensus"):
        seconds = []
        for attempt in range(5):
            if what == "from nothing":
                subprocess.run(["rm", "-rf", state], check=True)
            proxy = Proxy(context, state)
            status, _, _ = fetch(proxy.address, context.data.port, "/small/first", timeout=30)
            seconds.append(time.monotonic() - proxy.started)
            assert status == 200
            proxy.stop()
        figures.append(sorted(seconds)[2])
        context.figure(f"first byte of the first request, {what}, median of 5",
                       "1 s" if what == "from nothing" else "0.3 s", f"{sorted(seconds)[2]:.2f} s")
    assert figures[0] <= 1 and figures[1] <= 0.3, figures


def requests_after_trouble(context):
    """When the guard, or another router, dies or freezes, new requests succeed within 3 s and 4 s."""
    for what, number, limit in (("killed", signal.SIGKILL, 3), ("stopped", signal.SIGSTOP, 4)):
        for place in ("guard", "middle", "exit"):
            network = Network(context.executables, routers=6)
            try:
                worst = _worst_request(context, network, place, number)
            finally:
                for router in network.json["routers"]:
                    try:
                        os.kill(router["pid"], signal.SIGCONT)
                    except OSError:
                        pass
                network.stop()
            context.figure(f"{place} {what}: slowest new request", f"{limit} s", f"{worst:.2f} s")
            assert worst <= limit, f"{place} {what}"


def _worst_request(context, network, place, number):
    """Signal a router in use, and return the seconds of the slowest of many requests begun after that."""
    port = context.data.port
    for user in range(3):
        fetch(network.socks, port, f"/small/{user}")
    used = [circuit for circuit in network.status()["circuits"] if circuit["carriedStreamCount"] > 0]
    hop = used[0]["hops"][{"guard": 0, "middle": 1, "exit": 2}[place]]
    victim = next(router for router in network.json["routers"] if router["fingerprint"] == hop["fingerprint"])
    os.kill(victim["pid"], number)

    def ask(index):
        time.sleep(index * 0.1)
        started = time.monotonic()
        assert fetch(network.socks, port, f"/small/{index}", timeout=60)[0] == 200
        return time.monotonic() - started

    with ThreadPoolExecutor(40) as pool:
        return max(pool.map(ask, range(40)))


def guards_stay(context):
    """Whoever makes one guard after the other fail does not walk the proxy on to others than those of its sample."""
    network = Network(context.executables, routers=9)
    stopped = []
    try:
        def sample():
            [path] = glob.glob(f"{network.state}/proxy/guards-*")
            with open(path) as file:
                return [line.split()[1] for line in file if line.startswith("guard ")]

        def guard():
            return network.status().get("guard", {}).get("fingerprint")

        first = sample()
        assert len(first) == 5 and guard() == first[0], first
        used = []
        for _ in range(3):
            fetch(network.socks, context.data.port, "/small/before")
            used.append(guard())
            victim = next(router for router in network.json["routers"] if router["fingerprint"] == used[-1])
            os.kill(victim["pid"], signal.SIGSTOP)
            stopped.append(victim["pid"])
            fetch(network.socks, context.data.port, "/small/after", timeout=60)
            assert wait_for(lambda: guard() not in (None, *used), 20), "the guard did not change"
        used.append(guard())
        # The directory has taken them out by now, which does not make room for others either.
        assert sample() == first and used == first[:4], (first, used, sample())
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        # They are probed 15 s after they failed, and then again after 30 s.
        back = wait_for(lambda: guard() == first[0], 90, step=0.5)
        assert back, "the preferred guard was not taken up again"
        context.figure("guards that failed one after the other", "only those of the sample of 5", "4 used, all of it")
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        network.stop()


def circuits_retire(context):
    """A circuit takes new streams for its lifetime, here 5 s; what it carries by then goes on to its end."""
    network = Network(context.executables, routers=5)
    directory = proxy = None
    state = f"{context.scratch}/retiring"
    try:
        pid, address = network.json["directory"]["pid"], network.json["directory"]["address"]
        with open(f"/proc/{pid}/cmdline") as file:
            command = file.read().split("\0")[:-1]
        command[command.index("--listen") + 1] = address
        command.remove("--exit-with-parent")
        os.kill(pid, signal.SIGKILL)
        assert wait_for(lambda: not is_alive(pid), 5)
        directory = subprocess.Popen([*command, "--parameter", "circuit-lifetime-s=5"], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert directory.stdout.readline().startswith("listening")
        proxy = Proxy(context, state, network=network)
        proxy.until_ready()
        mirror = Mirror()

        def circuits():
            """Those that carry, or have carried, streams."""
            return [circuit for circuit in json.loads(
                thor_proxy(context, "status", "--json", state=state).stdout)["circuits"] if circuit["carriedStreamCount"]]

        held = socks.connect(proxy.address, "127.0.0.1", context.data.port, user="one", password="x")
        for _ in range(3):
            seen_by(mirror, proxy.address, "one")
        ours = [circuit for circuit in circuits() if circuit["streamCount"] == 1]
        assert len(ours) == 1 and ours[0]["carriedStreamCount"] == 4, circuits()
        assert wait_for(lambda: any(circuit["state"] == "retiring" and circuit["streamCount"] == 1
                                    for circuit in circuits()), 10), circuits()
        seen_by(mirror, proxy.address, "one")
        old = [circuit for circuit in circuits() if circuit["state"] == "retiring"]
        assert len(old) == 1 and old[0]["carriedStreamCount"] == 4, circuits()
        held.sendall(b"GET /small/late HTTP/1.0\r\n\r\n")
        assert b"hello late" in held.makefile("rb").read()
        held.close()
        assert wait_for(lambda: not [circuit for circuit in circuits() if circuit["state"] == "retiring"], 10), circuits()
        mirror.stop()
    finally:
        if proxy is not None:
            proxy.stop()
        network.stop()
        if directory is not None:
            directory.terminate()
            directory.wait(10)


CHECKS = [exits_by_country, trace, trace_errors, run_sets_variables, run_isolates, status_shows, status_destinations,
          fast_start]
BREAKING_CHECKS = [requests_after_trouble, guards_stay, circuits_retire]
