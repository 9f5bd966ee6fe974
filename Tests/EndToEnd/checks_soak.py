"""A network under mixed load for as long as one likes: nothing grows, nothing fails, nothing is left."""

import hashlib
import http.client
import os
import random
import signal
import socketserver
import statistics
import struct
import threading
import time
import traceback

import socks
from checks_closing import reset
from checks_faults import command_of, end_all, start_again
from checks_limits import processor_seconds
from checks_load import MIB, fetch
from network import Network, descriptors, is_alive, resident, wait_for
from servers import blocks, digest

KIB = 1 << 10
# All that happens once an hour or a week happens every minute.
PARAMETERS = {"circuit-lifetime-s": 60, "onion-key-lifetime-s": 60, "onion-key-overlap-s": 30, "consensus-resign-s": 30,
              "consensus-fresh-s": 60, "consensus-valid-s": 600, "ticket-lifetime-s": 300, "link-idle-s": 5}
# A request that was under way within so many seconds of a router's death may break with it. So may one when the machine
# has had no time for us: a link that is silent for 2.5 s is given up, whoever it was that kept its end from speaking.
EXCUSED_SECONDS = 15
STILL_SECONDS = 1
# No request says nothing for so long.
TIME_LIMIT = 40
# What the samples of one process may differ by when nothing grows: the allocator's habits, and bytes on their way.
MEMORY_SLACK = 8 * MIB
DESCRIPTOR_SLACK = 24
SHORT_SECONDS = 20


