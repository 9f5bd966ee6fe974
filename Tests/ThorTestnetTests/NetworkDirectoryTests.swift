import Foundation
import Testing
import ThorDaemon

@testable import ThorTestnet

@Suite("Directory of a test network")
struct NetworkDirectoryTests {
    @Test("forgets the proxy's consensus, which names the ports of the run before, and nothing else") func consensus()
        throws
    {
        let directory = try NetworkDirectory(path: nil)
        defer { directory.remove() }
        let proxy = directory.daemonPath(.proxy)
        try FileManager.default.createDirectory(atPath: proxy, withIntermediateDirectories: true)
        for name in ["consensus", "guards"] { try Data("x".utf8).write(to: URL(fileURLWithPath: "\(proxy)/\(name)")) }
        directory.forgetConsensus()
        directory.forgetConsensus()
        #expect(try FileManager.default.contentsOfDirectory(atPath: proxy) == ["guards"])
    }

    @Test(
        "takes a path in which the proxy's socket just fits, and refuses one of a byte more, unmade", arguments: [0, 1])
    func pathLength(extra: Int) throws {
        let parent = "/tmp/thor-path-\(UInt32.random(in: 0 ... .max))"
        let rest = NetworkDirectory.socketPathByteCount - "\(parent)//proxy/status.socket".utf8.count + extra
        let path = "\(parent)/\(String(repeating: "a", count: rest))"
        defer { try? FileManager.default.removeItem(atPath: parent) }
        if extra == 0 {
            #expect(try NetworkDirectory(path: path).path == path)
        } else {
            let error = try #require(throws: OperatorError.self) { try NetworkDirectory(path: path) }
            #expect(error.status == .configuration && error.advice.contains("--state"))
            #expect(!FileManager.default.fileExists(atPath: parent))
        }
    }
}
