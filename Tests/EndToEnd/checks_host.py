"""What the programs and their systemd units do to defend the machine that they run on, and the keys on it."""

import atexit
import base64
import ctypes
import glob
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from checks_load import fetch
from network import Skipped, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
UNITS = os.path.realpath(f"{HERE}/../../systemd")
sys.path.append(f"{HERE}/../RealPrograms")

from nodes import OwnNetwork  # noqa: E402, of the folder above

ROLES = ["directory", "router", "proxy"]
# Nobody's: no user of this machine has it.
USER = 64_999
EXPOSURE_LIMIT = 2.0


def _unit(role):
    return f"{UNITS}/thor-{role}.service"


def needs(*needed):
    """Skip the check if this machine does not have all of these programs, libraries or rights."""
    for need in needed:
        if need == "root":
            missing = os.geteuid() != 0
        elif need.endswith(".so.2"):
            try:
                missing = ctypes.CDLL(need) is None
            except OSError:
                missing = True
        else:
            missing = shutil.which(need) is None
        if missing:
            raise Skipped(f"needs {need}")


def units(context):
    """The systemd units are sound, and their exposure is at most 2.0 each; so are the users that they name."""
    needs("systemd-analyze")
    with tempfile.TemporaryDirectory() as folder:
        for role in ROLES:
            # A unit is only sound if what it starts is there.
            with open(_unit(role)) as source, open(f"{folder}/thor-{role}.service", "w") as copy:
                copy.write(source.read().replace("/usr/local/bin", context.executables))
        files = sorted(glob.glob(f"{folder}/*.service"))
        result = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True)
        assert result.returncode == 0 and not result.stderr.strip(), result.stderr
        with open(files[0], "a") as file:
            file.write("[Service]\nNoSuchDirective=yes\n")
        assert subprocess.run(["systemd-analyze", "verify", files[0]], capture_output=True, text=True).stderr.strip(), \
            "systemd-analyze verify finds no fault with anything"
    for role in ROLES:
        result = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", _unit(role)],
                                capture_output=True, text=True)
        exposure = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", result.stdout).group(1))
        context.figure(f"exposure of thor-{role}.service", f"≤ {EXPOSURE_LIMIT}", exposure)
        assert exposure <= EXPOSURE_LIMIT, result.stdout
    with open(f"{UNITS}/thor.sysusers") as file:
        users = re.findall(r"^u (\S+)", file.read(), re.MULTILINE)
    assert users == [f"thor-{role}" for role in ROLES], users


class Manager:
    """The service manager's end of sd_notify: a datagram socket, and what came in."""

    def __init__(self, abstract):
        self.folder = tempfile.mkdtemp(prefix="thor-notify-")
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self.name = f"@thor-notify-{os.getpid()}-{id(self)}" if abstract else f"{self.folder}/socket"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + self.name[1:] if abstract else self.name)
        self.messages = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            try:
                self.messages.append((time.monotonic(), self.socket.recv(4096).decode()))
            except OSError:
                return

    def environment(self, watchdog=None):
        """The words that start a command so that it is heard here."""
        words = ["env", f"NOTIFY_SOCKET={self.name}"]
        return words + [f"WATCHDOG_USEC={int(watchdog * 1_000_000)}"] if watchdog else words

    def lines(self):
        return [line for _, message in list(self.messages) for line in message.split("\n")]

    def has(self, line):
        return line in self.lines()

    def signs(self):
        """How many signs of life there have been."""
        return self.lines().count("WATCHDOG=1")

    def close(self):
        self.socket.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class FrozenThread:
    """Holds one thread of another process still, while its other threads run: what a hung event loop looks like."""

    SEIZE, INTERRUPT, DETACH, ALL = 0x4206, 0x4207, 17, 0x40000000

    def __init__(self, pid, name):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/comm") as file:
                if file.read().startswith(name):
                    self.thread = int(task)
                    break
        else:
            raise AssertionError(f"process {pid} has no thread {name}")

    def __enter__(self):
        self._trace(self.SEIZE)
        self._trace(self.INTERRUPT)
        os.waitpid(self.thread, self.ALL)

    def __exit__(self, *_):
        self._trace(self.DETACH)

    def _trace(self, request):
        if self.libc.ptrace(request, self.thread, None, None) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")


