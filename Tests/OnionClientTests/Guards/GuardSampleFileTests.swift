import Foundation
import Logging
import NIOCore
import NIOPosix
import OnionCrypto
import OnionDirectory
import OnionLink
import Testing

@testable import OnionClient

@Suite("Guard sample file", .timeLimit(.minutes(1)))
struct GuardSampleFileTests {
    private let unixTime: UInt64 = 1_800_000_000

    private func makeSample(_ count: Int) -> GuardSample { someSample(count, unixTime: self.unixTime) }

    @Test("the text gives back what was written, and says why it gives nothing")
    func text() throws {
        let file = GuardSampleFile(stateDirectory: "/nowhere", directoryKey: someKey())
        var sample = self.makeSample(3)
        _ = sample.consensusChanged(
            size: 3, isListed: { _ in false }, unixTime: self.unixTime, now: .uptimeNanoseconds(1))
        let text = file.text(of: sample)
        #expect(try file.parse(text).members == sample.members)
        let other = GuardSampleFile(stateDirectory: "/nowhere", directoryKey: someKey())
        #expect(throws: GuardSampleFile.Reason.anotherDirectory) { try other.parse(text) }
        #expect(throws: GuardSampleFile.Reason.anotherVersion) {
            try file.parse(text.replacingOccurrences(of: "sample 1", with: "sample 2"))
        }
        let lines = text.split(separator: "\n")
        let head = lines.prefix(2).joined(separator: "\n")
        func members(_ count: Int) -> String {
            head + (0..<count).map { _ in "\nguard \(someKey().base64URL) 1 0" }.joined()
        }
        #expect(try file.parse(members(GuardSampleFile.memberLimit)).members.count == GuardSampleFile.memberLimit)
        for damaged in [
            text + "guard x 1 2\n", text + text, text + lines[2], members(GuardSampleFile.memberLimit + 1),
            text.replacingOccurrences(of: "\nguard ", with: "\nrouter "),
            text.replacingOccurrences(of: "\ndirectory ", with: "\nregister "), "\(lines[0])\ndirectory x\n", "x", "",
        ] {
            #expect(throws: GuardSampleFile.Reason.damaged, "\(damaged)") { try file.parse(damaged) }
        }
    }

    @Test("each directory has a file of its own; the one of before is read while it is this directory's")
    func directories() throws {
        let world = try TestWorld()
        var (first, second) = (self.file(world, someKey()), self.file(world, someKey()))
        let (earlier, sample) = (self.makeSample(3), self.makeSample(2))
        try Data(first.text(of: earlier).utf8).write(to: URL(fileURLWithPath: "\(world.stateDirectory)/guards"))
        #expect(try second.load() == nil)
        try second.save(sample)
        #expect(try first.load()?.members == earlier.members)
        #expect(try second.load()?.members == sample.members)
        try first.save(sample)
        #expect(try first.load()?.members == sample.members)
    }

    @Test("one that cannot be read is moved aside before the next is written; one of each kind is kept")
    func movedAside() throws {
        let world = try TestWorld()
        var file = self.file(world, world.directoryKey.publicKey)
        let sample = self.makeSample(2)
        let text = file.text(of: sample)
        let tooLong = text + String(repeating: "\n", count: GuardSampleFile.byteLimit)
        for (kind, content) in [
            ("damaged", "x"), ("damaged", tooLong), ("damaged", text + "x"),
            ("another-version", text.replacingOccurrences(of: "sample 1", with: "sample 2")),
            ("another-directory", self.file(world, someKey()).text(of: sample)),
        ] {
            try Data(content.utf8).write(to: URL(fileURLWithPath: file.path))
            let error = try #require(throws: GuardSampleFile.Unreadable.self) { try file.load() }
            #expect(error.keptAs == "\(file.path).\(kind)" && error.reason.suffix == kind)
            try file.save(sample)
            #expect(try String(contentsOfFile: error.keptAs, encoding: .utf8) == content)
            #expect(try file.load()?.members == sample.members)
        }
        // Nothing more is moved once it can be read.
        try file.save(self.makeSample(1))
        #expect(try self.names(world).count == 4)
    }

    @Test("what the system does not let be read is moved aside, too; and where that fails nothing is written")
    func unreadable() throws {
        let world = try TestWorld()
        var file = self.file(world, world.directoryKey.publicKey)
        // Nobody can read a directory as a file, root included.
        try FileManager.default.createDirectory(atPath: file.path, withIntermediateDirectories: false)
        let error = try #require(throws: GuardSampleFile.Unreadable.self) { try file.load() }
        #expect(error.reason == .system(.notARegularFile(path: file.path)))
        try file.save(self.makeSample(2))
        #expect(try file.load()?.members.count == 2)
        #expect(FileManager.default.fileExists(atPath: "\(file.path).unreadable"))

        try Data("x".utf8).write(to: URL(fileURLWithPath: file.path))
        #expect(throws: GuardSampleFile.Unreadable.self) { try file.load() }
        try FileManager.default.removeItem(atPath: file.path)
        #expect(throws: (any Error).self) { try file.save(self.makeSample(2)) }
        #expect(!FileManager.default.fileExists(atPath: file.path))
    }

    @Test("a client that was run for another network finds its guards again")
    func otherNetwork() async throws {
        let world = try TestWorld()
        let other = Ed25519PrivateKey()
        let (first, second) = (try await self.run(world), try await self.run(world, other))
        let (firstAgain, secondAgain) = (try await self.run(world), try await self.run(world, other))
        #expect(first.guards.count == 2 && first.guards == firstAgain.guards)
        #expect(second.guards.count == 2 && second.guards == secondAgain.guards)
        for run in [first, second, firstAgain, secondAgain] { #expect(run.alarms == []) }
    }

    @Test("guards that cannot be read raise an alarm, and are kept", arguments: [true, false])
    func alarm(isEarlier: Bool) async throws {
        let world = try TestWorld()
        let file = self.file(world, world.directoryKey.publicKey)
        let path = isEarlier ? "\(world.stateDirectory)/guards" : file.path
        let keptAs = isEarlier ? path : "\(path).damaged"
        try Data("x".utf8).write(to: URL(fileURLWithPath: path))
        let run = try await self.run(world)
        #expect(
            run.alarms == [.guardsNotReadable(reason: "\(path) is damaged; it is kept as \(keptAs)")])
        #expect(try String(contentsOfFile: keptAs, encoding: .utf8) == "x")
        let again = try await self.run(world)
        #expect(again.alarms == [] && again.guards == run.guards && run.guards.count == 2)
    }

    private func file(_ world: TestWorld, _ directoryKey: Ed25519PublicKey) -> GuardSampleFile {
        GuardSampleFile(stateDirectory: world.stateDirectory, directoryKey: directoryKey)
    }

    private func names(_ world: TestWorld) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: world.stateDirectory)
    }

    /// Start a client's core for a network of the world's five routers, let it have its consensus, and end it.
    private func run(
        _ world: TestWorld, _ directoryKey: Ed25519PrivateKey? = nil
    ) async throws -> (guards: [Ed25519PublicKey], alarms: [ClientAlarm]) {
        let directoryKey = directoryKey ?? world.directoryKey
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let consensus = try makeConsensus(
            world.routers.map { try $0.listed("router", port: 1) }, now: TimeAndChance.system.unixSeconds,
            parameters: .testNetwork.setting(["guard-sample-size=2"]), key: directoryKey)
        let configuration = OnionClient.Configuration(
            directoryHost: "127.0.0.1", directoryPort: 1, directoryKey: directoryKey.publicKey,
            stateDirectory: world.stateDirectory)
        return try await loop.submit {
            let alarms = NIOLoopBoundBox([ClientAlarm](), eventLoop: loop)
            let core = ClientCore(
                eventLoop: loop, configuration: configuration, board: ProgressBoard(),
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
                onAlarm: { alarms.value.append($0) })
            core.start { _, _, _ in loop.makeFailedFuture(ChannelError.eof) }
            core.adopt(consensus)
            let guards = core.sample.identities
            core.shutDown()
            return (guards, alarms.value)
        }.get()
    }
}
