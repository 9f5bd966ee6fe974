import Foundation
import Glibc
package import ThorDaemon

/// Where a test network keeps keys, the daemons' state and their logs; readable by the owner alone. A temporary one is
/// removed at the end.
///
///     directory.key, directory.pub, router-1.key, …   keys
///     directory/, router-1/, …, proxy/                 one state directory per daemon
///     directory.log, router-1.log, …, proxy.log        what they wrote to standard error
///     lock                                             held while a test network runs here
package struct NetworkDirectory: Sendable {
    package let isTemporary: Bool
    private let directory: StateDirectory

    private static let temporaryPrefix = "thor-testnet-"
    /// What a socket's path may have, in bytes: the proxy has one in its directory.
    static let socketPathByteCount = 103

    /// Open the given directory (made if there is none), or make a temporary one.
    ///
    /// - Throws: ``OperatorError`` for one that cannot be used, or whose path is too long for the proxy's socket.
    package init(path: String?) throws(OperatorError) {
        self.isTemporary = path == nil
        let chosen: String
        if let path { chosen = path } else { chosen = try Self.makeTemporary() }
        let absolute = URL(fileURLWithPath: chosen).standardizedFileURL.path
        guard "\(absolute)/\(DaemonRole.proxy.fileName)/status.socket".utf8.count <= Self.socketPathByteCount else {
            if self.isTemporary { Self.removeTemporary(absolute) }
            throw OperatorError(
                "the path \(absolute) is too long: the proxy's socket in it would have more than "
                    + "\(Self.socketPathByteCount) bytes",
                advice: "Name a directory with a shorter path with --state DIR",
                status: .configuration)
        }
        self.directory = try StateDirectory(path: chosen, role: "testnet")
    }

    package var path: String { self.directory.path }
    package func logPath(_ role: DaemonRole) -> String { self.directory.file("\(role.fileName).log") }
    package func privateKeyPath(_ role: DaemonRole) -> String { self.directory.file("\(role.fileName).key") }
    package var directoryPublicKeyPath: String { self.directory.file("directory.pub") }
    package func daemonPath(_ role: DaemonRole) -> String { self.directory.file(role.fileName) }

    /// Remove the routers' list that the proxy kept: it names the ports of the run before, where nobody is.
    package func forgetConsensus() { unlink("\(self.daemonPath(.proxy))/consensus") }

    /// The last lines of a daemon's log, for the person who has to find out why it ended.
    package func logTail(_ role: DaemonRole, lineCount: Int = 12) -> [String] {
        guard let text = try? String(contentsOfFile: self.logPath(role), encoding: .utf8) else { return [] }
        return text.split(separator: "\n").suffix(lineCount).map(String.init)
    }

    /// Remove a temporary directory; a given one stays.
    package func remove() {
        guard self.isTemporary else { return }
        Self.removeTemporary(self.path)
    }

    /// Remove a directory that this type made for a while; anything else is left alone.
    package static func removeTemporary(_ path: String) {
        guard URL(fileURLWithPath: path).lastPathComponent.hasPrefix(self.temporaryPrefix) else { return }
        try? FileManager.default.removeItem(atPath: path)
    }

    private static func makeTemporary() throws(OperatorError) -> String {
        let parent = ProcessInfo.processInfo.environment["TMPDIR"].flatMap { $0.hasPrefix("/") ? $0 : nil } ?? "/tmp"
        var template = Array("\(parent)/\(Self.temporaryPrefix)XXXXXX".utf8)
        template.append(0)
        let made = template.withUnsafeMutableBytes { bytes in
            bytes.withMemoryRebound(to: CChar.self) { characters in
                characters.baseAddress.map { mkdtemp($0) != nil } ?? false
            }
        }
        guard made else {
            throw OperatorError(
                "cannot make a temporary directory in \(parent): \(String(cString: strerror(errno)))",
                advice: "Set TMPDIR, or name a directory with --state DIR", status: .cannotCreate)
        }
        return String(decoding: template.dropLast(), as: UTF8.self)
    }
}