def service_manager(context):
    """Each daemon tells the service manager when it is ready, what it waits on, that it lives, and that it stops."""
    managers = {}

    def where(name):
        managers[name] = Manager(abstract=name != "proxy")
        return managers[name].environment(watchdog=2)

    network = OwnNetwork(context.executables, routers=3, where=where)
    try:
        for daemon in network.daemons:
            manager = managers[daemon.name]
            assert wait_for(lambda: manager.has("READY=1"), 10), (daemon.name, manager.lines())
            assert manager.lines().count("READY=1") == 1, manager.lines()
        statuses = managers["router0"].lines()
        waiting = next(line for line in statuses if line.startswith("STATUS=listening on"))
        assert "not yet in the consensus" in waiting and statuses.index(waiting) < statuses.index("READY=1"), statuses
        assert any(re.match(r"STATUS=\d+% ", line) for line in managers["proxy"].lines()), managers["proxy"].lines()
        assert fetch(network.socks, context.data.port, "/small/x")[0] == 200

        for name, thread in (("directory", "NIO-SGLTN"), ("router0", "NIO-ELT"), ("proxy", "NIO-ELT")):
            manager, pid = managers[name], network.processes[name]
            seen = manager.signs()
            assert wait_for(lambda: manager.signs() >= seen + 3, 20), f"{name} gives no signs of life"
            with FrozenThread(pid, thread):
                time.sleep(1)  # What was under way.
                seen = manager.signs()
                time.sleep(3)
                assert manager.signs() == seen, f"{name} says that it lives while an event loop hangs"
            assert wait_for(lambda: manager.signs() > seen, 20), f"{name} does not come back"

        for daemon in reversed(network.daemons):
            daemon.process.send_signal(signal.SIGTERM)
            assert daemon.process.wait(10) == 0, daemon.said()
            assert wait_for(lambda: managers[daemon.name].has("STOPPING=1"), 5), daemon.name
    finally:
        network.stop()
        for manager in managers.values():
            manager.close()


