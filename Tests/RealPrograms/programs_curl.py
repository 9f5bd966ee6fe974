"""curl in every flavour."""

import hashlib
import json
import os
import shutil
import subprocess
import time

from cases import Skip, case
from network import wait_for
from servers import digest
from wire import free_port

GROUP = "curl"
MIB = 1 << 20
FLAVOURS = ["socks4", "socks4a", "socks5", "socks5h", "http"]


def curl(context, *arguments, proxy="socks5h", text=True, timeout=120, code=0, address=None):
    result = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail", "--noproxy", "", "--proxy", f"{proxy}://{address or context.socks}",
         *arguments], capture_output=True, text=text, timeout=timeout, stdin=subprocess.DEVNULL)
    assert result.returncode == code, (result.returncode, result.stderr)
    return result.stdout


class Nginx:
    """nginx on free ports of loopback: HTTP/1.1, and HTTP/2 over TLS."""

    def __init__(self, context):
        folder = f"{context.scratch}/nginx"
        os.makedirs(f"{folder}/www", exist_ok=True)
        with open(f"{folder}/www/file", "wb") as file:
            file.write(os.urandom(4 * MIB))
        self.file = f"{folder}/www/file"
        self.port, self.secure = free_port(), free_port()
        _, certificate, key = context.certificates
        with open(f"{folder}/nginx.conf", "w") as file:
            file.write(f"""
                daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
                events {{ worker_connections 1024; }}
                http {{
                    access_log off; client_max_body_size 0;
                    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
                    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
                    server {{
                        listen 127.0.0.1:{self.port}; listen 127.0.0.1:{self.secure} ssl http2;
                        ssl_certificate {certificate}; ssl_certificate_key {key};
                        root {folder}/www;
                        location /upload {{ proxy_pass http://127.0.0.1:{context.web.port}; proxy_request_buffering off;
                                            proxy_http_version 1.1; }}
                    }}
                }}""")
        self.process = subprocess.Popen(["nginx", "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"],
                                        stdin=subprocess.DEVNULL)
        import socket

        def listens():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.secure)) == 0

        assert wait_for(listens, 10), open(f"{folder}/error.log").read()

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


def nginx(context):
    if shutil.which("nginx") is None:
        raise Skip("not installed: nginx")
    if not hasattr(context, "nginx"):
        context.nginx = context.keep(Nginx(context))
    return context.nginx


@case(GROUP, "socks4, socks4a, socks5, socks5h and http, by address", needs=["curl"])
def flavours_by_address(context):
    for proxy in FLAVOURS:
        assert curl(context, f"http://127.0.0.1:{context.web.port}/small/{proxy}", proxy=proxy) == f"hello {proxy}\n"


@case(GROUP, "socks4a, socks5h and http, by a name that only the exits know", needs=["curl"])
def flavours_by_name(context):
    for proxy in ("socks4a", "socks5h", "http"):
        assert curl(context, f"http://origin.test:{context.web.port}/small/{proxy}", proxy=proxy) == f"hello {proxy}\n"


@case(GROUP, "http with --proxytunnel", needs=["curl"])
def tunnel(context):
    assert curl(context, "--proxytunnel", f"http://origin.test:{context.web.port}/small/t", proxy="http") == "hello t\n"


@case(GROUP, "HTTPS through each", needs=["curl", "openssl"])
def https(context):
    ca = context.certificates[0]
    for proxy in ("socks4", "socks4a", "socks5", "socks5h", "http"):
        assert curl(context, "--cacert", ca, f"https://127.0.0.1:{context.secure.port}/small/{proxy}",
                    proxy=proxy) == f"hello {proxy}\n"


@case(GROUP, "IPv6 destinations", needs=["curl"])
def ipv6(context):
    import http.server
    import socket
    import threading

    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6

    from servers import Data
    server = Server(("::1", 0), Data)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for proxy in ("socks5", "socks5h", "http"):
            assert curl(context, f"http://[::1]:{server.server_address[1]}/small/6", proxy=proxy) == "hello 6\n"
    finally:
        server.shutdown()


@case(GROUP, "HTTP/2 over TLS, many files on one connection", needs=["curl"])
def http2(context):
    server = nginx(context)
    sha = hashlib.sha256(open(server.file, "rb").read()).hexdigest()
    for proxy in ("socks5h", "socks4a", "http"):
        out = curl(context, "--http2", "--cacert", context.certificates[0], "--write-out", "%{stderr}%{http_version}",
                   f"https://localhost:{server.secure}/file", proxy=proxy, text=False)
        assert hashlib.sha256(out).hexdigest() == sha
    result = curl(context, "--http2", "--parallel", "--cacert", context.certificates[0], "--output", "/dev/null", "--write-out",
                  "%{http_version} %{size_download}\\n", *sum([[f"https://localhost:{server.secure}/file?{n}", "--output",
                                                               "/dev/null"] for n in range(8)], [])[:-2])
    assert result.splitlines() == ["2 4194304"] * 8, result


