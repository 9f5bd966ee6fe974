internal import Foundation

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// A daemon's own directory: only its user can enter it, and only one daemon uses it at a time.
///
/// The lock (`flock` on the file `lock` in it) is held until the value goes away or the process ends, however it ends.
package final class StateDirectory: Sendable {
    /// Absolute path, without a slash at its end.
    package let path: String
    private let lockDescriptor: Int32

    /// Make the directory if it is not there, check who can enter it, and lock it.
    ///
    /// - Parameters:
    ///   - path: what the operator gave; nil for ``defaultPath(role:environment:)``.
    ///   - role: `directory`, `router`, `proxy`, `testnet`.
    /// - Throws: ``OperatorError``: cannot be made, others can enter it, another daemon uses it.
    package init(path: String?, role: String) throws(OperatorError) {
        let given = path ?? Self.defaultPath(role: role, environment: ProcessInfo.processInfo.environment)
        self.path = URL(fileURLWithPath: given).standardizedFileURL.path
        try Self.prepare(self.path)
        self.lockDescriptor = try Self.lock(self.path)
        self.removeUnfinishedFiles()
    }

    /// What a crash has left of files that were being written: there may be keys in them, and nobody else uses them now.
    private func removeUnfinishedFiles() {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: self.path)) ?? []
        for name in names where name.hasPrefix(".thor-") && name.hasSuffix(".tmp") {
            try? FileManager.default.removeItem(atPath: self.file(name))
        }
    }

    deinit { close(self.lockDescriptor) }

    /// Return the path of a file in the directory.
    package func file(_ name: String) -> String { "\(self.path)/\(name)" }

    /// Return where a role's state lives unless the operator says otherwise: `$XDG_STATE_HOME/thor/ROLE`, else
    /// `~/.local/state/thor/ROLE`.
    package static func defaultPath(role: String, environment: [String: String]) -> String {
        if let base = environment["XDG_STATE_HOME"], base.hasPrefix("/") { return "\(base)/thor/\(role)" }
        let home = environment["HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil } ?? NSHomeDirectory()
        return "\(home)/.local/state/thor/\(role)"
    }

    /// Return ``defaultPath(role:environment:)`` as `--help` says it.
    package static func defaultText(role: String) -> String {
        "$XDG_STATE_HOME/thor/\(role), else ~/.local/state/thor/\(role)"
    }

    private static func prepare(_ path: String) throws(OperatorError) {
        var status = stat()
        if stat(path, &status) != 0 {
            do {
                try FileManager.default.createDirectory(
                    atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            } catch {
                throw OperatorError(
                    "cannot make the state directory \(path)",
                    advice: "Choose another with --state DIR, or make its parent writable", status: .cannotCreate)
            }
            // The umask has its say in mkdir, so the mode is set once more.
            guard chmod(path, 0o700) == 0 else { throw Self.systemError("cannot set the mode of", path) }
            return
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw OperatorError(
                "\(path) is to be the state directory, but is not a directory",
                advice: "Choose another with --state DIR", status: .cannotCreate)
        }
        guard status.st_uid == geteuid() else {
            throw OperatorError(
                "the state directory \(path) belongs to another user",
                advice: "Run as its owner, or choose another with --state DIR", status: .permission)
        }
        guard status.st_mode & 0o077 != 0 else { return }
        // An empty directory, such as one that mktemp or a package made, is simply closed; one with content may be
        // meant for something else.
        guard (try? FileManager.default.contentsOfDirectory(atPath: path))?.isEmpty == true, chmod(path, 0o700) == 0
        else {
            let mode = String(status.st_mode & 0o777, radix: 8)
            throw OperatorError(
                "others can enter the state directory \(path) (mode \(mode))", advice: "Run: chmod 700 \(path)",
                status: .permission)
        }
    }

    private static func lock(_ path: String) throws(OperatorError) -> Int32 {
        let descriptor = open("\(path)/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Self.systemError("cannot open the lock file in", path) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            close(descriptor)
            guard code == EWOULDBLOCK else { throw Self.systemError("cannot lock", path) }
            throw OperatorError(
                "another daemon uses the state directory \(path)",
                advice: "Stop it, or give this one a directory of its own with --state DIR", status: .temporary)
        }
        return descriptor
    }

    private static func systemError(_ what: String, _ path: String) -> OperatorError {
        OperatorError(
            "\(what) the state directory \(path): \(String(cString: strerror(errno)))",
            advice: "Check its owner and permissions, or choose another with --state DIR", status: .cannotCreate)
    }
}
