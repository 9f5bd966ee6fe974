"""wget, which knows no SOCKS: by proxychains4 and http_proxy; small tools; Tor's own tor-resolve."""

import hashlib
import os
import subprocess

from cases import case
from servers import digest
from wire import Origin, receive, rest

GROUP = "wget and tools"
MIB = 1 << 20


def run(*command, code=0, timeout=120, **options):
    result = subprocess.run(command, capture_output=True, timeout=timeout, stdin=options.pop("stdin", subprocess.DEVNULL), **options)
    assert result.returncode == code, (command, result.returncode, result.stdout[-500:], result.stderr[-500:])
    return result.stdout


def chains(context, kind="socks5"):
    path = f"{context.scratch}/proxychains-{kind}.conf"
    host, port = context.socks.rsplit(":", 1)
    with open(path, "w") as file:
        file.write(f"strict_chain\nproxy_dns\nquiet_mode\ntcp_read_time_out 30000\ntcp_connect_time_out 30000\n[ProxyList]\n"
                   f"{kind} {host} {port}\n")
    return ["proxychains4", "-q", "-f", path]


@case(GROUP, "wget by proxychains4, by SOCKS5, SOCKS4 and HTTP", needs=["wget", "proxychains4"])
def proxychains(context):
    for kind in ("socks5", "socks4", "http"):
        out = run(*chains(context, kind), "wget", "-q", "-O", "-", f"http://127.0.0.1:{context.web.port}/bytes/{2 * MIB}")
        assert hashlib.sha256(out).hexdigest() == digest(2 * MIB), kind
    out = run(*chains(context), "wget", "-q", "-O", "-", f"http://origin.test:{context.web.port}/small/chains")
    assert out == b"hello chains\n", out


@case(GROUP, "git clone by proxychains4", needs=["git", "proxychains4"])
def proxychains_git(context):
    from programs_ssh import git_server, repository
    folder = f"{context.scratch}/clone-chains"
    run(*chains(context), "git", "clone", "-q", f"git://127.0.0.1:{git_server(context).port}/work.git", folder)
    assert os.path.exists(f"{folder}/readme"), repository(context)


@case(GROUP, "wget by http_proxy and https_proxy", needs=["wget"])
def wget_proxy(context):
    for variable, server in (("http_proxy", context.web), ("https_proxy", context.secure)):
        scheme = variable.removesuffix("_proxy")
        out = run("wget", "-q", "-O", "-", "--ca-certificate", context.certificates[0],
                  f"{scheme}://localhost:{server.port}/bytes/{2 * MIB}", "--tries=1",
                  env={**os.environ, variable: f"http://{context.socks}/", "no_proxy": ""})
        assert hashlib.sha256(out).hexdigest() == digest(2 * MIB), variable


@case(GROUP, "wget resumes", needs=["wget"])
def wget_resume(context):
    path = f"{context.scratch}/wget-resume"
    url = f"http://origin.test:{context.web.port}/bytes/{2 * MIB}/3"
    environment = {**os.environ, "http_proxy": f"http://{context.socks}/", "no_proxy": ""}
    run("curl", "-s", "-r", "0-99999", "--proxy", f"socks5h://{context.socks}", "-o", path, url)
    run("wget", "-q", "-c", "-O", path, url, env=environment)
    with open(path, "rb") as file:
        assert hashlib.sha256(file.read()).hexdigest() == digest(2 * MIB, 3)


@case(GROUP, "apt, which pipelines its requests: 30 files by an HTTP proxy and by socks5h", needs=["apt-get"])
def apt(context):
    helper = "/usr/lib/apt/apt-helper"
    for proxy in (f"http://{context.socks}", f"socks5h://{context.socks}"):
        folder = f"{context.scratch}/apt-{proxy.split(':')[0]}"
        os.makedirs(folder)
        words = []
        for number in range(30):
            words += [f"http://origin.test:{context.web.port}/bytes/{20_000 * number + 1}/{number}", f"{folder}/{number}",
                      f"SHA256:{digest(20_000 * number + 1, number)}"]
        run(helper, "-o", f"Acquire::http::Proxy={proxy}/", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=0", "download-file",
            *words, cwd=folder)
        assert len([name for name in os.listdir(folder) if name.isdigit()]) == 30, os.listdir(folder)


