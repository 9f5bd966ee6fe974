"""git, ssh, scp, port forwarding and rsync, to servers that are started here."""

import getpass
import hashlib
import http.server
import os
import shlex
import shutil
import socket
import subprocess
import threading

from cases import Skip, case
from network import wait_for
from servers import digest
from wire import free_port

GROUP = "git, ssh, rsync"


def run(*command, code=0, timeout=120, **options):
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, **options)
    assert result.returncode == code, (command, result.returncode, result.stdout[-500:], result.stderr[-800:])
    return result.stdout


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Started:
    """A server on a free port."""

    def __init__(self, port, *command, **options):
        self.port = port
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, start_new_session=True, **options)
        if not wait_for(lambda: listens(port) or self.process.poll() is not None, 10) or self.process.poll() is not None:
            raise AssertionError(f"{command[0]} did not start: {self.process.stderr.read()}")

    def stop(self):
        # Those that it started too.
        os.killpg(self.process.pid, 15)
        self.process.wait(10)


def once(context, name, make):
    if name not in context.__dict__:
        context.__dict__[name] = make()
    return context.__dict__[name]


def git(*arguments, **options):
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t.test",
                   "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t.test", "GIT_TERMINAL_PROMPT": "0",
                   **options.pop("environment", {})}
    return run("git", "-c", "safe.directory=*", *arguments, env=environment, **options)


def repository(context):
    """A bare repository with a few megabytes."""
    def make():
        work, bare = f"{context.scratch}/git/source", f"{context.scratch}/git/serve/work.git"
        os.makedirs(work)
        with open(f"{work}/readme", "w") as file:
            file.write("hello\n")
        with open(f"{work}/big", "wb") as file:
            file.write(os.urandom(6 << 20))
        git("init", "-q", work)
        git("-C", work, "add", ".")
        git("-C", work, "commit", "-q", "-m", "first")
        git("clone", "-q", "--bare", work, bare)
        git("-C", bare, "config", "http.receivepack", "true")
        return bare
    return once(context, "repository", make)