def proxy_without_directory(context):
    """A proxy whose directory server cannot be reached says so to the service manager, and is not ready."""
    folder = f"{context.scratch}/lonely"
    os.makedirs(folder)
    for arguments in (["generate", f"{folder}/directory.key"], ["public", f"{folder}/directory.key", f"{folder}/directory.pub"]):
        subprocess.run([f"{context.executables}/thor-keys", *arguments], check=True, capture_output=True)
    manager = Manager(abstract=False)
    # Bound and not listened on: whoever connects is refused.
    closed = socket.socket()
    try:
        closed.bind(("127.0.0.1", 0))
        proxy = subprocess.Popen(
            [*manager.environment(), f"{context.executables}/thor-proxy", f"127.0.0.1:{closed.getsockname()[1]}",
             f"{folder}/directory.pub", "--listen", "127.0.0.1:0", "--state", f"{folder}/state"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            waits = lambda: [line for line in manager.lines() if line.startswith("STATUS=5% ") and "refused" in line.lower()]
            assert wait_for(waits, 20), manager.lines()
            assert proxy.poll() is None and not manager.has("READY=1"), manager.lines()
        finally:
            proxy.terminate()
            proxy.wait(10)
        assert wait_for(lambda: manager.has("STOPPING=1"), 5), manager.lines()

        # What keeps a daemon from starting is said there too.
        failed = subprocess.run(
            [*manager.environment(), f"{context.executables}/thor-router", "127.0.0.1:1", f"{folder}/directory.pub",
             f"{folder}/no-such.key", "--state", f"{folder}/state"], capture_output=True, text=True, timeout=20)
        assert failed.returncode == 66, failed
        assert wait_for(lambda: any("no-such.key" in line for line in manager.lines()), 5), manager.lines()
    finally:
        closed.close()
        manager.close()


class ConfinedNetwork(OwnNetwork):
    """A network whose daemons run under the restrictions of their units, as a user who may do nothing."""

    def __init__(self, executables, **options):
        super().__init__(executables, where=self._confined, **options)

    def _start(self, name, command):
        os.chmod(self.directory, 0o711)
        os.mkdir(self.state(name), 0o700)
        os.chown(self.state(name), USER, USER)
        return super()._start(name, command)

    def _confined(self, name):
        role = name.rstrip("0123456789")
        key = [] if role == "proxy" else ["--credential", self._path(f"{name}.key")]
        return [sys.executable, f"{HERE}/confine.py", _unit(role), "--user", str(USER), "--network", self.directory,
                "--state", self.state(name), *key, "--"]


# Tries what the unit forbids, and prints what went through all the same.
PROBE = """
import ctypes, mmap, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def attempt(what, action):
    try:
        action()
    except OSError:
        return
    print(what)
def succeeds(result):
    if result < 0:
        raise OSError
state, network, key = sys.argv[1:]
attempt("write in /etc", lambda: open("/etc/thor-probe", "w"))
attempt("write in /var/lib", lambda: open("/var/lib/thor-probe", "w"))
attempt("write beside the state", lambda: open(network + "/thor-probe", "w"))
attempt("write the key", lambda: open(key, "r+"))
attempt("read /root", lambda: os.listdir("/root"))
attempt("a packet socket", lambda: socket.socket(17, socket.SOCK_RAW, 0))
attempt("memory to write and execute", lambda: mmap.mmap(-1, 4096, prot=7))
attempt("a namespace", lambda: succeeds(libc.unshare(0x10000000)))
attempt("another user", lambda: os.setuid(0))
attempt("a set-user-id file", lambda: (open(state + "/probe", "w").close(), os.chmod(state + "/probe", 0o4755)))
attempt("see others' processes", lambda: os.stat("/proc/1"))
attempt("a mount", lambda: succeeds(libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None)))
attempt("trace a process", lambda: succeeds(libc.ptrace(0, 0, 0, 0)))
open(state + "/probe", "w").write("the state directory can be written")
assert open(key).read()
print("done")
"""


def confined_network(context):
    """A whole network serves requests under its units' restrictions: no rights, a read-only machine, a system call filter."""
    needs("root", "systemd-analyze", "libseccomp.so.2")
    network = ConfinedNetwork(context.executables, routers=3)
    try:
        for name in ("/small/confined", "/bytes/3000000/1"):
            status, count, _ = fetch(network.socks, context.data.port, name)
            assert status == 200 and count > 0, status
        for daemon in network.daemons:
            with open(f"/proc/{daemon.pid}/status") as file:
                facts = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
            assert facts["Uid"].split() == [str(USER)] * 4, (daemon.name, facts["Uid"])
            assert facts["NoNewPrivs"] == "1" and facts["Seccomp"] == "2", (daemon.name, facts)
            for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                assert int(facts[kind], 16) == 0, (daemon.name, kind, facts[kind])
            _check_memory(daemon.name, daemon.pid)
        said = network.said()
        assert "denied" not in said.lower() and "not permitted" not in said.lower(), said
        for role, name in (("directory", "directory"), ("router", "router0")):
            probe = subprocess.run(
                # One that does not lie in somebody's home.
                [*network._confined(name), "/usr/bin/python3", "-c", PROBE, network.state(name), network.directory,
                 network._path(f"{name}.key")], capture_output=True, text=True, timeout=60)
            assert probe.stdout.split("\n")[:-1] == ["done"], (role, probe.stdout, probe.stderr)
    finally:
        network.stop()


def no_core_of_keys(context):
    """thor-keys, which holds passphrases and the root key, leaves no core file, even where core files are allowed."""
    needs("prlimit")
    with tempfile.TemporaryDirectory() as folder:
        keys, key = f"{context.executables}/thor-keys", f"{folder}/root.key"
        subprocess.run([keys, "generate", key, "--passphrase-file", "-"], input=b"correct horse\n", check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30)
        waiting = subprocess.Popen(["prlimit", "--core=unlimited", keys, "public", key, f"{folder}/root.pub",
                                    "--passphrase-file", "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        try:
            assert wait_for(lambda: _waits_for_input(waiting.pid), 10), "it does not ask for the passphrase"
            _check_core(waiting.args[2], waiting.pid)
            waiting.communicate(b"correct horse\n", timeout=30)
            assert waiting.returncode == 0
        finally:
            waiting.kill()


def _waits_for_input(pid):
    """Whether it is in read() on standard input."""
    with open(f"/proc/{pid}/syscall") as file:
        number, descriptor = (file.read().split() + ["", ""])[:2]
    # Of x86-64 and of arm64.
    return number in ("0", "63") and descriptor == "0x0"


def _check_core(name, pid):
    with open(f"/proc/{pid}/limits") as file:
        core = next(line for line in file if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"], (name, core)
    with open(f"/proc/{pid}/coredump_filter") as file:
        assert int(file.read(), 16) == 0, name


def _check_memory(name, pid):
    """No core dump, and the long-term keys locked."""
    _check_core(name, pid)
    with open(f"/proc/{pid}/status") as file:
        locked = int(re.search(r"VmLck:\s+(\d+) kB", file.read()).group(1))
    # A page for each key that is kept, the TLS library's excepted: the proxy has none.
    wanted = {"directory": 2, "proxy": 0}.get(name, 2) * resource.getpagesize() >> 10
    assert locked >= wanted, f"{name}: {locked} KiB locked, wanted {wanted}"


def _mappings(pid):
    """The readable memory of a process: (start, end, name, flags of smaps) for each mapping."""
    found = []
    with open(f"/proc/{pid}/smaps") as file:
        for line in file:
            if head := re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)", line):
                start, end, rights, name = head.groups()
            elif line.startswith("VmFlags:") and "r" in rights and name not in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
                found.append((int(start, 16), int(end, 16), name.strip() or "heap", line.split()[1:]))
    return found


def _occurrences(pid, wanted):
    """Where in a process's memory each of the wanted byte strings is: name -> list of mappings' kinds."""
    found = {name: [] for name in wanted}
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for start, end, name, flags in _mappings(pid):
            try:
                memory.seek(start)
                data = memory.read(end - start)
            except (OSError, OverflowError):
                continue
            kind = "locked" if "lo" in flags and "dd" in flags else name
            for what, text in wanted.items():
                found[what] += [kind] * data.count(text)
    return found


def keys_in_memory(context):
    """In a daemon's memory each long-term key is once, locked and never dumped, and the text of its file is nowhere."""
    needs("root")
    network = OwnNetwork(context.executables, routers=3)
    try:
        assert fetch(network.socks, context.data.port, "/small/x")[0] == 200
        for daemon, held in ((network.ds, "directory.key"), (network.routers[0], "router0.key")):
            _check_memory(daemon.name, daemon.pid)
            paths = {"identity key" if daemon is not network.ds else "directory key": network._path(held),
                     "link key": f"{network.state(daemon.name)}/link.key"}
            for path in glob.glob(f"{network.state(daemon.name)}/onion-*.key"):
                paths["onion key"] = path
            wanted = {}
            for what, path in paths.items():
                with open(path) as file:
                    text = file.read().split("\n")[1]
                wanted[what] = base64.urlsafe_b64decode(text + "=")
                # Both ends, as a part may have been written over.
                wanted[f"{what}'s text"] = text.encode()
                wanted[f"first half of {what}'s text"] = text[:21].encode()
                wanted[f"second half of {what}'s text"] = text[22:].encode()
            found = _occurrences(daemon.pid, wanted)
            for what in paths:
                wanted_copies = "the TLS library's beside" if what == "link key" else "1 locked"
                context.figure(f"{daemon.name}: copies of the {what} in memory", wanted_copies,
                               ", ".join(f"{found[what].count(kind)} {kind}" for kind in sorted(set(found[what]))) or "none")
            texts = {what: where for what, where in found.items() if "text" in what and where}
            assert not texts, (daemon.name, texts)
            for what in paths:
                # The TLS library has copies of the link key in its own memory.
                if what != "link key":
                    assert found[what] == ["locked"], (daemon.name, what, found[what])
    finally:
        network.stop()


def unlocked_keys(context):
    """A daemon that may lock no memory, or less than it has keys, says that its keys are not locked, and goes on."""
    needs("root", "setpriv", "prlimit")
    # It has two keys, of a page each.
    for limit, is_said in ((0, True), (resource.getpagesize(), True), (2 * resource.getpagesize(), False)):
        folder = f"{context.scratch}/locked-{limit}"
        os.makedirs(folder)
        key, log = f"{folder}/key", f"{folder}/log"
        subprocess.run([f"{context.executables}/thor-keys", "generate", key], check=True, capture_output=True)
        for path in (folder, key):
            os.chown(path, USER, USER)
        os.chmod(context.scratch, 0o711)
        # The right to lock as much as one likes goes with root.
        with open(log, "w") as file:
            daemon = subprocess.Popen(
                ["prlimit", f"--memlock={limit}", "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups",
                 f"{context.executables}/thor-directory", key, "--open-registration", "--listen", "127.0.0.1:0", "--state",
                 f"{folder}/state"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=file, text=True)
        try:
            assert daemon.stdout.readline().startswith("listening"), open(log).read()
            with open(log) as file:
                said = file.read()
            assert ("warning keys are not locked in memory" in said) == is_said, said
        finally:
            daemon.terminate()
            daemon.wait(10)


def installing(context):
    """make install builds nothing: it takes the programs that are there, or says how to make them."""
    needs("make", "strip")
    root, folder = os.path.join(HERE, "../.."), f"{context.scratch}/install"
    os.makedirs(f"{folder}/.build/release")
    shutil.copy(f"{root}/Makefile", folder)
    shutil.copytree(f"{root}/systemd", f"{folder}/systemd")

    def install():
        # A machine without Swift.
        return subprocess.run(["make", "-C", folder, "install", f"DESTDIR={folder}/root"], capture_output=True, text=True,
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})

    result = install()
    assert result.returncode != 0 and "run 'make build' first" in result.stderr, result
    programs = [f"thor-{name}" for name in ("keys", "directory", "router", "proxy", "testnet", "chatgpt")]
    for program in programs:
        os.symlink(f"{context.executables}/{program}", f"{folder}/.build/release/{program}")
    result = install()
    assert result.returncode == 0, result
    assert sorted(os.listdir(f"{folder}/root/usr/local/bin")) == sorted(programs)
    # What the operator wrote stays; what an older version installed does not.
    options, unit = f"{folder}/root/etc/thor/router.conf", f"{folder}/root/usr/local/lib/systemd/system/thor-router.service"
    for path in (options, unit):
        with open(path, "w") as file:
            file.write("mine")
    assert install().returncode == 0
    assert open(options).read() == "mine" and "ExecStart=/usr/local/bin/thor-router" in open(unit).read()


# What an operator does, as Operating has it, and facts about what came of it.
TRIAL = """
fact() { echo "FACT $1=${*:2}"; }
show() { systemctl show -P "$2" "thor-$1"; }
until_is() { for _ in $(seq 300); do [ "$(show $1 $2)" = "$3" ] && return; sleep 0.1; done; }
ip link set lo up
systemd-sysusers && systemctl daemon-reload
thor-keys generate /etc/thor/directory.key
thor-keys public /etc/thor/directory.key /etc/thor/directory.pub
for key in /etc/thor/router.key /root/two.key /root/three.key; do thor-keys generate $key; done > /etc/thor/routers.txt
cat > /etc/thor/directory.conf <<END
OPTIONS=--routers /etc/thor/routers.txt --listen 127.0.0.1:9030 --parameter allow-loopback=1 --parameter allow-same-subnet=1
END
cat > /etc/thor/router.conf <<END
DIRECTORY=127.0.0.1
OPTIONS=--nickname One --listen 127.0.0.1:9001 --contact "Jo Doe" --exit-policy "accept 127.0.0.0/8:*"
END
sed -i "s/^DIRECTORY=/&127.0.0.1/" /etc/thor/proxy.conf
systemctl enable --now thor-directory
fact directory $(show directory ActiveState) $(show directory StatusText)
systemctl enable --now thor-router
fact router $(show router ActiveState) $(show router StatusText)
systemctl start --no-block thor-proxy
for _ in $(seq 100); do [[ "$(show proxy StatusText)" == *"no three routers"* ]] && break; sleep 0.1; done
fact waiting $(show proxy ActiveState) $(show proxy StatusText)
rules=(--exit-policy "accept 127.0.0.0/8:*")
for name in two three; do
    thor-router 127.0.0.1 /etc/thor/directory.pub /root/$name.key --nickname $name --listen 127.0.0.1:0 --state /root/$name \\
        "${rules[@]}" &
    rules=(--no-exit)
done
until_is proxy ActiveState active
fact proxy $(show proxy ActiveState) $(show proxy StatusText)
mkdir /tmp/site && echo hello > /tmp/site/index
( cd /tmp/site && exec python3 -m http.server 8000 --bind 127.0.0.1 ) > /dev/null 2>&1 &
for _ in $(seq 50); do curl -s -o /dev/null http://127.0.0.1:8000/ && break; sleep 0.1; done
fact answer $(curl -s --max-time 30 --proxy socks5h://127.0.0.1:1080 http://127.0.0.1:8000/index)
fact status $(thor-proxy status --state /var/lib/thor-proxy | head -1)
fact routers $(thor-proxy status --state /var/lib/thor-proxy --routers | cut -d " " -f 2,5-7)
fact states $(stat -c "%U %a" /var/lib/thor-directory /var/lib/thor-router /var/lib/thor-proxy)
fact keys $(stat -c "%U %a" /etc/thor/directory.key /etc/thor/router.key)
main=$(show router MainPID)
fact credential $(nsenter -t $main -m stat -c "%U %a" /run/credentials/thor-router.service/router.key)
fact rights $(grep -E "^(CapEff|CapBnd|NoNewPrivs|Seccomp):" /proc/$main/status)
# A daemon that hangs.
mkdir -p /run/systemd/system/thor-router.service.d
printf "[Service]\\nWatchdogSec=1\\nTimeoutAbortSec=1\\n" > /run/systemd/system/thor-router.service.d/soon.conf
systemctl daemon-reload
systemctl restart thor-router
sleep 3
fact alive $(show router ActiveState) $(show router NRestarts)
kill -STOP $(show router MainPID)
until_is router NRestarts 1
until_is router ActiveState active
fact hung $(show router ActiveState) $(show router NRestarts)
systemctl stop thor-proxy
fact stopped $(show proxy ActiveState) $(show proxy Result) $(show proxy ExecMainStatus)
journalctl --no-pager -o cat -n 8 -u thor-proxy
# The directory server is backed up, lost, and put back.
systemctl stop thor-directory
echo "a passphrase" > /root/passphrase && chmod 600 /root/passphrase
thor-keys copy /etc/thor/directory.key /root/directory.key.backup --passphrase-file /root/passphrase
tar -C / -czf /root/directory.tar.gz etc/thor/routers.txt etc/thor/directory.conf var/lib/thor-directory
rm -r /etc/thor/directory.key /etc/thor/routers.txt /etc/thor/directory.conf /var/lib/thor-directory
tar -C / -xzf /root/directory.tar.gz
thor-keys copy /root/directory.key.backup /etc/thor/directory.key --old-passphrase-file /root/passphrase
chown -R thor-directory: /var/lib/thor-directory
systemctl start thor-directory
fact moved $(show directory ActiveState) $(stat -c "%U %a" /var/lib/thor-directory/registry.sqlite)
# A router's key was stolen.
systemctl stop thor-router
before=$(cat /var/lib/thor-router/link.key /var/lib/thor-router/onion-*.key)
rm /etc/thor/router.key
sh -c 'rm /var/lib/thor-router/link.key /var/lib/thor-router/onion-*.key'
thor-keys generate /etc/thor/router.key >> /etc/thor/routers.txt
systemctl start --no-block thor-router
until_is router ActiveState active
after=$(cat /var/lib/thor-router/link.key /var/lib/thor-router/onion-*.key)
fact anew $(show router ActiveState) $(comm -12 <(sort -u <<< "$before") <(sort -u <<< "$after"))
# What only a person can mend.
echo "OPTIONS=--nonsense" > /etc/thor/directory.conf
systemctl restart thor-directory
sleep 1
fact wrong $(show directory ActiveState) $(show directory NRestarts) $(show directory ExecMainStatus)
fact end
"""


class ControlGroup:
    """A control group below ours, in which a systemd may make its own; gone afterwards with all that it made."""

    def __init__(self):
        with open("/proc/mounts") as file:
            root = next(words[1] for words in map(str.split, file) if words[2] == "cgroup2")
        with open("/proc/self/cgroup") as file:
            own = next(line[3:].strip() for line in file if line.startswith("0::"))
        self.path = f"{root}/{own}/thor-machine-{os.getpid()}"
        os.mkdir(self.path)

    def enter(self):
        with open(f"{self.path}/cgroup.procs", "w") as file:
            file.write(str(os.getpid()))

    def remove(self):
        def is_gone():
            for folder, _, _ in os.walk(self.path, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    return False
            return True
        assert wait_for(is_gone, 10), f"{self.path} is still in use"


def systemd_itself(context):
    """A systemd in namespaces starts, watches and stops the daemons by their units, set up as Operating says."""
    needs("root", "unshare", "systemctl", "ip", "make", "curl")
    folder = f"{context.scratch}/systemd"
    os.makedirs(folder)
    with open(f"{folder}/trial", "w") as file:
        file.write(TRIAL)
    output = f"{folder}/output"
    try:
        group = ControlGroup()
    except (OSError, StopIteration):
        raise Skipped("needs a control group (cgroup2) to make others in")
    machine = subprocess.Popen(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net", "--cgroup", sys.executable,
         f"{HERE}/machine.py", context.executables, folder], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, preexec_fn=group.enter)
    try:
        def said():
            return open(output).read() if os.path.exists(output) else ""
        wait_for(lambda: "FACT end" in said() or machine.poll() is not None, 120, step=0.5)
    finally:
        machine.kill()
        refused = machine.communicate()[0]
        group.remove()
    if not said():
        # A container may forbid all of this.
        raise Skipped(f"no systemd can be started here: {refused.strip()[-300:]}")
    facts = dict(line[5:].split("=", 1) for line in said().splitlines() if line.startswith("FACT ") and "=" in line)
    wanted = {
        "directory": r"active listening on 127\.0\.0\.1:9030", "router": r"active in the consensus",
        "waiting": r"activating \d+% .*no three routers.*", "proxy": r"active ready", "answer": r"hello", "status": r"ready.*",
        "routers": r"One exit thor \S+ three no-exit thor \S+ two exit thor \S+",
        "states": r"thor-directory 700 thor-router 700 thor-proxy 700", "keys": r"root 600 root 600",
        "credential": r"(thor-router 400|root 440)",
        "rights": r"CapEff: 0+ CapBnd: 0+ NoNewPrivs: 1 Seccomp: 2",
        "moved": r"active thor-directory 600", "anew": r"active thor private key v1 ed25519 thor private key v1 x25519",
        "alive": r"active 0", "hung": r"active 1", "stopped": r"inactive success 0", "wrong": r"failed 0 64",
    }
    wrong = [f"{name}: {facts.get(name)!r}, wanted {pattern}" for name, pattern in wanted.items()
             if not re.fullmatch(pattern, facts.get(name, ""))]
    assert not wrong, "\n".join(wrong) + "\n" + said()[-5000:]


CHECKS = [no_core_of_keys, keys_in_memory, unlocked_keys, installing, systemd_itself, units, service_manager, proxy_without_directory, confined_network]
