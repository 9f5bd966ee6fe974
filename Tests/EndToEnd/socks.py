"""A SOCKS5 client of our own, so that the proxy is not only tried with one library's habits."""

import socket
import struct

REPLIES = {
    0: "succeeded", 1: "general failure", 2: "not allowed", 3: "network unreachable", 4: "host unreachable",
    5: "connection refused", 6: "TTL expired", 7: "command not supported", 8: "address type not supported",
}


class SocksError(OSError):
    """The proxy said no; `code` is its reply."""

    def __init__(self, code):
        super().__init__(f"SOCKS reply {code}: {REPLIES.get(code, 'unknown')}")
        self.code = code


def receive(connection, count):
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise ConnectionError(f"the connection ended {count - len(data)} bytes early")
        data += part
    return data


def connect(proxy, host, port, user=None, password=None, timeout=60, receive_buffer=None):
    """Return a socket that is connected to host:port through the proxy "address:port". A name goes to the proxy."""
    address, _, proxy_port = proxy.rpartition(":")
    connection = socket.socket()
    try:
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(timeout)
        connection.connect((address, int(proxy_port)))
        connection.sendall(b"\x05\x01\x00" if user is None else b"\x05\x01\x02")
        method = receive(connection, 2)
        if method == b"\x05\x02" and user is not None:
            name, word = user.encode(), (password or "").encode()
            connection.sendall(b"\x01" + bytes([len(name)]) + name + bytes([len(word)]) + word)
            if receive(connection, 2)[1] != 0:
                raise SocksError(1)
        elif method != b"\x05\x00":
            raise SocksError(method[1])
        try:
            target = b"\x01" + socket.inet_pton(socket.AF_INET, host)
        except OSError:
            try:
                target = b"\x04" + socket.inet_pton(socket.AF_INET6, host)
            except OSError:
                target = b"\x03" + bytes([len(host.encode())]) + host.encode()
        connection.sendall(b"\x05\x01\x00" + target + struct.pack(">H", port))
        reply = receive(connection, 4)
        if reply[1] != 0:
            raise SocksError(reply[1])
        length = {1: 4, 4: 16}.get(reply[3]) or receive(connection, 1)[0]
        receive(connection, length + 2)
        return connection
    except BaseException:
        connection.close()
        raise
