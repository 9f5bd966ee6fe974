import Foundation
import Glibc
import Testing

@testable import ThorDaemon

@Suite("State directory")
struct StateDirectoryTests {
    private func withPath(_ body: (String) throws -> Void) throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("thor-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        try body(path)
    }

    private func mode(_ path: String) throws -> Int? {
        (try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? NSNumber)?.intValue
    }

    @Test("is made for its user alone, and serves one daemon at a time") func lock() throws {
        try self.withPath { path in
            var first: StateDirectory? = try StateDirectory(path: "\(path)/a/b", role: "test")
            #expect(try self.mode("\(path)/a/b") == 0o700)
            let refused = #expect(throws: OperatorError.self) { try StateDirectory(path: "\(path)/a/b", role: "test") }
            #expect(refused?.status == .temporary)
            #expect(first?.file("x") == "\(path)/a/b/x")
            first = nil
            _ = try StateDirectory(path: "\(path)/a/b", role: "test")
        }
    }

    @Test("closes an empty directory to others, and refuses one with content that is open to them") func modes() throws
    {
        try self.withPath { path in
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o755])
            _ = try StateDirectory(path: path, role: "test")
            #expect(try self.mode(path) == 0o700)
            try FileManager.default.setAttributes([.posixPermissions: 0o750], ofItemAtPath: path)
            let refused = #expect(throws: OperatorError.self) { try StateDirectory(path: path, role: "test") }
            #expect(refused?.status == .permission)
        }
    }

    @Test("is rid of files that a crash has left unfinished, and of no others") func unfinished() throws {
        try self.withPath { path in
            var directory: StateDirectory? = try StateDirectory(path: path, role: "test")
            for name in [".thor-abc.tmp", "onion-1.key", ".thor-abc", "x.tmp"] {
                try Data("secret".utf8).write(to: URL(fileURLWithPath: "\(path)/\(name)"))
            }
            directory = nil
            directory = try StateDirectory(path: path, role: "test")
            _ = directory
            let names = Set(try FileManager.default.contentsOfDirectory(atPath: path))
            #expect(names.isSuperset(of: ["onion-1.key", ".thor-abc", "x.tmp"]) && !names.contains(".thor-abc.tmp"))
        }
    }

    @Test("refuses a file") func file() throws {
        try self.withPath { path in
            try Data().write(to: URL(fileURLWithPath: path))
            let refused = #expect(throws: OperatorError.self) { try StateDirectory(path: path, role: "test") }
            #expect(refused?.status == .cannotCreate)
        }
    }

    @Test("refuses another user's directory") func owner() throws {
        try self.withPath { path in
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
            // Only root can give one away; for anybody else root's is another user's.
            let other = chown(path, 1, gid_t.max) == 0 ? path : "/usr"
            let refused = #expect(throws: OperatorError.self) { try StateDirectory(path: other, role: "test") }
            #expect(refused?.status == .permission)
            #expect(refused?.problem == "the state directory \(other) belongs to another user")
        }
    }

    @Test("refuses one where the lock is no file") func lockDirectory() throws {
        try self.withPath { path in
            try FileManager.default.createDirectory(
                atPath: "\(path)/lock", withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            let refused = #expect(throws: OperatorError.self) { try StateDirectory(path: path, role: "test") }
            #expect(refused?.status == .cannotCreate)
            #expect(refused?.problem.hasPrefix("cannot open the lock file in the state directory") == true)
        }
    }

    @Test("lives below XDG_STATE_HOME, or else below the home directory") func defaultPath() {
        #expect(
            StateDirectory.defaultPath(role: "router", environment: ["XDG_STATE_HOME": "/x", "HOME": "/h"])
                == "/x/thor/router")
        #expect(
            StateDirectory.defaultPath(role: "router", environment: ["XDG_STATE_HOME": "x", "HOME": "/h"])
                == "/h/.local/state/thor/router")
    }
}
