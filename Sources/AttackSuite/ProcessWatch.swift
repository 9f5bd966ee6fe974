import Foundation
package import Glibc

/// Sees whether a process is still the same, and how much memory it uses.
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

    /// Resident memory in bytes; 0 when the process is gone.
    package var residentByteCount: Int {
        let status = (try? String(contentsOfFile: "/proc/\(self.processID)/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
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

/// The memory that no daemon may use more of, whatever is done to it: what all its queues may hold (network parameter
/// `process-queue-limit`), and as much as a busy daemon needs besides.
enum MemoryCeiling {
    static let byteCount = (256 + 128) << 20

    /// What is wrong, or nil.
    static func failure(_ resident: [(name: String, byteCount: Int)]) -> String? {
        let over = resident.filter { $0.byteCount > Self.byteCount }
        guard !over.isEmpty else { return nil }
        let told = over.map { "\($0.name) uses \($0.byteCount >> 20) MiB" }.joined(separator: ", ")
        return "\(told), and the ceiling is \(Self.byteCount >> 20) MiB"
    }
}
