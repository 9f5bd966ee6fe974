import AttackSuite
import DirectoryClient
import Foundation
import HostilePeers
import Logging
import NIOCore
import NIOPosix
import OnionAddress
import OnionClient
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
