import AttackSuite
import DirectoryClient
import Foundation
import HostilePeers
import Logging
import NIOCore
import NIOPosix
import OnionAddress
import OnionClient
import OnionCrypto
import OnionDirectory
import Testing

@Suite("Attacks on the directory", .serialized, .timeLimit(.minutes(3)))
struct DirectoryAttackTests {
    @Test("registrations, heartbeats and frames that break a rule come to nothing")
    func registrations() async throws {
        try await AttackedNetwork.run(parameters: AttackedParameters.all) { network in
            try await network.play(try AttackCatalogue.select(["directory"]))
        }
    }

    @Test("a ticket for another's commitment, and an answer to another registration, are not taken")
    func answersForOthers() async throws {
        try await AttackedNetwork.run { network in
            let key = network.directorySecret
            let descriptor = try await network.target.honest()[0].descriptor
            let directory = try await HostileDirectory(key: key) { message, _ in
                switch message {
                case .register:
                    return [.message(.registered(sequence: descriptor.descriptor.sequence + 1, revision: 1))]
                case .getTicket:
                    let ticket = try? PathTicket.make(
                        commitment: SecureRandom.bytes32(), salt: SecureRandom.bytes32(),
                        expires: UInt64(Date().timeIntervalSince1970) + 86_400, signedBy: key)
                    return ticket.map { [.message(.ticket($0.bytes))] } ?? [.close]
                default: return [.close]
                }
            }
            let dialler = try DirectoryDialler(directoryKey: key.publicKey, credentials: nil)
            func connect() async throws -> DirectoryConnection {
                try await dialler.connect(
                    host: "127.0.0.1", port: directory.endpoint.port, on: MultiThreadedEventLoopGroup.singleton.next())
            }
            let registering = try await connect()
            await #expect(throws: DirectoryConnectionError.unexpectedAnswer(.registered)) {
                try await registering.register(descriptor)
            }
            let asking = try await connect()
            let commitment = SecureRandom.bytes32()
            await #expect(throws: DirectoryConnectionError.self) { try await asking.ticket(commitment: commitment) }
            await directory.stop()
        }
    }

    @Test("a Hello that the directory signed for its own connection is not believed on another's")
    func replayedHello() async throws {
        let key = Ed25519PrivateKey()
        let hello = try DirectoryHello.make(
            linkKey: Ed25519PrivateKey().publicKey, expires: UInt64(Date().timeIntervalSince1970) + 3600, signedBy: key)
        let directory = try await HostileDirectory(key: key, greeting: .replies([.message(.hello(hello.bytes))])) {
            _, _ in []
        }
        let dialler = try DirectoryDialler(directoryKey: key.publicKey, credentials: nil)
        _ = await #expect(throws: DirectoryConnectionError.wrongDirectoryKey) {
            try await dialler.connect(
                host: "127.0.0.1", port: directory.endpoint.port, on: MultiThreadedEventLoopGroup.singleton.next())
        }
        await directory.stop()
    }

    @Test("a client that starts with an expired consensus takes none that is older")
    func rollback() async throws {
        try await AttackedNetwork.run { network in
            let newest = try await network.target.consensus()
            let now = UInt64(Date().timeIntervalSince1970)
            let expired = try Consensus.make(
                revision: newest.revision + 1_000_000_000, validAfter: now - 3600, freshUntil: now - 1800,
                validUntil: now - 60, parameters: newest.parameters, routers: newest.routers,
                signedBy: network.directorySecret)
            let state = "\(network.state)/client"
            try FileManager.default.createDirectory(atPath: state, withIntermediateDirectories: true)
            try ConsensusStore(path: "\(state)/consensus").save(expired)
            let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            let client = try OnionClient(
                configuration: .init(
                    directoryHost: "127.0.0.1", directoryPort: network.target.directory.port,
                    directoryKey: network.target.directoryKey, stateDirectory: state),
                group: group, logger: Logger(label: "client") { _ in SwiftLogNoOpLogHandler() })
            let progress = client.progress
            let running = Task { try await client.run() }
            let watch = Task {
                for await step in progress where step.percent == 100 { return running.cancel() }
            }
            // It says that the directory is not what it was, and does not get ready.
            await #expect(throws: OnionClientError.self) { try await running.value }
            watch.cancel()
            try await group.shutdownGracefully()
        }
    }
}
