import Foundation
import Glibc
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

    @Test("goes nowhere else by a link that somebody laid beside it, and has the mode of any new file")
    func planted() throws {
        try FileManager.default.createDirectory(atPath: self.folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: self.folder) }
        let other = "\(self.folder)/other"
        #expect(close(open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0o666)) == 0)
        try FileManager.default.createSymbolicLink(
            atPath: "\(self.folder)/a.\(getpid()).tmp", withDestinationPath: other)
        try JSONFile.write(Data("{}".utf8), to: "\(self.folder)/a")
        #expect(try Data(contentsOf: URL(fileURLWithPath: other)).isEmpty)
        let modes = try ["a", "other"].map {
            try FileManager.default.attributesOfItem(atPath: "\(self.folder)/\($0)")[.posixPermissions] as? Int
        }
        #expect(modes[0] == modes[1])
    }

    @Test("that is a pipe or a device is written to, and stays what it is") func pipe() throws {
        try FileManager.default.createDirectory(atPath: self.folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: self.folder) }
        let (pipe, link) = ("\(self.folder)/pipe", "\(self.folder)/link")
        #expect(mkfifo(pipe, 0o600) == 0)
        #expect(throws: OperatorError.self) { try JSONFile.write(Data("{}".utf8), to: pipe) }
        // Both ends, so that nobody waits for the other.
        let reader = open(pipe, O_RDWR | O_NONBLOCK | O_CLOEXEC)
        defer { close(reader) }
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: pipe)
        #expect(try !JSONFile.write(Data("{}".utf8), to: link))
        var bytes = [UInt8](repeating: 0, count: 8)
        #expect(read(reader, &bytes, 8) == 2)
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: link) == pipe)
        #expect(try JSONFile.write(Data("{}".utf8), to: "\(self.folder)/file"))
    }

    @Test("has what it begins with until it is written; what is no file gets nothing before") func begun() throws {
        try FileManager.default.createDirectory(atPath: self.folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: self.folder) }
        let (file, pipe) = ("\(self.folder)/a", "\(self.folder)/pipe")
        try JSONFile.begin(Data("first".utf8), at: file)
        #expect(try String(contentsOfFile: file, encoding: .utf8) == "first")
        #expect(mkfifo(pipe, 0o600) == 0)
        // Nobody reads it yet, and that is no error yet.
        try JSONFile.begin(Data("first".utf8), at: pipe)
        let error = #expect(throws: OperatorError.self) {
            try JSONFile.begin(Data("first".utf8), at: "\(self.folder)/none/a")
        }
        #expect(error?.status == .cannotCreate)
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
