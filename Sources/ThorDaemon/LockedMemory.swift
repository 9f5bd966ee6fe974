internal import Foundation
package import Logging
internal import OnionCrypto

/// Whether the keys that were loaded are locked in memory.
///
/// Locking a page is refused without a word where the process's limit is used up; such a key can get into swap.
package enum LockedMemory {
    /// Say so if some are not locked. Call once the keys are loaded.
    package static func check(logger: Logger) {
        let keyCount = LongTermKeys.count
        let status = FileManager.default.contents(atPath: "/proc/self/status") ?? Data()
        Self.check(
            status: String(decoding: status, as: UTF8.self), keyCount: keyCount,
            pageKibibytes: sysconf(Int32(_SC_PAGESIZE)) / 1024, logger: logger)
    }

    /// - Parameter pageKibibytes: what each key locks.
    static func check(status: String, keyCount: Int, pageKibibytes: Int, logger: Logger) {
        guard let locked = Self.lockedKibibytes(status: status), locked < keyCount * pageKibibytes else { return }
        logger.warning(
            "keys are not locked in memory and may get into swap; raise the limit (LimitMEMLOCK of systemd, ulimit -l)",
            metadata: ["keys.held": "\(keyCount)", "keys.locked": "\(locked / pageKibibytes)"])
    }

    /// Read `VmLck` in what Linux says of a process; nil where it says nothing of it.
    static func lockedKibibytes(status: String) -> Int? {
        for line in status.split(separator: "\n") where line.hasPrefix("VmLck:") {
            return line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) }
        }
        return nil
    }
}
