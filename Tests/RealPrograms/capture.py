"""Watch a network interface: capture.py INTERFACE. Prints every flow that this side began, as JSON, when its input ends."""

import ipaddress
import json
import socket
import struct
import sys
import threading

OUTGOING = 4


def main():
    watched = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    watched.bind((sys.argv[1], 0))
    flows, others = {}, {}

    def watch():
        while True:
            frame, sender = watched.recvfrom(65535)
            if sender[2] != OUTGOING:
                continue
            kind = struct.unpack(">H", frame[12:14])[0]
            if kind == 0x0800:
                length = (frame[14] & 15) * 4
                protocol, target, rest = frame[23], str(ipaddress.ip_address(frame[30:34])), frame[14 + length:]
            elif kind == 0x86DD:
                protocol, target, rest = frame[20], str(ipaddress.ip_address(frame[38:54])), frame[54:]
                # What the kernel says by itself, to the link and nobody beyond: which multicast addresses it hears, and whether
                # there is a router.
                if target in ("ff02::2", "ff02::16"):
                    continue
            else:
                others[hex(kind)] = others.get(hex(kind), 0) + 1
                continue
            # Of TCP only what begins a connection: SYN without ACK.
            if protocol == 6 and rest[13] & 0x12 != 2:
                continue
            port = struct.unpack(">H", rest[2:4])[0] if protocol in (6, 17) else 0
            key = f"{protocol} {target} {port}"
            flows[key] = flows.get(key, 0) + 1

    threading.Thread(target=watch, daemon=True).start()
    print("watching", flush=True)
    sys.stdin.read()
    print(json.dumps({"flows": flows, "others": others}))


if __name__ == "__main__":
    main()
