"""A user's machine that can reach only the nodes: everything works from there, and nothing else leaves it."""

import os
import shutil
import sys
import time

from cases import Skip, case
from lab import CORE, ELSEWHERE, NOBODY, SILENT, WORLD, Lab, can_make_namespaces

GROUP = "Never leaks"
HERE = os.path.dirname(os.path.abspath(__file__))


def lab(context):
    if os.getuid() != 0 or shutil.which("ip") is None or not can_make_namespaces():
        raise Skip("needs root, ip and network namespaces")
    if not hasattr(context, "lab"):
        context.lab = context.keep(Lab(context.executables))
    return context.lab


def curl(lab, *arguments, proxy="socks5h"):
    return lab.run("curl", "-sS", "--fail", "--noproxy", "", "--max-time", "60", "--proxy", f"{proxy}://{lab.socks}", *arguments)


def allowed(lab):
    """Where the proxy may connect to: the directory server, and its guards."""
    return {f"6 {CORE} {lab.network.ds.addresses[0].rsplit(':', 1)[1]}"} | {
        f"6 {CORE} {router.addresses[0].rsplit(':', 1)[1]}" for router in lab.network.routers}


def guard(lab):
    return "6 {} {}".format(*lab.network.status()["guard"]["address"].rsplit(":", 1))


@case(GROUP, "the machine itself reaches neither the server nor a name server", needs=["curl"])
def cut_off_machine(context):
    here = lab(context)
    result = here.run("curl", "-sS", "--max-time", "2", f"http://{WORLD}:{here.web}/small/x")
    assert result.returncode != 0, result


@case(GROUP, "requests of every kind work, and leave only towards the guard", needs=["curl"])
def every_kind(context):
    here = lab(context)
    watcher = here.watch()
    for proxy in ("socks5h", "socks4a", "http"):
        result = curl(here, f"http://www.test:{here.web}/small/{proxy}", proxy=proxy)
        assert result.stdout == f"hello {proxy}\n", result
    for proxy in ("socks5", "socks4"):
        assert curl(here, f"http://{WORLD}:{here.web}/small/{proxy}", proxy=proxy).stdout == f"hello {proxy}\n"
    assert curl(here, "--proxytunnel", f"http://www.test:{here.web}/small/t", proxy="http").stdout == "hello t\n"
    for name in ("nobody.test", "servfail.test"):
        assert curl(here, f"http://{name}/").returncode == 97
    assert len(curl(here, f"http://www.test:{here.web}/bytes/5000000", "-o", "/dev/null", "-w", "%{size_download}").stdout) == 7
    seen = here.seen(watcher)
    strangers = set(seen["flows"]) - {guard(here)}
    # Its own consensus comes by circuits too; the directory server is asked only at the first start.
    assert strangers <= {f"6 {CORE} {here.network.ds.addresses[0].rsplit(':', 1)[1]}"}, seen
    assert set(seen["others"]) <= {"0x806"}, seen


@case(GROUP, "no DNS, while names are asked for by every way there is", needs=["curl"])
def no_dns(context):
    here = lab(context)
    watcher = here.watch()
    for name in ("one.test", "two.test", "localhost", "printer.local", "x.onion", "y.internal"):
        for proxy in ("socks5h", "socks4a", "http"):
            curl(here, f"http://{name}/", proxy=proxy)
    if shutil.which("tor-resolve"):
        assert here.run("tor-resolve", "www.test", here.socks).stdout.strip() == WORLD
        assert here.run("tor-resolve", "-x", WORLD, here.socks).stdout.strip() == "www.test"
        here.run("tor-resolve", "nobody.test", here.socks)
    seen = here.seen(watcher)
    assert not [flow for flow in seen["flows"] if flow.startswith("17 ") or flow.endswith(" 53")], seen
    assert set(seen["flows"]) <= allowed(here), seen


@case(GROUP, "a proxy that starts there connects to the directory server and the guard alone", needs=["curl"])
def fresh_start(context):
    here = lab(context)
    watcher = here.watch()
    proxy = here.network.start_proxy("proxy2", ["127.0.0.1:0"])
    result = here.run("curl", "-sS", "--proxy", f"socks5h://{proxy.addresses[0]}", f"http://www.test:{here.web}/small/fresh")
    assert result.stdout == "hello fresh\n", result
    own = "6 {} {}".format(*here.network.status("proxy2")["guard"]["address"].rsplit(":", 1))
    seen = here.seen(watcher)
    proxy.stop()
    here.network.daemons.remove(proxy)
    assert set(seen["flows"]) <= {own, guard(here), f"6 {CORE} {here.network.ds.addresses[0].rsplit(':', 1)[1]}"}, seen


