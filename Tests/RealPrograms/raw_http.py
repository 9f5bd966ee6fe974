"""HTTP on the port: CONNECT, plain requests to forward, bad ones, and a page for browsers."""

import hashlib
import json
import os
import socket
import threading
import time

from cases import case
from wire import Origin, dial, echoed, open_http, receive, rest, say

GROUP = "HTTP"


def head_of(connection, timeout=20):
    """Read a head: (status, fields, all of it)."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += receive(connection, 1, timeout)
    lines = head.decode("latin-1").split("\r\n")
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        fields[name.lower()] = value.strip()
    return int(lines[0].split()[1]), fields, head


def answered(context, data, timeout=20, proxy=None):
    """Send a request; return status, fields and body, whose length is checked."""
    with dial(context, timeout, proxy) as connection:
        try:
            connection.sendall(data)
        except OSError:
            pass
        status, fields, _ = head_of(connection, timeout)
        body, end = rest(connection, timeout)
        assert end == "eof", f"{status}, and then: {end}"
        if "content-length" in fields:
            assert len(body) == int(fields["content-length"]), (status, fields, body)
        return status, fields, body


def connect(target, fields="", version="HTTP/1.1"):
    return f"CONNECT {target} {version}\r\nHost: {target}\r\n{fields}\r\n".encode()


@case(GROUP, "CONNECT by IPv4, IPv6 and name; the answer holds nothing that would be taken for a body")
def connect_works(context):
    for host, port in (("127.0.0.1", context.echo.port), ("::1", context.echo6.port), ("origin.test", context.echo.port)):
        with open_http(context, host, port) as connection:
            echoed(connection)
    with dial(context) as connection:
        connection.sendall(connect(f"127.0.0.1:{context.echo.port}"))
        status, fields, _ = head_of(connection)
        assert status == 200 and not {"content-length", "transfer-encoding"} & set(fields), fields


@case(GROUP, "CONNECT with data behind it in one segment")
def connect_early(context):
    for size in (1, 5000, 200_000):
        data = os.urandom(size)
        with dial(context) as connection:
            threading.Thread(target=connection.sendall, args=(connect(f"127.0.0.1:{context.echo.port}") + data,),
                             daemon=True).start()
            assert head_of(connection)[0] == 200
            assert receive(connection, size) == data


@case(GROUP, "CONNECT byte by byte, with bare LF, and as HTTP/1.0 without Host")
def connect_forms(context):
    target = f"127.0.0.1:{context.echo.port}"
    with dial(context) as connection:
        for byte in connect(target, "User-Agent: slow\r\n"):
            connection.sendall(bytes([byte]))
            time.sleep(0.002)
        assert head_of(connection)[0] == 200
        echoed(connection)
    for data in (f"CONNECT {target} HTTP/1.1\nHost: {target}\n\n", f"CONNECT {target} HTTP/1.0\r\n\r\n"):
        with dial(context) as connection:
            connection.sendall(data.encode())
            assert head_of(connection)[0] == 200
            echoed(connection)


@case(GROUP, "heads of 15 KiB are read; longer than 16 KiB is 431")
def head_limit(context):
    target = f"127.0.0.1:{context.echo.port}"
    for fields in ("X: " + "y" * 15_000 + "\r\n", "".join(f"X-{n}: {n}\r\n" for n in range(900))):
        with dial(context) as connection:
            connection.sendall(connect(target, fields))
            assert head_of(connection)[0] == 200
            echoed(connection)
    for fields in ("X: " + "y" * 20_000 + "\r\n", "".join(f"X-{n}: {n}\r\n" for n in range(2000))):
        assert answered(context, connect(target, fields))[0] == 431
    # Without a line's end nothing is kept beyond the limit.
    with dial(context) as connection:
        try:
            for _ in range(64):
                connection.sendall(b"G" * 16384)
        except OSError:
            pass
        assert head_of(connection)[0] in (400, 431)


@case(GROUP, "bad requests are 400")
def bad_requests(context):
    lines = ["CONNECT origin.test HTTP/1.1", "CONNECT origin.test:0 HTTP/1.1", "CONNECT origin.test:70000 HTTP/1.1",
             "CONNECT origin.test:http HTTP/1.1", "CONNECT :80 HTTP/1.1", "CONNECT [::1:80 HTTP/1.1", "CONNECT ::1:80 HTTP/1.1",
             "CONNECT origin.test:80", "CONNECT  origin.test:80 HTTP/1.1", "CONNECT origin.test:-1 HTTP/1.1", "NONSENSE", "GET /",
             "GET / HTTP/2.0", "CONNECT origin.test:+80 HTTP/1.1", "GET http://:80/ HTTP/1.1", "GET http:/// HTTP/1.1",
             "GET http://origin.test:x/ HTTP/1.1"]
    for line in lines:
        status, fields, body = answered(context, f"{line}\r\nHost: x\r\n\r\n".encode())
        assert status == 400, (line, status)
        assert body, line


@case(GROUP, "a browser that opens the port reads what it is")
def page(context):
    for method, path in (("GET", "/"), ("GET", "/favicon.ico"), ("OPTIONS", "*")):
        status, fields, body = answered(context, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert status != 200 and fields["content-type"].startswith("text/html"), (status, fields)
    status, fields, body = answered(context, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"SOCKS" in body and b"Thor" in body and len(body) < 4096, body
    with dial(context) as connection:
        connection.sendall(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert rest(connection)[0].endswith(b"\r\n\r\n")


@case(GROUP, "the page arrives although a body was sent")
def page_for_post(context):
    status, _, body = answered(context, b"POST / HTTP/1.1\r\nContent-Length: 50000\r\n\r\n" + bytes(50_000))
    assert status != 200 and b"SOCKS" in body


@case(GROUP, "GET http://… is forwarded, in origin form, without what was meant for the proxy")
def forwarded(context):
    with Origin() as origin, dial(context) as connection:
        connection.sendall(
            f"GET http://origin.test:{origin.port}/path?query=1#part HTTP/1.1\r\nHost: elsewhere\r\nProxy-Connection: "
            "keep-alive\r\nProxy-Authorization: Basic YTpi\r\nThor-Country: not-us\r\nConnection: X-Own, close\r\n"
            "X-Own: 1\r\nUser-Agent: raw\r\nAccept: */*\r\n\r\n".encode())
        with origin.accept() as server:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += receive(server, 1)
            text = head.decode()
            assert text.startswith(f"GET /path?query=1 HTTP/1.1\r\nHost: origin.test:{origin.port}\r\n"), text
            assert "User-Agent: raw\r\n" in text and "Accept: */*\r\n" in text
            for word in ("proxy-", "thor-", "x-own", "keep-alive", "YTpi"):
                assert word.lower() not in text.lower(), (word, text)
            server.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        data, end = rest(connection)
        assert data == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello" and end == "eof", (data, end)


@case(GROUP, "a program that speaks HTTP/1.0 gets no chunks")
def forwarded_old(context):
    with Origin() as origin, dial(context) as connection:
        connection.sendall(f"GET http://127.0.0.1:{origin.port}/ HTTP/1.0\r\n\r\n".encode())
        with origin.accept() as server:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += receive(server, 1)
            assert head.startswith(b"GET / HTTP/1.0\r\n"), head


@case(GROUP, "forwarded bodies, with a length and in chunks, by upload and download")
def forwarded_bodies(context):
    data = os.urandom(3 << 20)
    for fields, body in ((f"Content-Length: {len(data)}", data),
                         ("Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))):
        with dial(context) as connection:
            head = f"PUT http://127.0.0.1:{context.web.port}/upload HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n".encode()
            threading.Thread(target=connection.sendall, args=(head + body,), daemon=True).start()
            status, _, _ = head_of(connection, 30)
            answer = json.loads(rest(connection, 30)[0])
            assert status == 200 and answer["sha256"] == hashlib.sha256(data).hexdigest(), answer
    status, _, body = answered(context, f"GET http://127.0.0.1:{context.web.port}/bytes/3000000 HTTP/1.1\r\n\r\n".encode())
    assert status == 200 and len(body) == 3_000_000


@case(GROUP, "Expect: 100-continue through the proxy")
def forwarded_expect(context):
    with Origin() as origin, dial(context) as connection:
        connection.sendall(f"PUT http://127.0.0.1:{origin.port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
                           "Expect: 100-continue\r\n\r\n".encode())
        with origin.accept() as server:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += receive(server, 1)
            assert b"100-continue" in head, head
            server.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert receive(connection, 25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(b"hello")
            assert receive(server, 5) == b"hello"
            server.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        assert rest(connection)[0].startswith(b"HTTP/1.1 204")


@case(GROUP, "a forwarded request whose program half-closes is answered whole")
def forwarded_half_closed(context):
    with dial(context) as connection:
        connection.sendall(f"GET http://127.0.0.1:{context.web.port}/bytes/500000 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        connection.shutdown(socket.SHUT_WR)
        assert head_of(connection)[0] == 200
        body, end = rest(connection)
        assert len(body) == 500_000 and end == "eof", (len(body), end)


@case(GROUP, "a second request on a forwarding connection goes to no wrong origin")
def forwarded_twice(context):
    with Origin() as origin, dial(context) as connection:
        connection.sendall(f"GET http://127.0.0.1:{context.web.port}/bytes/10 HTTP/1.1\r\nHost: x\r\n\r\n"
                           f"GET http://127.0.0.1:{origin.port}/secret HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        data, _ = rest(connection)
        assert origin.is_quiet() and data.count(b"HTTP/1.1") <= 1, data


@case(GROUP, "what cannot be read as a request is forwarded to nobody")
def forwarded_smuggling(context):
    fields = ["Content-Length: 5\r\nContent-Length: 6", "Content-Length: -1", "Content-Length: five", "Bad Name: x",
              "Transfer-Encoding: chunked\r\nContent-Length: 5"]
    for field in fields:
        with Origin() as origin, dial(context) as connection:
            connection.sendall(f"POST http://127.0.0.1:{origin.port}/ HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\nhello".encode())
            head = b""
            try:
                with origin.accept(2) as server:
                    server.settimeout(2)
                    try:
                        head = server.recv(10_000)
                    except (TimeoutError, ConnectionResetError):
                        head = b""
                    assert field.encode() not in head, (field, head)
                    assert head.lower().count(b"content-length") + head.lower().count(b"transfer-encoding") <= 1, head
            except TimeoutError:
                pass
            answer, end = rest(connection, 5)
            assert end != "nothing", (field, answer)
            if not head:
                assert answer.startswith(b"HTTP/1.1 400 "), (field, answer, end)


@case(GROUP, "Thor-Country and Proxy-Authorization choose the exit; a wish that cannot be met is 403, a bad one 400")
def wishes(context):
    target = f"127.0.0.1:{context.echo.port}"
    for fields in ("Thor-Country: se\r\n", "Thor-Country: not-us\r\n", "Proxy-Authorization: Basic Y291bnRyeS1zZTo=\r\n"):
        with dial(context) as connection:
            connection.sendall(connect(target, fields))
            assert head_of(connection)[0] == 200
            echoed(connection)
    assert answered(context, connect(target, "Thor-Country: zz\r\n"))[0] == 403
    assert answered(context, connect(target, "Thor-Country: sweden\r\n"))[0] == 400


@case(GROUP, "with --password-file: 407 without it, and 200 with it")
def http_password(context):
    target = f"127.0.0.1:{context.echo.port}"
    for fields in ("", "Proxy-Authorization: Basic YTpi\r\n", "Proxy-Authorization: Basic ???\r\n"):
        status, answer, _ = answered(context, connect(target, fields), proxy=context.locked)
        assert status == 407 and "basic" in answer["proxy-authenticate"].lower(), (fields, status, answer)
    import base64
    word = base64.b64encode(b"me:open sesame").decode()
    with dial(context, proxy=context.locked) as connection:
        connection.sendall(connect(target, f"Proxy-Authorization: Basic {word}\r\n"))
        assert head_of(connection)[0] == 200
        echoed(connection)
