import Foundation
package import Glibc
import ThorTestnet

/// Sees whether a process is still the same, and how much memory it has used.
package struct ProcessWatch: Sendable, Equatable {
    package let name: String
    package let processID: pid_t
    /// When the kernel says that it was started, which tells it from a later process of the same id.
    private let startTime: String

    /// nil if there is no such process.
    package init?(name: String, processID: pid_t) {
        guard let startTime = Self.startTime(of: processID) else { return nil }
        self.name = name
        self.processID = processID
        self.startTime = startTime
    }

    package var isAlive: Bool { Self.startTime(of: self.processID) == self.startTime }

    /// The most memory, in bytes, that was ever resident: what was used and given back counts too. 0 when the process is gone.
    package var residentByteCount: Int {
        let status = (try? String(contentsOfFile: "/proc/\(self.processID)/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return (line?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) << 10
    }

    /// Field 22 of the kernel's line; the name before it may hold anything. nil for one that has ended.
    private static func startTime(of processID: pid_t) -> String? {
        guard let text = try? String(contentsOfFile: "/proc/\(processID)/stat", encoding: .utf8),
            let end = text.lastIndex(of: ")")
        else { return nil }
        let fields = text[end...].dropFirst(2).split(separator: " ")
        guard fields.count > 19, fields[0] != "Z", fields[0] != "X" else { return nil }
        return String(fields[19])
    }
}

/// The memory that no daemon may use more of, whatever is done to it.
enum MemoryCeiling {
    /// For a router or a proxy: what all its queues may hold (network parameter `process-queue-limit`), and as much as a busy
    /// one needs besides.
    static let byteCount = (256 + 128) << 20
    /// For a directory server: what its answers may hold that nobody takes, and as much as a busy one needs besides.
    static let directoryByteCount = (128 + 64) << 20

    /// - Parameter name: of a process, as ``DaemonStarter`` names it.
    private static func byteCount(of name: String) -> Int {
        [DaemonRole.directory.description, DaemonRole.directory.executable].contains(name)
            ? Self.directoryByteCount : Self.byteCount
    }

    /// What is wrong, or nil.
    static func failure(_ resident: [(name: String, byteCount: Int)]) -> String? {
        let over = resident.filter { $0.byteCount > Self.byteCount(of: $0.name) }
        guard !over.isEmpty else { return nil }
        return over.map { name, byteCount in
            "\(name) used \(byteCount >> 20) MiB, and its ceiling is \(Self.byteCount(of: name) >> 20) MiB"
        }.joined(separator: "; ")
    }
}
