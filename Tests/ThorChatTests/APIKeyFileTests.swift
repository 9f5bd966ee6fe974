import Foundation
import Testing
import ThorDaemon

@testable import ThorChat

@Suite("API key file")
struct APIKeyFileTests {
    /// Write a file of this text and mode, and read it as a key.
    private func read(_ text: String, mode: Int = 0o600) throws -> String {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("thor-key-\(UUID().uuidString)").path
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        return try APIKeyFile.read(path)
    }

    @Test("reads one word, whatever white space is round it") func good() throws {
        #expect(try self.read("  sk-abc\r\n") == "sk-abc")
    }

    @Test("refuses a file that others can read", arguments: [0o644, 0o640, 0o604]) func mode(mode: Int) {
        let error = #expect(throws: OperatorError.self) { try self.read("sk-abc\n", mode: mode) }
        #expect(error?.status == .permission)
    }

    @Test("refuses what is no key, and repeats none of it", arguments: ["", "\n", "two words", "sk-ümlaut"])
    func bad(text: String) {
        let error = #expect(throws: OperatorError.self) { try self.read(text) }
        #expect(error?.status == .badData)
        #expect(text.isEmpty || text == "\n" || error?.description.contains(text) == false)
    }

    @Test("says when there is no file") func missing() {
        let error = #expect(throws: OperatorError.self) { try APIKeyFile.read("/nonexistent/key") }
        #expect(error?.status == .noInput)
    }
}