@case(GROUP, "wget: many files in one command by http_proxy", needs=["wget"])
def wget_many(context):
    folder = f"{context.scratch}/many"
    os.makedirs(folder)
    run("wget", "-q", "-P", folder, *[f"http://origin.test:{context.web.port}/small/{n}" for n in range(30)],
        env={**os.environ, "http_proxy": f"http://{context.socks}/", "no_proxy": ""})
    assert sorted(os.listdir(folder)) == sorted(str(n) for n in range(30))


def tunnel(context, *command):
    """A tool's standard input and output are the stream."""
    with Origin() as origin:
        words = [word.replace("%p", str(origin.port)) for word in command]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            server = origin.accept()
            process.stdin.write(b"question\n")
            process.stdin.flush()
            assert receive(server, 9) == b"question\n"
            server.sendall(b"answer\n")
            server.close()
            # Some end with the connection, some only with their input.
            out = process.communicate(timeout=20)[0]
            assert out == b"answer\n", (words[0], out)
        finally:
            process.kill()
            process.wait()


@case(GROUP, "OpenBSD's nc: -X 5, -X 4, -X connect", needs=["nc"])
def nc(context):
    for kind in ("5", "4", "connect"):
        tunnel(context, "nc", "-X", kind, "-x", context.socks, "127.0.0.1", "%p")


@case(GROUP, "ncat: socks5, socks4, http", needs=["ncat"])
def ncat(context):
    for kind in ("socks5", "socks4", "http"):
        tunnel(context, "ncat", "--proxy", context.socks, "--proxy-type", kind, "127.0.0.1", "%p")


@case(GROUP, "socat: SOCKS4, SOCKS4A, PROXY", needs=["socat"])
def socat(context):
    port = context.socks.rsplit(":", 1)[1]
    for address in (f"SOCKS4:127.0.0.1:127.0.0.1:%p,socksport={port}", f"SOCKS4A:127.0.0.1:origin.test:%p,socksport={port}",
                    f"PROXY:127.0.0.1:origin.test:%p,proxyport={port}"):
        tunnel(context, "socat", "-", address)


@case(GROUP, "connect-proxy: SOCKS5, SOCKS4, HTTP", needs=["connect-proxy"])
def connect_proxy(context):
    for options in (["-S", context.socks], ["-4", "-S", context.socks], ["-H", context.socks]):
        tunnel(context, "connect-proxy", "-R", "remote", *options, "origin.test", "%p")


@case(GROUP, "nc passes a half-close on, and everything comes back", needs=["nc"])
def nc_half_close(context):
    data = os.urandom(1 << 20)
    result = subprocess.run(["nc", "-N", "-X", "5", "-x", context.socks, "127.0.0.1", str(context.echo.port)], input=data,
                            capture_output=True, timeout=60)
    assert result.stdout == data, (len(result.stdout), result.stderr)


@case(GROUP, "openssl s_client -proxy", needs=["openssl"])
def s_client(context):
    result = subprocess.run(
        ["openssl", "s_client", "-quiet", "-proxy", context.socks, "-connect", f"127.0.0.1:{context.secure.port}", "-CAfile",
         context.certificates[0], "-verify_return_error"],
        input=b"GET /small/tls HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", capture_output=True, timeout=60)
    assert b"hello tls\n" in result.stdout, result


@case(GROUP, "tor-resolve, by SOCKS5 and SOCKS4", needs=["tor-resolve"])
def tor_resolve(context):
    for options in ([], ["-4"], ["-5"]):
        assert run("tor-resolve", *options, "origin.test", context.socks).strip() == b"127.0.0.1", options
    assert b"::1" in run("tor-resolve", "v6.test", context.socks)


@case(GROUP, "tor-resolve -x", needs=["tor-resolve"])
def tor_resolve_reverse(context):
    assert run("tor-resolve", "-x", "127.0.0.1", context.socks).strip() == b"origin.test"


@case(GROUP, "tor-resolve says that there is no such name", needs=["tor-resolve"])
def tor_resolve_failure(context):
    run("tor-resolve", "nobody.test", context.socks, code=1)
    run("tor-resolve", "-x", "127.9.9.9", context.socks, code=1)
