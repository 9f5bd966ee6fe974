"""Bytes through the network: right, many at once, bounded, and gone afterwards."""

import hashlib
import http.client
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import socks
from network import descriptors, resident, wait_for
from servers import blocks, digest

MIB = 1 << 20


def shared(check):
    """Mark a check that uses the network that all share."""
    check.shared = True
    return check


def curl(context, *arguments, **options):
    return subprocess.run(["curl", "--silent", "--show-error", "--fail", "--proxy", f"socks5h://{context.network.socks}",
                           *arguments], stdout=subprocess.PIPE, timeout=1800, **options)


def fetch(proxy, port, path, timeout=120, on_part=lambda: None):
    """GET through the proxy with our own SOCKS client; return (status, byte count, SHA-256)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    connection.sock = socks.connect(proxy, "127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        sha, count = hashlib.sha256(), 0
        while part := response.read(1 << 18):
            sha.update(part)
            count += len(part)
            on_part()
        return response.status, count, sha.hexdigest()
    finally:
        connection.close()


@shared
def curl_three_hops(context):
    """curl fetches through three different routers."""
    result = curl(context, f"http://127.0.0.1:{context.data.port}/small/curl")
    assert result.stdout == b"hello curl\n", result
    circuits = context.network.status()["circuits"]
    assert circuits, "no circuit"
    known = {router["fingerprint"] for router in context.network.json["routers"]}
    complete = [circuit for circuit in circuits if len(circuit["hops"]) == 3]
    assert complete, circuits
    for circuit in complete:
        hops = [hop["fingerprint"] for hop in circuit["hops"]]
        assert len(set(hops)) == 3 and set(hops) <= known, hops
    context.beginning()  # From here on, growth counts.


@shared
def replies(context):
    """The SOCKS replies say what happened."""
    listening = context.data.port
    with ThreadPoolExecutor(1) as pool:
        free = pool.submit(_free_port).result()
    for host, port, wanted in (("127.0.0.1", free, 5), ("no-such-name.invalid", 80, 4)):
        try:
            socks.connect(context.network.socks, host, port).close()
            raise AssertionError(f"{host}:{port} was connected")
        except socks.SocksError as error:
            assert error.code == wanted, f"{host}:{port}: {error}, wanted {wanted}"
    socks.connect(context.network.socks, "127.0.0.1", listening).close()


def _free_port():
    import socket
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@shared
def bulk(context):
    """A large download and a large upload at once, compared by SHA-256."""
    size = context.size(64 * MIB, 1024 * MIB)
    url = f"http://127.0.0.1:{context.data.port}"
    results = {}

    def download():
        process = subprocess.Popen(["curl", "--silent", "--show-error", "--fail", "--proxy",
                                    f"socks5h://{context.network.socks}", f"{url}/bytes/{size}/1"],
                                   stdout=subprocess.PIPE)
        sha = hashlib.sha256()
        while part := process.stdout.read(MIB):
            sha.update(part)
        results["down"] = (process.wait(), sha.hexdigest())

    def upload():
        process = subprocess.Popen(["curl", "--silent", "--show-error", "--fail", "--proxy",
                                    f"socks5h://{context.network.socks}", "--request", "PUT", "--header",
                                    f"Content-Length: {size}", "--header", "Transfer-Encoding:", "--upload-file", "-",
                                    f"{url}/hash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for block in blocks(size, 2):
            process.stdin.write(block)
        process.stdin.close()
        text = process.stdout.read().decode().strip()
        results["up"] = (process.wait(), text)

    started = time.monotonic()
    threads = [threading.Thread(target=download), threading.Thread(target=upload)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(1800)
    seconds = time.monotonic() - started
    assert results.get("down") == (0, digest(size, 1)), f"download: {results.get('down')}"
    assert results.get("up") == (0, digest(size, 2)), f"upload: {results.get('up')}"
    context.figure(f"{size // MIB} MiB down and {size // MIB} MiB up at once", "same SHA-256",
                   f"same, {seconds:.1f} s, {2 * size / MIB / seconds:.0f} MiB/s together")


@shared
def parallel(context):
    """Many downloads at once, compared by SHA-256."""
    count, size = context.size(40, 200), context.size(1 * MIB, 5 * MIB)
    wanted = digest(size, 3)
    started = time.monotonic()
    with ThreadPoolExecutor(count) as pool:
        results = list(pool.map(lambda _: fetch(context.network.socks, context.data.port, f"/bytes/{size}/3", 600),
                                range(count)))
    seconds = time.monotonic() - started
    wrong = [result for result in results if result != (200, size, wanted)]
    assert not wrong, f"{len(wrong)} of {count} wrong, the first: {wrong[0]}"
    context.figure(f"{count} parallel downloads of {size // MIB} MiB", "same SHA-256",
                   f"same, {seconds:.1f} s, {count * size / MIB / seconds:.0f} MiB/s")


@shared
def small(context):
    """Thousands of small requests, 50 at a time, without an error."""
    count = context.size(500, 5000)
    errors = []

    def one(index):
        try:
            status, length, _ = fetch(context.network.socks, context.data.port, f"/small/{index}")
            if (status, length) != (200, len(f"hello {index}\n")):
                errors.append(f"{index}: status {status}, {length} bytes")
        except Exception as error:
            errors.append(f"{index}: {error!r}")

    started = time.monotonic()
    with ThreadPoolExecutor(50) as pool:
        list(pool.map(one, range(count)))
    seconds = time.monotonic() - started
    context.figure(f"{count} small requests, 50 at a time", "no error",
                   f"{len(errors)} errors, {seconds:.1f} s, {count / seconds:.0f} a second")
    assert not errors, f"{len(errors)} errors, the first: {errors[:3]}"


@shared
def slow_reader(context):
    """A reader that stops makes no process grow by more than 32 MiB, and stalls nobody else."""
    size = context.size(256 * MIB, 1024 * MIB)
    before = {name: resident(pid) for name, pid in context.network.processes.items()}
    connection = socks.connect(context.network.socks, "127.0.0.1", context.data.port)
    try:
        connection.sendall(f"GET /bytes/{size}/4 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        connection.recv(1000)
        growth, slowest = {}, 0.0
        end = time.monotonic() + context.size(5, 20)
        while time.monotonic() < end:
            started = time.monotonic()
            assert fetch(context.network.socks, context.data.port, "/small/beside")[0] == 200
            slowest = max(slowest, time.monotonic() - started)
            for name, pid in context.network.processes.items():
                growth[name] = max(growth.get(name, 0), resident(pid) - before[name])
            time.sleep(0.1)
        name = max(growth, key=growth.get)
        context.figure("growth while a reader stands still", "at most 32 MiB",
                       f"{growth[name] / MIB:.1f} MiB ({name}); requests beside it at most {slowest * 1000:.0f} ms")
        assert growth[name] <= 32 * MIB, growth
    finally:
        connection.close()


@shared
def resume(context):
    """A reader that pauses gets every byte in the end."""
    size = 32 * MIB
    connection = socks.connect(context.network.socks, "127.0.0.1", context.data.port, receive_buffer=1 << 16)
    try:
        connection.sendall(f"GET /bytes/{size}/5 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        reader = connection.makefile("rb", buffering=1 << 16)
        while reader.readline().strip():
            pass
        time.sleep(2)
        sha, count = hashlib.sha256(), 0
        while part := reader.read(1 << 16):
            sha.update(part)
            count += len(part)
        assert (count, sha.hexdigest()) == (size, digest(size, 5)), count
    finally:
        connection.close()


@shared
def nothing_left(context):
    """After all this, memory, descriptors and streams are back where they were."""
    processes = context.network.processes
    context.beginning()

    def excess():
        return {name: descriptors(pid) - context.descriptors[name] for name, pid in processes.items()
                if descriptors(pid) > context.descriptors[name] + 8}

    assert wait_for(lambda: not excess(), 90, step=1), f"descriptors left: {excess()}"
    streams = wait_for(lambda: context.network.status()["openStreamCount"] == 0, 10, step=0.5)
    assert streams, context.network.status()
    growth = {name: resident(pid) - context.resident[name] for name, pid in processes.items()}
    name = max(growth, key=growth.get)
    extra = {name: descriptors(pid) - context.descriptors[name] for name, pid in processes.items()}
    context.figure("resident memory after the load", "within 64 MiB of the beginning",
                   f"at most {growth[name] / MIB:+.1f} MiB ({name})")
    context.figure("descriptors and streams after the load", "none left",
                   f"at most {max(extra.values()):+d} descriptors, 0 streams")
    assert growth[name] <= 64 * MIB, growth


CHECKS = [curl_three_hops, replies, bulk, parallel, small, slow_reader, resume, nothing_left]
