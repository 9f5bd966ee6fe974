internal import Foundation
internal import Glibc

/// Tells the service manager, if one started this program, how it fares: the protocol of sd_notify(3).
///
/// A message is one datagram to the socket that `NOTIFY_SOCKET` names. Without that variable nothing is sent, and a message
/// that cannot be delivered is no reason to end. What is said appears in `systemctl status`: as in the logs, no address of a
/// client and no destination belongs there.
package final class ServiceManager: Sendable {
    /// The one that started this process.
    package static let ofProcess = ServiceManager(environment: ProcessInfo.processInfo.environment)

    /// How long the service manager waits for a sign of life before it takes the daemon for hung; nil if it does not watch.
    let watchdogTime: Duration?
    /// Datagram socket, connected if somebody listens; nil if nobody is named.
    private let descriptor: Int32?

    /// - Parameter environment: `NOTIFY_SOCKET` is a path, or `@` and a name in Linux's abstract name space; `WATCHDOG_USEC`
    ///   counts only if `WATCHDOG_PID` is this process or not given.
    package init(environment: [String: String]) {
        self.descriptor = environment["NOTIFY_SOCKET"].flatMap(Self.connected)
        let isWatched = environment["WATCHDOG_PID"].map { Int32($0) == getpid() } ?? true
        self.watchdogTime =
            isWatched
            ? environment["WATCHDOG_USEC"].flatMap { Int64($0) }.flatMap { $0 > 0 ? .microseconds($0) : nil } : nil
    }

    deinit {
        if let descriptor { close(descriptor) }
    }

    /// Say that the daemon now does what it is for.
    package func ready(_ status: String) { self.tell("READY=1\nSTATUS=\(Self.line(status))") }

    /// Say in words what the daemon is doing.
    package func status(_ text: String) { self.tell("STATUS=\(Self.line(text))") }

    /// Say that the daemon is ending.
    func stopping() { self.tell("STOPPING=1\nSTATUS=stopping") }

    /// Say that the daemon lives.
    func watchdog() { self.tell("WATCHDOG=1") }

    private func tell(_ message: String) {
        guard let descriptor else { return }
        let bytes = Array(message.utf8)
        // Not waiting: an event loop that says something must not hang because the service manager does.
        while send(descriptor, bytes, bytes.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL)) < 0,
            errno == EINTR
        {}
    }

    /// A line break would begin another assignment.
    private static func line(_ text: String) -> String {
        String(text.map { $0.isNewline ? " " : $0 })
    }

    private static func connected(_ name: String) -> Int32? {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        var bytes = Array(name.utf8)
        guard let first = bytes.first, first == UInt8(ascii: "/") || first == UInt8(ascii: "@"),
            bytes.count < MemoryLayout.size(ofValue: address.sun_path)
        else { return nil }
        if first == UInt8(ascii: "@") { bytes[0] = 0 }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        // An abstract name is as long as the address says, without a zero at its end.
        let length = socklen_t(
            MemoryLayout<sockaddr_un>.size - MemoryLayout.size(ofValue: address.sun_path) + bytes.count)
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        // Where nobody listens, what is said goes nowhere.
        _ = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, length) }
        }
        return descriptor
    }
}
