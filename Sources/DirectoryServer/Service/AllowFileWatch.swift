import Foundation
import Logging
import NIOCore

/// Reads the allow file, and again whenever it changes.
///
/// A file that has gone, or has a bad line, is reported and leaves the old list in force.
struct AllowFileWatch: Sendable {
    /// What tells one state of a file from the next.
    private struct Stamp: Equatable, Sendable {
        var modified: Date?
        var byteCount: Int?
        var fileNumber: Int?
    }

    static let interval = TimeAmount.seconds(1)
    /// Far more than a thousand routers need.
    static let byteCountLimit = 1 << 20

    /// As read at the start.
    let admission: Admission
    private let path: String?
    private let stamp: Stamp?

    /// - Throws: ``DirectoryServerError`` when the file cannot be read, or has a bad line.
    init(source: DirectoryServer.RouterSource) throws(DirectoryServerError) {
        switch source {
        case .anyone:
            self.admission = .open
            self.path = nil
            self.stamp = nil
        case .file(let path):
            self.path = path
            self.stamp = Self.stamp(of: path)
            self.admission = try Self.read(path)
        }
    }

    /// Look at the file once a second until cancelled.
    ///
    /// - Parameter sleep: throws when the task is cancelled.
    func run(
        logger: Logger, sleep: (TimeAmount) async throws -> Void, changed: (Admission) async -> Void
    ) async {
        var known = self.stamp
        while (try? await sleep(Self.interval)) != nil {
            // Without a file there is nothing to watch; but a task that ended would stop the server.
            guard let path else { continue }
            let stamp = Self.stamp(of: path)
            guard stamp != known else { continue }
            known = stamp
            do throws(DirectoryServerError) {
                await changed(try Self.read(path))
                logger.info("allow file read again")
            } catch {
                logger.warning(
                    "allow file not usable; the old list stays in force", metadata: ["reason": "\(Self.words(error))"])
            }
        }
    }

    static func words(_ error: DirectoryServerError) -> String {
        switch error {
        case .cannotReadAllowFile(let path, let why, _): "\(path): \(why)"
        case .malformedAllowFile(let path, let errors): "\(path), \(errors.map(\.description).joined(separator: "; "))"
        case .cannotListen(_, _, let why, _), .cannotOpenDatabase(_, let why): why
        }
    }

    private static func read(_ path: String) throws(DirectoryServerError) -> Admission {
        let data: Data
        do {
            data = try Data(contentsOf: URL(fileURLWithPath: path))
        } catch {
            let code = ((error as NSError).userInfo[NSUnderlyingErrorKey] as? POSIXError)?.code.rawValue
            throw .cannotReadAllowFile(
                path: path, why: code.map { String(cString: strerror($0)) } ?? "it cannot be opened", errno: code)
        }
        guard data.count <= Self.byteCountLimit, let text = String(data: data, encoding: .utf8) else {
            throw .cannotReadAllowFile(path: path, why: "it is not a text file of at most 1 MiB")
        }
        let (routers, errors) = AllowList.parse(text)
        guard errors.isEmpty else { throw .malformedAllowFile(path: path, errors: errors) }
        return .listed(routers)
    }

    private static func stamp(of path: String) -> Stamp? {
        guard let attributes = try? FileManager.default.attributesOfItem(atPath: path) else { return nil }
        return Stamp(
            modified: attributes[.modificationDate] as? Date, byteCount: (attributes[.size] as? NSNumber)?.intValue,
            fileNumber: (attributes[.systemFileNumber] as? NSNumber)?.intValue)
    }
}
