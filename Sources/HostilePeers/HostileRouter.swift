package import DirectoryClient
import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import OnionAddress
package import OnionCells
package import OnionCrypto
package import OnionDirectory
import OnionLink

/// A router that the directory lists, since it answers the directory's probe as it should, and that then does what it
/// likes: to whoever creates a circuit, and to the cells that it passes on.
package final class HostileRouter: Sendable {
    /// What it does with a Create, once it is listed.
    package enum Deed: Sendable {
        /// What an honest router does: it relays, or is the last hop.
        case answer
        /// Answer with these cells, made from the Create and the true Created; the circuit's id is put in.
        case cells(@Sendable (_ create: [UInt8], _ created: [UInt8]) -> [(command: CellCommand, body: [UInt8])])
    }

    /// A relay cell on its way through this router, ready to leave.
    package struct Passage: Sendable {
        package enum Direction: Sendable { case forward, backward }
        package var direction: Direction
        /// Circuits are numbered from 0 in the order of their Creates.
        package var circuit: Int
        /// What the circuit was created with, which tells its client's circuits from others.
        package var create: [UInt8]
        /// How many Relay cells (RelayEarly not counted) have gone forward on the circuit, this one included.
        package var forwardCellCount: Int
        package var cell: [UInt8]
    }

    /// What is done instead of passing a cell on.
    package enum Act: Sendable {
        /// Send this onward.
        case onward([UInt8])
        /// Send this body back where the cell came from, as a cell of the same circuit.
        case back([UInt8])
        /// Say something to the client, in a cell of its own. A cell that was not sent onward shows in all that follow it.
        case speak([HostileCircuit.Message])
    }

    package typealias Tampering = @Sendable (Passage) -> [Act]

    /// What it answers, as the last hop, to a message on a circuit: the payloads of so many cells; nil for what an honest
    /// router that echoes would answer.
    package typealias Answering = @Sendable (_ message: HostileCircuit.Message, _ circuit: Int) -> [[UInt8]]?

    /// What it has seen.
    package struct Tally: Sendable {
        package var createCount = 0
        /// Relay and RelayEarly cells on circuits whose Create was answered with ``Deed/cells(_:)``.
        package var believedCount = 0
        package var destroyCount = 0
        /// Circuits that the side of the client has ended, by a Destroy or with its link.
        package var endedCircuits: Set<Int> = []
        /// Those that the next hop has ended; the client is told so.
        package var circuitsEndedBehind: Set<Int> = []
        /// The last command that came for each circuit id that is no circuit's.
        package var strays: [UInt32: UInt8] = [:]
        /// Connections accepted, whatever became of them.
        package var acceptedCount = 0
        /// The circuit that was the last to get its first Relay cell: where a stream was opened last.
        package var newestStreamCircuit: Int?
    }

    package let identity = Ed25519PrivateKey()
    package let linkKey = Ed25519PrivateKey()
    private let onionKey = X25519PrivateKey()
    private let shared: HostileRelay.Shared
    private let relay: NIOLoopBound<HostileRelay>
    private let listener: any Channel
    private let connection = NIOLockedValueBox<DirectoryConnection?>(nil)
    private let sequence = NIOLockedValueBox<UInt64>(1)
    private let heart = NIOLockedValueBox<Task<Void, Never>?>(nil)
    package let listing: ConsensusRouter

    /// Start it, and wait until it is listed.
    ///
    /// - Parameter exitPolicy: what it says that it lets out; it connects to nobody.
    package init(
        in network: TargetNetwork, exitPolicy: ExitPolicy = .rejectAll
    ) async throws {
        let credentials = try LinkCredentials(linkKey: self.linkKey)
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        let shared = HostileRelay.Shared(
            server: CircuitHandshake.Server(identity: self.identity.publicKey, onionKeys: [self.onionKey]),
            eventLoop: eventLoop, credentials: credentials, tls: try LinkTLS(credentials: credentials, protocol: .link))
        self.shared = shared
        let relay = try await eventLoop.submit { NIOLoopBound(HostileRelay(shared), eventLoop: eventLoop) }.get()
        self.relay = relay
        self.listener = try await ServerBootstrap(group: eventLoop)
            .serverChannelOption(.backlog, value: 256)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try relay.value.accept(channel) }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let dialler = try DirectoryDialler(directoryKey: network.directoryKey, credentials: credentials)
        let connection = try await dialler.connect(
            host: "\(network.directory.address)", port: network.directory.port, on: eventLoop)
        let port = UInt16(clamping: self.listener.localAddress?.port ?? 0)
        let now = UInt64(Date().timeIntervalSince1970)
        let descriptor = RouterDescriptor(
            identity: self.identity.publicKey, linkKey: self.linkKey.publicKey, onionKey: self.onionKey.publicKey,
            onionKeyValidUntil: now + 3600, published: now, sequence: 1,
            addresses: [Endpoint(address: .v4(0x7f00_0001), port: port)], nickname: "Hostile", exitPolicy: exitPolicy)
        _ = try await connection.register(try descriptor.signed(by: self.identity))
        self.connection.withLockedValue { $0 = connection }
        let consensus = try await network.consensus()
        guard let listing = consensus.router(self.identity.publicKey) else { throw PeerError.notListed }
        self.listing = listing
        shared.know(consensus)
        // Until they have heard of it, it is a client to them, with a client's limits.
        for router in try await network.honest() {
            try await Wait.until("\(router.nickname) knows the hostile router", seconds: 25) {
                guard let circuit = try? await HostileCircuit.build([router, listing]) else { return false }
                await circuit.link.close()
                return true
            }
        }
        self.heart.withLockedValue { $0 = Task { await Self.beat(over: connection) } }
    }

    /// Have a second identity listed where this one is reached, with the same link key, which answers for both.
    ///
    /// - Parameter connection: to the directory, that proves the link key; the second is listed as long as it is open, and for
    ///   some seconds more.
    package func listSecondIdentity(
        over connection: DirectoryConnection, in network: TargetNetwork
    ) async throws -> ConsensusRouter {
        let identity = Ed25519PrivateKey()
        let server = CircuitHandshake.Server(identity: identity.publicKey, onionKeys: [self.onionKey])
        self.shared.secondServer.withLockedValue { $0 = server }
        var descriptor = self.listing.descriptor.descriptor
        descriptor.identity = identity.publicKey
        _ = try await connection.register(try descriptor.signed(by: identity))
        guard let listing = try await network.consensus().router(identity.publicKey) else { throw PeerError.notListed }
        return listing
    }

    /// A descriptor of this router as it might be, unsigned.
    package func descriptor(port: UInt16, sequence: UInt64 = 1) -> RouterDescriptor {
        var descriptor = self.listing.descriptor.descriptor
        descriptor.addresses = [Endpoint(address: .v4(0x7f00_0001), port: port)]
        descriptor.sequence = sequence
        return descriptor
    }

    /// A sequence for a descriptor that is newer than all before.
    package func nextSequence() -> UInt64 {
        self.sequence.withLockedValue { sequence in
            sequence += 1
            return sequence
        }
    }

    package func does(_ deed: Deed) { self.shared.deed.withLockedValue { $0 = deed } }

    /// Do this to every cell from now on; nil passes all of them on.
    package func tampers(_ tampering: Tampering?) { self.shared.tampering.withLockedValue { $0 = tampering } }

    /// Answer so from now on; nil is honest.
    package func answers(_ answering: Answering?) { self.shared.answering.withLockedValue { $0 = answering } }

    /// Send cells, as they are, over the link that a circuit came by.
    package func send(_ cells: [[UInt8]], beside circuit: Int) async throws {
        let relay = self.relay
        guard try await self.shared.eventLoop.submit({ relay.value.send(cells, beside: circuit) }).get() else {
            throw PeerError.circuitFailed("it is gone")
        }
    }

    package var tally: Tally { self.shared.tally.withLockedValue { $0 } }

    /// Show another link key to whoever dials from now on; links that are open are closed, so that all have to.
    package func shows(linkKey: Ed25519PrivateKey) async throws {
        let tls = try LinkTLS(credentials: try LinkCredentials(linkKey: linkKey), protocol: .link)
        self.shared.shownTLS.withLockedValue { $0 = tls }
        let shared = self.shared
        try await shared.eventLoop.submit { shared.closeAll() }.get()
    }

    package func stop() async {
        self.heart.withLockedValue { $0 }?.cancel()
        await self.connection.withLockedValue { $0 }?.close()
        try? await self.listener.close().get()
        let shared = self.shared
        try? await shared.eventLoop.submit { shared.closeAll() }.get()
    }

    private static func beat(over connection: DirectoryConnection) async {
        var counter: UInt64 = 0
        while !Task.isCancelled {
            counter += 1
            guard (try? await connection.heartbeat(counter: counter, load: RouterLoad())) != nil else { return }
            try? await Task.sleep(for: .seconds(1))
        }
    }
}
