import Foundation
import Testing
import ThorDaemon

@testable import ThorTestnet

@Suite("File of --json")
struct JSONFileTests {
    private let folder = "/tmp/thor-json-\(UInt64.random(in: 0 ... .max))"

    @Test("is there whole, with nothing beside it") func written() throws {
        try FileManager.default.createDirectory(atPath: self.folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: self.folder) }
        for text in ["first, which is longer", "second"] {
            try JSONFile.write(Data(text.utf8), to: "\(self.folder)/a")
            #expect(try String(contentsOfFile: "\(self.folder)/a", encoding: .utf8) == text)
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: self.folder) == ["a"])
    }

    @Test("that cannot be written is refused with what the system says, and code 73") func refused() throws {
        let error = try #require(throws: OperatorError.self) {
            try JSONFile.write(Data("{}".utf8), to: "\(self.folder)/a")
        }
        #expect(
            "\(error)"
                == "cannot write \(self.folder)/a: No such file or directory. Choose another place with --json FILE.")
        #expect(error.status.rawValue == 73)
        // A directory of that name: what was written beside it goes again.
        try FileManager.default.createDirectory(atPath: "\(self.folder)/a", withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: self.folder) }
        #expect(throws: OperatorError.self) { try JSONFile.write(Data("{}".utf8), to: "\(self.folder)/a") }
        #expect(try FileManager.default.contentsOfDirectory(atPath: self.folder) == ["a"])
    }
}