def git_server(context):
    """git daemon."""
    def make():
        port = free_port()
        return context.keep(Started(
            port, "git", "-c", "safe.directory=*", "daemon", "--reuseaddr", "--export-all", "--enable=receive-pack",
            "--listen=127.0.0.1", f"--port={port}", f"--base-path={os.path.dirname(repository(context))}",
            env={**os.environ, "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}))
    return once(context, "git_daemon", make)


class GitOverHTTP(http.server.BaseHTTPRequestHandler):
    """git's own http-backend behind Python's server."""

    protocol_version = "HTTP/1.1"
    root = ""

    def log_message(self, *arguments):
        pass

    def body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_GET(self):
        path, _, query = self.path.partition("?")
        data = self.body()
        environment = {
            **os.environ, "GIT_PROJECT_ROOT": self.root, "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path, "QUERY_STRING": query,
            "REQUEST_METHOD": self.command, "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(data)), "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""), "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*"}
        out = subprocess.run(["git", "http-backend"], input=data, capture_output=True, env=environment).stdout
        head, _, answer = out.partition(b"\r\n\r\n")
        status = 200
        fields = []
        for line in head.decode().split("\r\n"):
            name, _, value = line.partition(": ")
            if name == "Status":
                status = int(value.split()[0])
            else:
                fields.append((name, value))
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET


def git_http(context):
    def make():
        handler = type("Handler", (GitOverHTTP,), {"root": os.path.dirname(repository(context))})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        context.stack.callback(server.shutdown)
        return server.server_address[1]
    return once(context, "git_http_port", make)


def clone_and_push(context, url, name, *options, environment=None):
    """Clone, compare, commit, push."""
    folder = f"{context.scratch}/clone-{name}"
    environment = environment or {}
    git(*options, "clone", "-q", url, folder, environment=environment)
    for file in ("readme", "big"):
        with open(f"{folder}/{file}", "rb") as mine, open(f"{context.scratch}/git/source/{file}", "rb") as theirs:
            assert mine.read() == theirs.read(), file
    with open(f"{folder}/{name}", "wb") as file:
        file.write(os.urandom(2 << 20))
    git("-C", folder, "add", ".")
    git("-C", folder, "commit", "-q", "-m", name)
    git(*options, "-C", folder, "push", "-q", "origin", f"HEAD:refs/heads/{name}", environment=environment)
    assert git("-C", repository(context), "rev-parse", name) == git("-C", folder, "rev-parse", "HEAD")


@case(GROUP, "git over http: clone and push, by socks5h and by an HTTP proxy", needs=["git"])
def git_over_http(context):
    url = f"http://origin.test:{git_http(context)}/work.git"
    for proxy in ("socks5h", "http"):
        clone_and_push(context, url, f"http-{proxy}", "-c", f"http.proxy={proxy}://{context.socks}",
                       environment={"no_proxy": ""})


@case(GROUP, "git over git:// by core.gitProxy", needs=["git", "nc"])
def git_protocol(context):
    script = f"{context.scratch}/git-proxy"
    with open(script, "w") as file:
        file.write(f"#!/bin/sh\nexec nc -X 5 -x {context.socks} \"$1\" \"$2\"\n")
    os.chmod(script, 0o755)
    clone_and_push(context, f"git://origin.test:{git_server(context).port}/work.git", "git-protocol", "-c",
                   f"core.gitProxy={script}")


class SSH:
    """sshd on a free port for whoever runs this, with keys of its own."""

    def __init__(self, context):
        sshd = shutil.which("sshd") or "/usr/sbin/sshd"
        if not os.path.exists(sshd):
            raise Skip("not installed: sshd")
        folder = self.folder = f"{context.scratch}/ssh"
        os.makedirs(folder, mode=0o700)
        for name in ("host", "user"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/{name}")
        shutil.copy(f"{folder}/user.pub", f"{folder}/authorized")
        port = free_port()
        if os.getuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        with open(f"{folder}/config", "w") as file:
            file.write(f"""ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
PidFile {folder}/pid
AuthorizedKeysFile {folder}/authorized
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
AllowTcpForwarding yes
Subsystem sftp internal-sftp
MaxStartups 100
""")
        self.server = Started(port, sshd, "-D", "-e", "-f", f"{folder}/config")
        self.port = port
        self.stop = self.server.stop

    def options(self, proxy):
        """What ssh and scp take."""
        return ["-F", "none", "-i", f"{self.folder}/user", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new", "-o",
                f"UserKnownHostsFile={self.folder}/known", "-o", "LogLevel=ERROR", "-o", f"ProxyCommand={proxy}"]


def ssh_server(context):
    return once(context, "ssh_server", lambda: context.keep(SSH(context)))


def proxies(context):
    """Proxy commands, by the program that they need."""
    port = context.socks.rsplit(":", 1)[1]
    return {
        "nc": f"nc -X 5 -x {context.socks} %h %p",
        "ncat": f"ncat --proxy {context.socks} --proxy-type socks5 %h %p",
        "socat": f"socat - SOCKS4A:127.0.0.1:%h:%p,socksport={port}",
        "nc -X connect": f"nc -X connect -x {context.socks} %h %p",
    }


def default_proxy(context):
    return proxies(context)["nc"]


HOME = f"{getpass.getuser()}@origin.test"


@case(GROUP, "ssh by nc, ncat and socat", needs=["ssh", "ssh-keygen"])
def ssh(context):
    server = ssh_server(context)
    tried = []
    for name, proxy in proxies(context).items():
        if shutil.which(name.split()[0]) is None:
            continue
        assert run("ssh", *server.options(proxy), "-p", str(server.port), HOME, "echo hello").strip() == "hello"
        tried.append(name)
    assert tried
    context.note(", ".join(tried))


@case(GROUP, "ssh: 32 MiB each way, and the exit code", needs=["ssh", "nc"])
def ssh_bytes(context):
    server = ssh_server(context)
    data = os.urandom(32 << 20)
    result = subprocess.run(["ssh", *server.options(default_proxy(context)), "-p", str(server.port), HOME, "cat"], input=data,
                            capture_output=True, timeout=120)
    assert result.stdout == data, len(result.stdout)
    run("ssh", *server.options(default_proxy(context)), "-p", str(server.port), HOME, "exit 42", code=42)


@case(GROUP, "scp up and down", needs=["scp", "nc"])
def scp(context):
    server = ssh_server(context)
    source, there, back = (f"{context.scratch}/scp-{name}" for name in ("source", "there", "back"))
    with open(source, "wb") as file:
        file.write(os.urandom(8 << 20))
    options = [*server.options(default_proxy(context)), "-P", str(server.port)]
    run("scp", "-q", *options, source, f"{HOME}:{there}")
    run("scp", "-q", *options, f"{HOME}:{there}", back)
    with open(source, "rb") as one, open(back, "rb") as other:
        assert one.read() == other.read()


@case(GROUP, "port forwarding: -L, -R and -D", needs=["ssh", "nc", "curl"])
def forwarding(context):
    server = ssh_server(context)
    local, remote, dynamic = free_port(), free_port(), free_port()
    web = context.web.port
    process = subprocess.Popen(
        ["ssh", *server.options(default_proxy(context)), "-p", str(server.port), "-N", "-o", "ExitOnForwardFailure=yes", "-L",
         f"127.0.0.1:{local}:127.0.0.1:{web}", "-R", f"127.0.0.1:{remote}:127.0.0.1:{web}", "-D", f"127.0.0.1:{dynamic}", HOME],
        stdin=subprocess.DEVNULL)
    try:
        assert wait_for(lambda: listens(local) and listens(remote) and listens(dynamic), 20)
        for options in ([f"http://127.0.0.1:{local}/bytes/3000000"], [f"http://127.0.0.1:{remote}/bytes/3000000"],
                        ["--proxy", f"socks5h://127.0.0.1:{dynamic}", "--noproxy", "", f"http://127.0.0.1:{web}/bytes/3000000"]):
            result = subprocess.run(["curl", "-sSf", *options], capture_output=True, timeout=60)
            assert hashlib.sha256(result.stdout).hexdigest() == digest(3_000_000), (options, result.stderr)
    finally:
        process.terminate()
        process.wait(10)


@case(GROUP, "git over ssh: clone and push", needs=["git", "ssh", "nc"])
def git_over_ssh(context):
    server = ssh_server(context)
    command = shlex.join(["ssh", *server.options(default_proxy(context))])
    clone_and_push(context, f"ssh://{HOME}:{server.port}{repository(context)}", "ssh",
                   environment={"GIT_SSH_COMMAND": command})


def rsync_tree(context):
    def make():
        folder = f"{context.scratch}/rsync/source"
        os.makedirs(folder)
        for number in range(40):
            with open(f"{folder}/{number}", "wb") as file:
                file.write(os.urandom(1000 * number + 1))
        with open(f"{folder}/big", "wb") as file:
            file.write(os.urandom(5 << 20))
        return folder
    return once(context, "rsync_source", make)


def rsync_server(context):
    def make():
        folder, port = rsync_tree(context), free_port()
        config = f"{context.scratch}/rsync/config"
        os.makedirs(f"{context.scratch}/rsync/upload")
        with open(config, "w") as file:
            file.write(f"use chroot = no\n[files]\npath = {folder}\nread only = yes\n[upload]\n"
                       f"path = {context.scratch}/rsync/upload\nread only = no\n"
                       + ("uid = root\ngid = root\n" if os.getuid() == 0 else ""))
        return context.keep(Started(port, "rsync", "--daemon", "--no-detach", f"--config={config}", "--address=127.0.0.1",
                                    f"--port={port}"))
    return once(context, "rsync_daemon", make)


def same_trees(one, other):
    result = subprocess.run(["diff", "-r", one, other], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[:500]


@case(GROUP, "rsync:// by RSYNC_PROXY (HTTP CONNECT) and by RSYNC_CONNECT_PROG, down and up", needs=["rsync", "nc"])
def rsync_daemon(context):
    port = rsync_server(context).port
    source = rsync_tree(context)
    for name, environment in (("proxy", {"RSYNC_PROXY": context.socks}),
                              ("program", {"RSYNC_CONNECT_PROG": f"nc -X 5 -x {context.socks} %H {port}"})):
        target = f"{context.scratch}/rsync/{name}/"
        environment = {**os.environ, **environment}
        run("rsync", "-a", f"rsync://origin.test:{port}/files/", target, env=environment)
        same_trees(source, target)
        run("rsync", "-a", f"{source}/", f"rsync://origin.test:{port}/upload/{name}/", env=environment)
        same_trees(source, f"{context.scratch}/rsync/upload/{name}")


@case(GROUP, "rsync over ssh", needs=["rsync", "ssh", "nc"])
def rsync_over_ssh(context):
    server = ssh_server(context)
    command = shlex.join(["ssh", *server.options(default_proxy(context)), "-p", str(server.port)])
    target = f"{context.scratch}/rsync/over-ssh/"
    os.makedirs(f"{context.scratch}/rsync", exist_ok=True)
    run("rsync", "-a", "-e", command, f"{HOME}:{rsync_tree(context)}/", target)
    same_trees(rsync_tree(context), target)
