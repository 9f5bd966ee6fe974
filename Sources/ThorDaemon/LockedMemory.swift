internal import Foundation
package import Logging

/// Whether the keys that were loaded are locked in memory.
///
/// Locking a page is refused without a word where the process's limit is used up; such a key can get into swap.
package enum LockedMemory {
    /// Say so if nothing is locked. Call once the keys are loaded.
    package static func check(logger: Logger) {
        let status = FileManager.default.contents(atPath: "/proc/self/status") ?? Data()
        Self.check(status: String(decoding: status, as: UTF8.self), logger: logger)
    }

    static func check(status: String, logger: Logger) {
        guard Self.lockedKibibytes(status: status) == 0 else { return }
        logger.warning(
            "keys are not locked in memory and may get into swap; raise the limit (LimitMEMLOCK of systemd, ulimit -l)")
    }

    /// Read `VmLck` in what Linux says of a process; nil where it says nothing of it.
    static func lockedKibibytes(status: String) -> Int? {
        for line in status.split(separator: "\n") where line.hasPrefix("VmLck:") {
            return line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) }
        }
        return nil
    }
}