@case(GROUP, "wget by torsocks, name and address", needs=["torsocks", "wget"])
def torsocks(context):
    here = lab(context)
    port = here.socks.rsplit(":", 1)[1]
    watcher = here.watch()
    for host in ("www.test", WORLD):
        for options in ([], ["-i"], ["-u", "alice", "-p", "secret"]):
            result = here.run("torsocks", "-P", port, *options, "wget", "-q", "-O", "-", "-T", "30",
                              f"http://{host}:{here.web}/small/torsocks")
            assert result.stdout == "hello torsocks\n", (host, options, result)
    result = here.run("torsocks", "-P", port, "curl", "-sS", f"http://www.test:{here.web}/bytes/3000000", "-o", "/dev/null", "-w",
                      "%{size_download}")
    assert result.stdout == "3000000", result
    seen = here.seen(watcher)
    assert set(seen["flows"]) <= allowed(here), seen


@case(GROUP, "git by torsocks", needs=["torsocks", "git"])
def torsocks_git(context):
    here = lab(context)
    port = here.socks.rsplit(":", 1)[1]
    result = here.run("torsocks", "-P", port, "git", "ls-remote", f"http://www.test:{here.web}/nothing.git")
    # There is no repository; that the server says so is what counts.
    assert "not found" in result.stderr or "not valid" in result.stderr, result


@case(GROUP, "no route, nobody there, and no answer: SOCKS 3, 4 and 6; HTTP 502, 502 and 504", needs=["curl"])
def unreachable(context):
    here = lab(context)
    code = ("import socket, sys, time\n"
            "host, port = sys.argv[1].rsplit(':', 1)\n"
            "for target in sys.argv[2:]:\n"
            "    started = time.monotonic()\n"
            "    c = socket.create_connection((host, int(port)), 60)\n"
            "    c.settimeout(None)\n"
            "    c.sendall(b'\\5\\1\\0\\5\\1\\0\\1' + socket.inet_aton(target) + b'\\0\\x50')\n"
            "    code = c.recv(12, socket.MSG_WAITALL)[3]\n"
            "    c = socket.create_connection((host, int(port)), 60)\n"
            "    c.settimeout(None)\n"
            "    c.sendall(b'CONNECT %s:80 HTTP/1.1\\r\\n\\r\\n' % target.encode())\n"
            "    print(code, c.recv(12, socket.MSG_WAITALL).split()[1].decode(), round(time.monotonic() - started, 1))\n")
    result = here.run(sys.executable, "-c", code, here.socks, ELSEWHERE, NOBODY, SILENT, timeout=120)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[:2] for line in lines] == [["3", "502"], ["4", "502"], ["6", "504"]], (lines, result.stderr)
    context.note(", ".join(f"{line[2]} s" for line in lines))
    # Two requests each: 5 s for connecting there, and 2 s for other exits.
    assert float(lines[2][2]) < 2 * (5 + 2) + 2, lines


@case(GROUP, "of a name whose second address no exit can reach, the first one's answer is told", needs=["curl"])
def half_reachable(context):
    here = lab(context)
    assert curl(here, f"http://half.test:{here.web}/small/half").stdout == "hello half\n"
    result = curl(here, "http://half.test:9/")
    assert result.returncode == 97 and "(5)" in result.stderr, result


@case(GROUP, "exits stay away from the nodes and from their own machine", needs=["curl"])
def exits_keep_away(context):
    here = lab(context)
    ports = [router.addresses[0].rsplit(":", 1)[1] for router in here.network.routers]
    for place in [f"{CORE}:{port}" for port in ports] + [f"{CORE}:22", "127.0.0.1:80", "localhost:80", "45.0.0.1:80",
                                                                           f"{WORLD}:25", "10.0.0.1:80", "[::1]:80"]:
        result = curl(here, f"http://{place}/")
        assert result.returncode == 97 and "(2)" in result.stderr, (place, result)
