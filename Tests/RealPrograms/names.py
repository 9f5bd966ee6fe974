"""A name server of our own, in a thread: what the exits ask."""

import ipaddress
import socket
import struct
import threading

A, PTR, AAAA = 1, 12, 28
NO_ERROR, SERVER_FAILURE, NO_SUCH_NAME = 0, 2, 3

# Names end here: `.test` is nobody's. What is asked about `slow.test` waits so many seconds.
SLOW = 2
DEFAULT = {
    "origin.test": ["127.0.0.1"], "v6.test": ["::1"], "both.test": ["127.0.0.1", "::1"], "private.test": ["10.1.2.3"],
    "empty.test": [], "servfail.test": SERVER_FAILURE, "silent.test": None,
    "slow.test": ["127.0.0.1"],
}
REVERSE = {"127.0.0.1": "origin.test", "127.0.0.2": "second.test", "::1": "v6.test"}


class NameServer:
    """Answers A, AAAA and PTR over UDP and counts what it was asked."""

    def __init__(self, address="127.0.0.1", names=DEFAULT, port=0):
        self.names = dict(names)
        self.reverse = dict(REVERSE)
        self.asked = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, port))
        self.port = self.socket.getsockname()[1]
        self.address = f"{address}:{self.port}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                query, sender = self.socket.recvfrom(4096)
            except OSError:
                return
            try:
                answer = self._answer(query)
                if answer and self.asked[-1][0] == "slow.test":
                    threading.Timer(SLOW * 0.9, self._send, (answer, sender)).start()
                elif answer:
                    self._send(answer, sender)
            except (OSError, IndexError, struct.error, UnicodeDecodeError):
                pass

    def _send(self, answer, sender):
        try:
            self.socket.sendto(answer, sender)
        except OSError:
            pass

    def _answer(self, query):
        labels, offset = [], 12
        while length := query[offset]:
            labels.append(query[offset + 1:offset + 1 + length])
            offset += 1 + length
        name = b".".join(labels).decode("latin-1").lower()
        kind = struct.unpack(">H", query[offset + 1:offset + 3])[0]
        question = query[12:offset + 5]
        self.asked.append((name, kind))
        code, records = NO_ERROR, []
        if kind == PTR:
            address = self._reversed(name)
            if address in self.reverse:
                target = b"".join(bytes([len(label)]) + label for label in
                                  self.reverse[address].encode().split(b".")) + b"\0"
                records.append(target)
            else:
                code = NO_SUCH_NAME
        elif name not in self.names:
            code = NO_SUCH_NAME
        elif self.names[name] is None:
            return None
        elif isinstance(self.names[name], int):
            code = self.names[name]
        else:
            addresses = [ipaddress.ip_address(text) for text in self.names[name]]
            records = [one.packed for one in addresses if one.version == {A: 4, AAAA: 6}.get(kind)]
        header = query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(records), 0, 0)
        return header + question + b"".join(
            struct.pack(">HHHIH", 0xC00C, kind, 1, 60, len(data)) + data for data in records)

    @staticmethod
    def _reversed(name):
        if name.endswith(".in-addr.arpa"):
            return ".".join(reversed(name[:-len(".in-addr.arpa")].split(".")))
        digits = name[:-len(".ip6.arpa")].replace(".", "")[::-1]
        return str(ipaddress.IPv6Address(int(digits, 16))) if digits else ""

    def stop(self):
        self.socket.close()


def main():
    """names.py ADDRESS NAME=ADDRESS[,ADDRESS]...: serve until standard input ends; print the port."""
    import os
    import sys
    names = {**DEFAULT, **{name: address.split(",") for name, _, address in (word.partition("=") for word in sys.argv[2:])}}
    server = NameServer(sys.argv[1], names)
    for word in sys.argv[2:]:
        name, _, addresses = word.partition("=")
        server.reverse.setdefault(addresses.split(",")[0], name)
    print(server.port, flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
