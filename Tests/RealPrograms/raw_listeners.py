"""Where the proxy listens, and where it refuses to."""

import os
import socket
import stat
import subprocess
import tempfile

from cases import case
from wire import echoed, open5, receive, request5

GROUP = "Listeners"


@case(GROUP, "several --listen, of IPv4 and IPv6, each works")
def several(context):
    assert len(context.many.addresses) == 4, context.many.addresses
    for place in context.many.addresses[:3]:
        host, port = place.rsplit(":", 1)
        with socket.create_connection((host.strip("[]"), int(port)), 20) as connection:
            connection.sendall(b"\5\1\0" + request5("127.0.0.1", context.echo.port))
            assert receive(connection, 12)[3] == 0
            echoed(connection)


@case(GROUP, "a Unix socket: mode 0600, works, and goes with the proxy")
def unix_socket(context):
    path = context.unix_path
    mode = os.stat(path)
    assert stat.S_ISSOCK(mode.st_mode) and stat.S_IMODE(mode.st_mode) == 0o600, oct(mode.st_mode)
    for data, size in ((b"\5\1\0" + request5("origin.test", context.echo.port), 12),
                       (f"CONNECT origin.test:{context.echo.port} HTTP/1.1\r\n\r\n".encode(), 39)):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(path)
            connection.sendall(data)
            receive(connection, size)
            echoed(connection)


@case(GROUP, "curl by a Unix socket", needs=["curl"])
def unix_curl(context):
    result = subprocess.run(
        ["curl", "--silent", "--show-error", "--proxy", f"socks5h://localhost{context.unix_path}",
         f"http://origin.test:{context.web.port}/small/unix"], capture_output=True, text=True, timeout=60)
    assert result.stdout == "hello unix\n", result


@case(GROUP, "another user cannot open the Unix socket", needs=["setpriv"])
def unix_others(context):
    if os.getuid() != 0:
        from cases import Skip
        raise Skip("only root can be somebody else")
    code = f"import socket; socket.socket(socket.AF_UNIX).connect({context.unix_path!r})"
    result = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", "python3", "-c", code], capture_output=True, text=True)
    assert result.returncode != 0 and "Permission" in result.stderr, result


def refused(context, options, words):
    with tempfile.TemporaryDirectory() as state:
        result = subprocess.run(
            [f"{context.executables}/thor-proxy", context.network.ds.addresses[0], f"{context.network.directory}/directory.pub",
             "--state", state, *options], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
        assert result.returncode in (64, 77, 78), (options, result.returncode, result.stderr)
        assert all(word in result.stderr for word in words), (options, result.stderr)


@case(GROUP, "a non-loopback address is refused, and the message says what to do")
def non_loopback(context):
    for place in ("0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:0.0.0.0]:0"):
        refused(context, ["--listen", place], ["--allow-non-loopback"])
    refused(context, ["--listen", "127.0.0.1:0", "--listen", "0.0.0.0:0"], ["--allow-non-loopback"])
    refused(context, ["--listen", "0.0.0.0:0", "--allow-non-loopback"], ["--password-file"])


@case(GROUP, "a password file that others can read is refused")
def open_password(context):
    path = f"{context.scratch}/open-password"
    with open(path, "w") as file:
        file.write("x\n")
    os.chmod(path, 0o644)
    refused(context, ["--listen", "0.0.0.0:0", "--allow-non-loopback", "--password-file", path], ["chmod"])


@case(GROUP, "with a password, and asked for, it listens on all addresses")
def allowed(context):
    path = context.password_file
    proxy = context.network.start_proxy("public", ["0.0.0.0:0"], ["--allow-non-loopback", "--password-file", path], waits=False)
    try:
        proxy.wait(lambda: proxy.addresses)
        assert proxy.addresses[0].startswith("0.0.0.0:"), proxy.addresses
    finally:
        proxy.stop()
        context.network.daemons.remove(proxy)
