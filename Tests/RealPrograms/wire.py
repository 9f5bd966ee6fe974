"""Raw sockets: what programs send, byte for byte, and servers that do as they are told."""

import ipaddress
import select
import socket
import struct
import threading
import time

SUCCEEDED = b"\5\0\0\1" + bytes(6)


def dial(context, timeout=20, proxy=None):
    """A TCP connection to the proxy, on which nothing has been said."""
    host, port = (proxy or context.socks).rsplit(":", 1)
    connection = socket.create_connection((host.strip("[]"), int(port)), timeout=timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def refusal(code):
    """The whole SOCKS5 reply that says no."""
    return bytes([5, code, 0, 1]) + bytes(6)


def request5(host, port, command=1, version=5, reserved=0):
    """A SOCKS5 request; bytes are taken for a name, whatever they are."""
    head = bytes([version, command, reserved])
    if isinstance(host, bytes):
        return head + b"\3" + bytes([len(host)]) + host + struct.pack(">H", port)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return request5(host.encode(), port, command, version, reserved)
    return head + (b"\1" if address.version == 4 else b"\4") + address.packed + struct.pack(">H", port)


def account(name, password):
    return b"\1" + bytes([len(name)]) + name + bytes([len(password)]) + password


def request4(host, port, user=b"", command=1):
    """A SOCKS4 request, or 4a for a name."""
    head = struct.pack(">BBH", 4, command, port)
    try:
        return head + ipaddress.IPv4Address(host).packed + user + b"\0"
    except (ValueError, TypeError):
        name = host if isinstance(host, bytes) else host.encode()
        return head + b"\0\0\0\1" + user + b"\0" + name + b"\0"


def receive(connection, count, timeout=20):
    """Read exactly so many bytes."""
    data = b""
    end = time.monotonic() + timeout
    while len(data) < count:
        connection.settimeout(max(0.01, end - time.monotonic()))
        part = connection.recv(count - len(data))
        if not part:
            raise AssertionError(f"the connection ended after {data!r}, {count - len(data)} bytes early")
        data += part
    return data


def rest(connection, timeout=10):
    """Read to the end, and say how it ended: (bytes, "eof" | "reset" | "nothing")."""
    data = b""
    end = time.monotonic() + timeout
    while True:
        connection.settimeout(max(0.01, end - time.monotonic()))
        try:
            part = connection.recv(1 << 16)
        except ConnectionResetError:
            return data, "reset"
        except TimeoutError:
            return data, "nothing"
        if not part:
            return data, "eof"
        data += part


def say(context, data, timeout=15, proxy=None, step=None):
    """Send bytes to the proxy and return all that it answers until it closes, and how that ended."""
    with dial(context, timeout, proxy) as connection:
        try:
            if step:
                for index in range(0, len(data), step):
                    connection.sendall(data[index:index + step])
                    time.sleep(0.002)
            else:
                connection.sendall(data)
        except OSError:
            pass
        return rest(connection, timeout)


def expect(context, data, wanted, timeout=15, proxy=None):
    """The proxy answers exactly `wanted`, and closes without a reset."""
    answer, end = say(context, data, timeout, proxy)
    assert answer == wanted, f"{data[:40]!r} was answered {answer!r}, wanted {wanted!r}"
    assert end == "eof", f"{data[:40]!r} was answered {answer!r}, and then: {end}"


def open5(context, host, port, user=None, password=b"", timeout=60, proxy=None, data=b""):
    """A stream by SOCKS5, or the reply as an AssertionError; nothing is waited for in between."""
    connection = dial(context, timeout, proxy)
    try:
        if user is None:
            connection.sendall(b"\5\1\0" + request5(host, port) + data)
            wanted = b"\5\0" + SUCCEEDED
        else:
            connection.sendall(b"\5\1\2" + account(user, password) + request5(host, port) + data)
            wanted = b"\5\2\1\0" + SUCCEEDED
        answer = receive(connection, len(wanted), timeout)
        assert answer == wanted, f"{host}:{port} was answered {answer!r}"
        return connection
    except BaseException:
        connection.close()
        raise


def open4(context, host, port, user=b"", timeout=60):
    connection = dial(context, timeout)
    try:
        connection.sendall(request4(host, port, user))
        answer = receive(connection, 8, timeout)
        assert answer == b"\0\x5a" + bytes(6), answer
        return connection
    except BaseException:
        connection.close()
        raise


def open_http(context, host, port, fields="", timeout=60, data=b""):
    connection = dial(context, timeout)
    try:
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        connection.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{fields}\r\n".encode() + data)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += receive(connection, 1, timeout)
        assert head.startswith(b"HTTP/1.1 200 "), head
        return connection
    except BaseException:
        connection.close()
        raise


OPENERS = {"socks5": open5, "socks4": open4, "http": open_http}


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Origin:
    """A listener whose connections the case plays itself."""

    def __init__(self, address="127.0.0.1", backlog=1024):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.listener = socket.create_server((address, 0), family=family, backlog=backlog)
        self.host, self.port = address, self.listener.getsockname()[1]

    def accept(self, timeout=20):
        self.listener.settimeout(timeout)
        return self.listener.accept()[0]

    def is_quiet(self, seconds=0.3):
        """Whether nobody connects for a while."""
        return not select.select([self.listener], [], [], seconds)[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


class Echo(Origin):
    """Sends back what it gets, and ends when the other does."""

    def __init__(self, address="127.0.0.1"):
        super().__init__(address)
        self.count = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.count += 1
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    @staticmethod
    def _echo(connection):
        with connection:
            try:
                while data := connection.recv(1 << 17):
                    connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass


def echoed(connection, text=b"is anybody there?"):
    """The stream goes to an echo and back."""
    connection.sendall(text)
    answer = receive(connection, len(text))
    assert answer == text, answer


def free_port():
    """A port on loopback that nobody listens on; it was just given back."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
