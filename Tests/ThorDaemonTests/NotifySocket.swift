import Foundation
import Glibc

/// The service manager's end of sd_notify's protocol, in a test: a datagram socket that gives what is said to it.
final class NotifySocket: Sendable {
    /// What `NOTIFY_SOCKET` is to say.
    let name: String
    private let descriptor: Int32

    enum Kind {
        case path, abstract
    }

    struct Failure: Error {}

    /// - Parameter byteCount: how long the name is to be at least.
    init(_ kind: Kind, byteCount: Int = 0) throws {
        let unique = "thor-notify-\(getpid())-\(UInt64.random(in: 0 ... .max))"
        let name = kind == .path ? "\(NSTemporaryDirectory())/\(unique)" : "@\(unique)"
        self.name = name + String(repeating: "x", count: max(0, byteCount - name.utf8.count))
        var bytes = Array(self.name.utf8)
        if kind == .abstract { bytes[0] = 0 }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        guard bytes.count <= MemoryLayout.size(ofValue: address.sun_path) else { throw Failure() }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        self.descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        let length = socklen_t(2 + bytes.count)
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(self.descriptor, $0, length) }
        }
        guard result == 0 else { throw Failure() }
    }

    deinit {
        close(self.descriptor)
        if self.name.hasPrefix("/") { unlink(self.name) }
    }

    /// The next message; nil if none comes in that time.
    func next(within time: Duration = .seconds(20)) -> String? {
        var ready = pollfd(fd: self.descriptor, events: Int16(POLLIN), revents: 0)
        let milliseconds = time.components.seconds * 1000 + time.components.attoseconds / 1_000_000_000_000_000
        guard poll(&ready, 1, Int32(clamping: milliseconds)) == 1 else { return nil }
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = recv(self.descriptor, &buffer, buffer.count, 0)
        return count < 0 ? nil : String(decoding: buffer[..<count], as: UTF8.self)
    }

    /// Forget what has been said so far.
    func drain() {
        while self.next(within: .zero) != nil {}
    }
}