class Load:
    """Users of many kinds, each doing its thing again and again. Counts what succeeds and keeps what does not."""

    # How many users of a kind there are, and how long one rests between two requests: half a core's work in all.
    KINDS = {"download": (2, 1.0), "upload": (2, 1.5), "small": (4, 0.4), "new path": (1, 1.5), "abort": (2, 1.0),
             "slow reader": (3, 0.5), "half-close": (2, 0.5), "refused": (1, 5.0)}

    def __init__(self, network, port):
        self.network = network
        self.port = port
        self.done = dict.fromkeys(self.KINDS, 0)
        self.failed = []
        self.wrong = []
        self.stopping = threading.Event()
        self.origin = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Hashing)
        self.origin.daemon_threads = True
        threading.Thread(target=self.origin.serve_forever, daemon=True).start()
        self.digests = {size: digest(size, 11) for size in (MIB // 4, 2 * MIB)}
        self.users = [threading.Thread(target=self.use, args=(kind, pause), daemon=True)
                      for kind, (count, pause) in self.KINDS.items() for _ in range(count)]
        for user in self.users:
            user.start()

    def use(self, kind, pause):
        request = getattr(self, "do_" + kind.replace(" ", "_").replace("-", "_"))
        while not self.stopping.wait(random.uniform(0, 2 * pause)):
            started = time.monotonic()
            try:
                request()
                self.done[kind] += 1
            except (OSError, http.client.HTTPException) as error:
                steps = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
                self.failed.append((started, time.monotonic(), kind, repr(error), " > ".join(steps)))
            except AssertionError as error:
                self.wrong.append((kind, str(error)))

    def stop(self):
        """Let each finish what it is at."""
        self.stopping.set()
        end = time.monotonic() + TIME_LIMIT
        for user in self.users:
            user.join(max(0, end - time.monotonic()))
        self.origin.shutdown()
        self.origin.server_close()
        left = sum(user.is_alive() for user in self.users)
        assert left == 0, f"{left} requests do not end"

    def connect(self, port=None, **options):
        return socks.connect(self.network.socks, "127.0.0.1", port or self.port, timeout=TIME_LIMIT, **options)

    def take(self, size, **options):
        """Ask for so many bytes; return the connection, and leave reading to others."""
        connection = self.connect(**options)
        connection.sendall(b"GET /bytes/%d/11 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % size)
        return connection

    def check(self, size, count, sha):
        if count < size:
            raise ConnectionError(f"{count} of {size} bytes came")
        assert (count, sha) == (size, self.digests[size]), f"{count} bytes came, and they are not those of the server"

    def do_download(self):
        _, count, sha = fetch(self.network.socks, self.port, f"/bytes/{2 * MIB}/11", timeout=TIME_LIMIT)
        self.check(2 * MIB, count, sha)

    def do_upload(self):
        with self.connect() as connection:
            connection.sendall(b"PUT /hash HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (2 * MIB))
            for block in blocks(2 * MIB, 11):
                connection.sendall(block)
            answer = read_all(connection)
        if len(answer.partition(b"\r\n\r\n")[2]) < 64:
            raise ConnectionError("no answer")
        assert self.digests[2 * MIB].encode() in answer, "the server got other bytes"

    def do_small(self):
        if fetch(self.network.socks, self.port, "/small/soak", timeout=TIME_LIMIT)[1] != len("hello soak\n"):
            raise ConnectionError("no answer")

    def do_new_path(self):
        """What one user asks for does not go where another's goes."""
        with self.connect(user=f"user{random.randrange(1 << 30)}", password="x") as connection:
            connection.sendall(b"GET /small/path HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            if b"hello path" not in read_all(connection):
                raise ConnectionError("no answer")

    def do_abort(self):
        connection = self.take(2 * MIB)
        socks.receive(connection, random.randrange(1, MIB))
        if random.random() < 0.5:
            connection.close()
        else:
            reset(connection)

    def do_slow_reader(self):
        with self.take(MIB // 4, receive_buffer=16 * KIB) as connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += socks.receive(connection, 1)
            sha, count = hashlib.sha256(), 0
            while part := connection.recv(16 * KIB):
                sha.update(part)
                count += len(part)
                time.sleep(0.2)
        self.check(MIB // 4, count, sha.hexdigest())

    def do_half_close(self):
        size = random.randrange(1, 64 * KIB)
        data = next(blocks(size, 11))
        with self.connect(self.origin.server_address[1]) as connection:
            connection.sendall(data)
            connection.shutdown(1)
            answer = read_all(connection)
        if len(answer) < 40:
            raise ConnectionError("no answer")
        assert answer == struct.pack(">Q", size) + hashlib.sha256(data).digest(), "half-closed, the server got other bytes"

    def do_refused(self):
        try:
            self.connect(1).close()
            assert False, "port 1 was connected"
        except socks.SocksError as error:
            if error.code != 5:
                raise


class Stillness:
    """Notes when this machine has had no time for us."""

    def __init__(self):
        self.times = []
        self.stopping = threading.Event()
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        before = time.monotonic()
        while not self.stopping.wait(0.1):
            now = time.monotonic()
            if now - before > STILL_SECONDS:
                self.times.append((before, now))
            before = now


class Hashing(socketserver.BaseRequestHandler):
    """Reads to the end, and only then says how much came, and its hash."""

    def handle(self):
        try:
            data = read_all(self.request)
            self.request.sendall(struct.pack(">Q", len(data)) + hashlib.sha256(data).digest())
        except OSError:
            pass  # Whoever asked has gone.


def read_all(connection):
    data = b""
    while part := connection.recv(65536):
        data += part
    return data


class Watch:
    """Samples what every process uses, and what the proxy has open."""

    def __init__(self, network):
        self.network = network
        self.started = time.monotonic()
        # By process, a list of (seconds, resident bytes, descriptors, threads); a process that is started again is another.
        self.samples = {}
        self.open = []

    def sample(self):
        now = time.monotonic() - self.started
        for name, pid in self.network.processes.items():
            try:
                self.samples.setdefault((name, pid), []).append((now, resident(pid), descriptors(pid), threads(pid)))
            except OSError:
                pass  # It is being restarted.
        status = self.network.status()
        self.open.append((now, status["openStreamCount"], len(status["circuits"])))

    def growth(self, samples, column, seconds):
        """How much more the last third used than the middle one. The first is for warming up, and a median does not see the
        moment at which a burst waits or a router has just died: only what stays counts."""
        middle = [sample[column] for sample in samples if seconds / 3 <= sample[0] < seconds * 2 / 3]
        last = [sample[column] for sample in samples if sample[0] >= seconds * 2 / 3]
        return statistics.median(last) - statistics.median(middle)

    def steady(self, seconds):
        """The samples of the processes that were there all the time."""
        return {name: samples for (name, _), samples in self.samples.items()
                if samples[0][0] < seconds / 3 and samples[-1][0] >= seconds * 0.9}

    def line(self):
        def last(column, scale=1):
            values = {name: samples[-1][column] for (name, pid), samples in self.samples.items()
                      if pid == self.network.processes[name]}
            routers = [value for name, value in values.items() if name not in ("directory", "proxy")]
            return " / ".join(f"{value / scale:.0f}" for value in (values["directory"], values["proxy"], max(routers)))
        return (f"{last(1, MIB)} MiB, {last(2)} descriptors, {last(3)} threads, "
                f"{self.open[-1][1]} streams, {self.open[-1][2]} circuits")


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def soak(context):
    """Mixed load, router restarts and key rotations: no request fails, no process grows, nothing is left."""
    seconds = context.soak_minutes * 60 or SHORT_SECONDS
    network = Network(context.executables, routers=6,
                      extra=[word for name, value in PARAMETERS.items() for word in ("--parameter", f"{name}={value}")])
    started, deaths = [], []
    try:
        assert wait_for(lambda: fetch(network.socks, context.data.port, "/small/x")[0] == 200, 20)
        before = {name: (descriptors(pid), threads(pid)) for name, pid in network.processes.items()}
        watch = Watch(network)
        load = Load(network, context.data.port)
        stillness = Stillness()
        try:
            _play(network, watch, load, seconds, started, deaths)
        finally:
            load.stop()
            stillness.stopping.set()
        _judge_requests(context, load, deaths, stillness.times, seconds)
        _judge_growth(context, watch, seconds)
        _judge_rest(context, network, before)
        left = network.leftovers
        network.stop()
        # Those that were not killed and started again once more.
        for process in [process for process in started if process.poll() is None]:
            process.terminate()
            assert process.wait(10) == 0, f"{process.args[0]} ended with {process.returncode}"
        assert wait_for(lambda: not left(), 10), left()
    finally:
        end_all(network, started)


def _play(network, watch, load, seconds, started, deaths):
    """Sample, and now and then end one of two routers and start it again. The others live to the end."""
    interval = min(10, seconds / 40)
    restart_every = max(seconds / 20, SHORT_SECONDS / 2)
    next_death, next_line = time.monotonic() + restart_every, time.monotonic() + max(60, seconds / 30)
    end, before = time.monotonic() + seconds, processes_seconds(network)
    while (now := time.monotonic()) < end:
        watch.sample()
        if now >= next_death and now < end - interval:
            next_death = now + restart_every
            pid = network.json["routers"][len(deaths) % 2]["pid"]
            command = command_of(network, pid)
            deaths.append(time.monotonic())
            os.kill(pid, signal.SIGTERM if len(deaths) % 4 < 2 else signal.SIGKILL)
            assert wait_for(lambda: not is_alive(pid), 10), "a router does not end"
            start_again(network, pid, command, started)
        if now >= next_line:
            next_line = now + max(60, seconds / 30)
            print(f"    {(now - watch.started) / 60:.0f} min: {watch.line()}; {sum(load.done.values())} requests, "
                  f"{len(load.failed)} failed", flush=True)
        time.sleep(interval)
    used = sum(max(0, processor - before.get(pid, 0)) for pid, processor in processes_seconds(network).items())
    print(f"    {used / seconds:.2f} cores used by the network", flush=True)


def processes_seconds(network):
    return {pid: processor_seconds(pid) for pid in network.processes.values() if is_alive(pid)}


def _judge_requests(context, load, deaths, still, seconds):
    assert not load.wrong, load.wrong[:5]
    disturbances = [(death, death) for death in deaths] + still
    unexcused = [failure for failure in load.failed
                 if not any(failure[0] <= end + EXCUSED_SECONDS and failure[1] >= begin for begin, end in disturbances)]
    counts = ", ".join(f"{count} {kind}" for kind, count in load.done.items())
    context.figure(f"{seconds / 60:.1f} minutes of requests, {len(deaths)} routers restarted",
                   "each succeeds that nothing meets which excuses it",
                   f"{counts}; {len(load.failed) - len(unexcused)} met a death or one of {len(still)} moments when the "
                   f"machine had no time, {len(unexcused)} others failed")
    assert not unexcused, unexcused[:5]
    assert all(load.done.values()), load.done


def _judge_growth(context, watch, seconds):
    steady = watch.steady(seconds)
    assert len(steady) >= 5, f"too few processes lived all the time: {list(steady)}"
    for column, what, slack, scale, unit in ((1, "memory", MEMORY_SLACK, MIB, " MiB"),
                                             (2, "descriptors", DESCRIPTOR_SLACK, 1, ""), (3, "threads", 2, 1, "")):
        growth = {name: watch.growth(samples, column, seconds) for name, samples in steady.items()}
        name = max(growth, key=growth.get)
        context.figure(f"{what}, last third against the middle one", f"at most {slack / scale:+.0f}{unit}",
                       f"at most {growth[name] / scale:+.1f}{unit} ({name})")
        assert growth[name] <= slack, growth
    for column, what in ((1, "streams"), (2, "circuits")):
        growth = watch.growth(watch.open, column, seconds)
        context.figure(f"{what} of the proxy, the same", "at most +10", f"{growth:+.0f}")
        assert growth <= 10, watch.open[-20:]


def _judge_rest(context, network, before):
    """Without load all comes back to what it was before there was any."""
    assert wait_for(lambda: network.status()["openStreamCount"] == 0, 20, step=0.5), network.status()

    def excess():
        now = {name: (descriptors(pid), threads(pid)) for name, pid in network.processes.items()}
        return {name: (now[name], before[name]) for name in now
                if now[name][0] > before[name][0] + 16 or now[name][1] > before[name][1] + 4}

    assert wait_for(lambda: not excess(), 40, step=0.5), f"descriptors, threads left: {excess()}"
    context.figure("descriptors and threads after the load", "those of the beginning", "they are")


CHECKS = [soak]
