import Glibc
import NIOCore
import OnionAddress
import TestSupport

/// A blocking TCP socket for tests, each on a thread of its own.
final class LoopbackSocket: Sendable {
    struct Failure: Error { let operation: String, code: Int32 }

    private let descriptor: Int32

    /// Connect to a port on 127.0.0.1. Reads and writes give up after 20 s.
    convenience init(port: UInt16) throws {
        self.init(descriptor: socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0))
        Self.limit(self.descriptor)
        let address = try SocketAddress(ipAddress: "127.0.0.1", port: Int(port))
        let result = address.withSockAddr { connect(self.descriptor, $0, socklen_t($1)) }
        guard result == 0 else { throw Failure(operation: "connect", code: errno) }
    }

    private init(descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(self.descriptor) }

    private static func limit(_ descriptor: Int32) {
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
    }

    func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.send(self.descriptor, $0.baseAddress?.advanced(by: sent), bytes.count - sent, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw Failure(operation: "send", code: errno) }
            sent += count
        }
    }

    /// Read up to `count` bytes; none at the end.
    func receive(upTo count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let got = recv(self.descriptor, &bytes, count, 0)
        guard got >= 0 else { throw Failure(operation: "recv", code: errno) }
        return Array(bytes[..<got])
    }

    func receive(exactly count: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            let more = try self.receive(upTo: count - bytes.count)
            guard !more.isEmpty else { throw Failure(operation: "recv: ended early", code: 0) }
            bytes += more
        }
        return bytes
    }

    func receiveAll() throws -> [UInt8] {
        var bytes: [UInt8] = []
        while true {
            let more = try self.receive(upTo: 65536)
            if more.isEmpty { return bytes }
            bytes += more
        }
    }

    /// Send back what comes, until the other side has ended.
    func echo() throws {
        while true {
            let bytes = try self.receive(upTo: 65536)
            if bytes.isEmpty { return }
            try self.send(bytes)
        }
    }

    func finishSending() { shutdown(self.descriptor, Int32(SHUT_WR)) }

    /// Speak SOCKS5 without an account; returns the reply code.
    func socks(connectTo host: String, port: UInt16) throws -> UInt8 {
        let name = Array(host.utf8)
        try self.send([5, 1, 0])
        _ = try self.receive(exactly: 2)
        try self.send([5, 1, 0, 3, UInt8(name.count)] + name + [UInt8(port >> 8), UInt8(port & 255)])
        return try self.receive(exactly: 10)[1]
    }

    /// The same with a user name, which keeps circuits apart.
    func socks(as user: String, connectTo host: String, port: UInt16) throws -> UInt8 {
        let (user, name) = (Array(user.utf8), Array(host.utf8))
        try self.send([5, 1, 2])
        _ = try self.receive(exactly: 2)
        try self.send([1, UInt8(user.count)] + user + [1, 120])
        _ = try self.receive(exactly: 2)
        try self.send([5, 1, 0, 3, UInt8(name.count)] + name + [UInt8(port >> 8), UInt8(port & 255)])
        return try self.receive(exactly: 10)[1]
    }

    /// Serve connections on a free port until `body` is done; `serve` runs on a thread for each.
    static func serving<R>(
        _ serve: @escaping @Sendable (LoopbackSocket) throws -> Void, _ body: (UInt16) async throws -> R
    ) async throws -> R {
        let (listener, port) = try ReservedPort.listen()
        Threads.detach {
            while true {
                let accepted = accept(listener, nil, nil)
                guard accepted >= 0 else { break }
                Self.limit(accepted)
                Threads.detach { try? serve(LoopbackSocket(descriptor: accepted)) }
            }
        }
        defer {
            shutdown(listener, Int32(SHUT_RDWR))
            close(listener)
        }
        return try await body(port)
    }
}