@case(GROUP, "upload with PUT, with POST, in chunks, and with Expect: 100-continue", needs=["curl"])
def uploads(context):
    path = f"{context.scratch}/upload"
    data = os.urandom(8 * MIB)
    with open(path, "wb") as file:
        file.write(data)
    wanted = {"count": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    for proxy in ("socks5h", "socks4a", "http"):
        for options in (["--upload-file", path], ["--data-binary", f"@{path}"],
                        ["--upload-file", path, "--header", "Transfer-Encoding: chunked"],
                        ["--upload-file", path, "--header", "Expect: 100-continue"]):
            out = curl(context, *options, f"http://origin.test:{context.web.port}/upload", proxy=proxy)
            assert json.loads(out) == wanted, (proxy, options, out)


@case(GROUP, "a multipart form", needs=["curl"])
def form(context):
    out = curl(context, "--form", f"file=@{os.path.abspath(__file__)}", f"http://origin.test:{context.web.port}/upload")
    assert json.loads(out)["count"] > 100, out


@case(GROUP, "resume and ranges", needs=["curl"])
def ranges(context):
    url = f"http://origin.test:{context.web.port}/bytes/{3 * MIB}/1"
    for proxy in ("socks5h", "http"):
        path = f"{context.scratch}/resumed-{proxy}"
        curl(context, "--range", "0-999999", "--output", path, url, proxy=proxy)
        assert os.path.getsize(path) == 1_000_000
        curl(context, "--continue-at", "-", "--output", path, url, proxy=proxy)
        with open(path, "rb") as file:
            assert hashlib.sha256(file.read()).hexdigest() == digest(3 * MIB, 1)
        assert len(curl(context, "--range", "-500", url, proxy=proxy, text=False)) == 500


@case(GROUP, "50 in parallel", needs=["curl"])
def parallel50(context):
    urls = [f"http://origin.test:{context.web.port}/bytes/{MIB}/{n}" for n in range(50)]
    folder = f"{context.scratch}/parallel"
    for proxy in ("socks5h", "http"):
        os.makedirs(folder, exist_ok=True)
        curl(context, "--parallel", "--parallel-max", "50", "--parallel-immediate",
             *sum([["--output", f"{folder}/{n}", url] for n, url in enumerate(urls)], []), proxy=proxy)
        for number in range(50):
            with open(f"{folder}/{number}", "rb") as file:
                assert hashlib.sha256(file.read()).hexdigest() == digest(MIB, number), (proxy, number)
        shutil.rmtree(folder)


@case(GROUP, "50 requests on one kept connection", needs=["curl"])
def kept_alive(context):
    for proxy in ("socks5h", "http"):
        out = curl(context, *[f"http://origin.test:{context.web.port}/small/{n}" for n in range(50)], proxy=proxy)
        assert out == "".join(f"hello {n}\n" for n in range(50)), (proxy, out)


@case(GROUP, "chunked and large downloads", needs=["curl"])
def downloads(context):
    size = context.size(64, 512) * MIB
    started = time.monotonic()
    process = subprocess.run(
        f"curl --silent --show-error --fail --proxy socks5h://{context.socks} http://origin.test:{context.web.port}/bytes/{size}"
        " | sha256sum", shell=True, capture_output=True, text=True, timeout=300)
    assert process.stdout.split()[0] == digest(size), process
    context.note(f"{size / MIB / (time.monotonic() - started):.0f} MiB/s")
    for proxy in ("socks5h", "http"):
        out = curl(context, f"http://origin.test:{context.web.port}/chunked/{5 * MIB}", proxy=proxy, text=False)
        assert hashlib.sha256(out).hexdigest() == digest(5 * MIB), proxy


@case(GROUP, "user names and passwords, by SOCKS5 and HTTP", needs=["curl"])
def accounts(context):
    url = f"http://origin.test:{context.web.port}/small/user"
    for proxy in ("socks5h", "http"):
        for user in ("alice:secret", "alice:", "country-se+alice:x", "u" * 255 + ":" + "p" * 255):
            assert curl(context, "--proxy-user", user, url, proxy=proxy) == "hello user\n", (proxy, user)
        assert curl(context, "--proxy-user", "me:open sesame", url, proxy=proxy, address=context.locked) == "hello user\n"


@case(GROUP, "errors come out as curl's own", needs=["curl"])
def errors(context):
    with context.closed_port() as port:
        # 97: the SOCKS proxy said no, with a number; 22: an HTTP status; 56: CONNECT was refused.
        for proxy, host, code in (("socks5h", "127.0.0.1", 97), ("socks4a", "127.0.0.1", 97), ("http", "127.0.0.1", 22),
                                  ("socks5h", "nobody.test", 97), ("http", "nobody.test", 22)):
            curl(context, f"http://{host}:{port}/", proxy=proxy, code=code)
        result = subprocess.run(["curl", "--silent", "--show-error", "--proxytunnel", "--proxy", f"http://{context.socks}",
                                 f"http://127.0.0.1:{port}/"], capture_output=True, text=True, timeout=60)
        assert result.returncode == 56 and "502" in result.stderr, result
        result = subprocess.run(["curl", "--silent", "--show-error", "--proxy", f"socks5h://{context.socks}",
                                 f"http://127.0.0.1:{port}/"], capture_output=True, text=True, timeout=60)
        assert "(5)" in result.stderr or "refused" in result.stderr.lower(), result.stderr


@case(GROUP, "a page for whoever opens the port", needs=["curl"])
def curl_page(context):
    result = subprocess.run(["curl", "--silent", f"http://{context.socks}/"], capture_output=True, text=True, timeout=20)
    assert "Thor" in result.stdout and result.returncode == 0, result


@case(GROUP, "an interrupted download leaves no stream", needs=["curl"])
def interrupted(context):
    result = subprocess.run(["curl", "--silent", "--max-time", "1", "--limit-rate", "100k", "--output", "/dev/null", "--proxy",
                             f"socks5h://{context.socks}", f"http://origin.test:{context.web.port}/bytes/{512 * MIB}"], timeout=30)
    assert result.returncode == 28
    assert wait_for(lambda: context.network.status()["openStreamCount"] == 0, 5), context.network.status()
