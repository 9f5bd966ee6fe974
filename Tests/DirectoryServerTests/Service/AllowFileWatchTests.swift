import Foundation
import Logging
import OnionCrypto
import Testing

@testable import DirectoryServer

@Suite("Watch of the allow file")
struct AllowFileWatchTests {
    @Test("the file is read again when it has changed, and only then") func changes() async throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("routers")
        let (one, two) = (TestRouter().fingerprint, TestRouter().fingerprint)
        try one.base64URL.write(toFile: path, atomically: true, encoding: .utf8)
        let watch = try AllowFileWatch(source: .file(path))
        #expect(watch.admission == .listed([one: ""]))
        var lookCount = 0
        var read: [Admission] = []
        await watch.run(logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }) { _ in
            lookCount += 1
            if lookCount == 2 { try two.base64URL.write(toFile: path, atomically: true, encoding: .utf8) }
            if lookCount == 5 { throw CancellationError() }
        } changed: {
            read.append($0)
        }
        #expect(read == [.listed([two: ""])])
    }

    @Test("says in words what is wrong with the file") func words() {
        let errors = [AllowListError(line: 2, problem: "bad"), AllowListError(line: 4, problem: "worse")]
        #expect(AllowFileWatch.words(.malformedAllowFile(path: "r", errors: errors)) == "r, line 2: bad; line 4: worse")
        #expect(
            AllowFileWatch.words(.cannotReadAllowFile(path: "r", why: "there is no such file"))
                == "r: there is no such file")
    }

    @Test("gives the system's reason why the file cannot be read") func unreadable() throws {
        let directory = try TemporaryDirectory()
        for (path, code) in [(directory.file("none"), ENOENT), (directory.path, EISDIR)] {
            #expect(
                throws: DirectoryServerError.cannotReadAllowFile(
                    path: path, why: String(cString: strerror(code)), errno: code)
            ) { try AllowFileWatch(source: .file(path)) }
        }
    }

    @Test("a file of so many bytes is read, and one of one more is not", arguments: [0, 1]) func size(extra: Int) throws
    {
        let directory = try TemporaryDirectory()
        let path = directory.file("routers")
        try Data(repeating: UInt8(ascii: "#"), count: AllowFileWatch.byteCountLimit + extra)
            .write(to: URL(fileURLWithPath: path))
        if extra == 0 {
            #expect(try AllowFileWatch(source: .file(path)).admission == .listed([:]))
        } else {
            #expect(
                throws: DirectoryServerError.cannotReadAllowFile(
                    path: path, why: "it is not a text file of at most 1 MiB")
            ) { try AllowFileWatch(source: .file(path)) }
        }
    }
}
