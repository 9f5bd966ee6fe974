import Foundation
import GRDB
import OnionCrypto
import OnionDirectory
import Testing

@testable import DirectoryServer

@Suite("Registry store")
struct RegistryStoreTests {
    @Test("gives back what was saved last, also after being opened again") func roundTrip() throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("registry.sqlite")
        let routers = try (0..<3).map { index in
            StoredRouter(
                descriptor: try TestRouter().descriptor(), firstSeen: 10, lastSeen: UInt64(index), isListed: index > 0)
        }
        let store = try RegistryStore(path: path)
        #expect(try store.load().routers.isEmpty)
        #expect(try store.load().lastRevision == 0)
        try store.save(routers, revision: 77)
        try store.save(Array(routers.dropFirst()), revision: 78)
        let content = try RegistryStore(path: path).load()
        #expect(content.lastRevision == 78)
        #expect(content.damagedCount == 0)
        #expect(
            content.routers.sorted { $0.lastSeen < $1.lastSeen } == Array(routers.dropFirst()))
    }

    @Test("leaves out a descriptor that no longer verifies") func damaged() throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("registry.sqlite")
        let good = StoredRouter(descriptor: try TestRouter().descriptor(), firstSeen: 1, lastSeen: 2, isListed: true)
        let store = try RegistryStore(path: path)
        try store.save([good], revision: 1)
        try store.database.write { try $0.execute(sql: "UPDATE router SET descriptor = x'010203'") }
        let content = try store.load()
        #expect(content.routers.isEmpty)
        #expect(content.damagedCount == 1)
        #expect(content.lastRevision == 1)
    }

    @Test(
        "leaves out a row in which a column has another type", arguments: ["firstSeen", "lastSeen", "descriptor"])
    func otherType(column: String) throws {
        let directory = try TemporaryDirectory()
        let store = try RegistryStore(path: directory.file("registry.sqlite"))
        let routers = try (0..<2).map { _ in
            StoredRouter(descriptor: try TestRouter().descriptor(), firstSeen: 1, lastSeen: 2, isListed: true)
        }
        try store.save(routers, revision: 1)
        try store.database.write {
            try $0.execute(
                sql: "UPDATE router SET \(column) = 'yesterday' WHERE identity = ?",
                arguments: [Data(routers[0].descriptor.identity.rawBytes)])
        }
        let content = try store.load()
        #expect(content.routers == [routers[1]])
        #expect(content.damagedCount == 1)
    }

    @Test("refuses a file that is no database") func noDatabase() throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("registry.sqlite")
        try Data(repeating: 0x55, count: 4096).write(to: URL(fileURLWithPath: path))
        #expect(throws: (any Error).self) { try RegistryStore(path: path) }
    }
}
