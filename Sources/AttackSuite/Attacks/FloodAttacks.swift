import HostilePeers
import NIOCore
import NIOPosix
import OnionAddress
import OnionCells
import OnionCrypto
import OnionDirectory

/// More of everything than anybody needs. Under each flood an honest user keeps at least half of the speed that he had,
/// and no process grows beyond ``MemoryCeiling``. What comes from a user's own machine is in ``ProxyFloodAttacks``.
enum FloodAttacks {
    static let all =
        [
            Self.creates, Self.handshakes, Self.connections, Self.halfOpenTLS, Self.streams, Self.sniper,
            Self.slowReaders, Self.slowWriters, Self.unreadRefusals, Self.unreadPongs, Self.garbage,
        ] + ProxyFloodAttacks.all

    /// How fast an honest user was, and is.
    struct Speeds: Equatable {
        /// Bytes a second.
        let before: Double
        let during: Double

        /// Nothing is known where there was no speed.
        var isKept: Bool { self.before > 0 && self.during >= self.before / 2 }

        var description: String {
            func megabytes(_ speed: Double) -> String { "\((speed / 1e5).rounded() / 10)" }
            return "\(megabytes(self.during)) MB/s of \(megabytes(self.before))"
        }
    }

    /// Other programs on the machine disturb a measurement: it may be repeated so often.
    private static let measurementCount = 3

    static func flood(
        _ name: String, tries: String, expects: String = "an honest download keeps half of its speed",
        flood: @escaping @Sendable (Arena, Hoard) async throws -> Void
    ) -> Attack {
        Attack("flood-\(name)", tries: tries, expects: expects, needsDaemons: true) { arena in
            let user = try arena.needUser()
            let daemons = try arena.needDaemons()
            var last = Speeds(before: 0, during: 0)
            var trials = Trials()
            var peak = (name: "", byteCount: 0)
            for _ in 0..<Self.measurementCount {
                let before = try await user.speed(seconds: 1)
                let hoard = Hoard()
                let flooding = Task { try await flood(arena, hoard) }
                try await Task.sleep(for: .seconds(1))
                let during = (try? await user.speed(seconds: 1.5)) ?? 0
                let resident = daemons.resident
                if let most = resident.max(by: { $0.byteCount < $1.byteCount }), most.byteCount > peak.byteCount {
                    peak = most
                }
                trials.add(failure: MemoryCeiling.failure(resident))
                flooding.cancel()
                let result = await flooding.result
                await hoard.release()
                if case .failure(let error) = result, !(error is CancellationError) { throw error }
                last = Speeds(before: before, during: during)
                if last.isKept { break }
            }
            trials.expect(last.isKept, "only \(last.description)")
            return trials.outcome("\(last.description); \(peak.name) uses most, \(peak.byteCount >> 20) MiB")
        }
    }

    /// What a flood holds open until it is over.
    final actor Hoard {
        private var channels: [any Channel] = []

        func keep(_ channel: any Channel) { self.channels.append(channel) }

        func release() async {
            for channel in self.channels { channel.close(promise: nil) }
            for channel in self.channels { try? await channel.closeFuture.get() }
            self.channels = []
        }
    }

    static func pause(_ milliseconds: Int64) async throws {
        try await Task.sleep(for: .milliseconds(milliseconds))
    }

    static func connect(to endpoint: Endpoint) async throws -> any Channel {
        try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(to: SocketAddress(Endpoint(address: Stranger.one, port: 0)))
            .connect(to: SocketAddress(endpoint)).get()
    }

    private static func places(_ arena: Arena) -> [Endpoint] {
        arena.routers.compactMap(\.addresses.first) + [arena.network.directory]
    }

    private static let creates = Self.flood(
        "creates", tries: "20 links to each OR, each with a broken Create every 50 ms"
    ) { arena, hoard in
        var links: [HostileLink] = []
        for router in arena.routers {
            for _ in 0..<20 {
                let link = try await HostileLink.dial(router, from: Stranger.one)
                await hoard.keep(link.channel)
                links.append(link)
            }
        }
        for id in UInt32(0x8000_0001)... {
            for link in links where !link.isClosed { link.send(id, CellCommand.create.rawValue, []) }
            try await Self.pause(50)
        }
    }

    private static let handshakes = Self.flood(
        "handshakes",
        tries: "five links to each OR, each with five good Creates every 100 ms, and a new link after 60"
    ) { arena, hoard in
        try await withThrowingTaskGroup(of: Void.self) { group in
            for router in arena.routers {
                let create = CircuitHandshake.Client(identity: router.identity, onionKey: router.onionKey).create
                for _ in 0..<5 {
                    group.addTask {
                        while true {
                            let link = try await HostileLink.dial(router, from: Stranger.one)
                            await hoard.keep(link.channel)
                            for id in UInt32(0)..<60 {
                                link.send(0x8000_0001 + id, CellCommand.create.rawValue, create)
                                if id % 5 == 4 { try await Self.pause(100) }
                            }
                            await link.close()
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    private static let connections = Self.flood(
        "connections", tries: "500 new connections a second to ORs and directory, each closed at once"
    ) { arena, _ in
        let places = Self.places(arena)
        for index in 0... {
            let channel = try? await Self.connect(to: places[index % places.count])
            channel?.close(promise: nil)
            try await Self.pause(2)
        }
    }

    private static let halfOpenTLS = Self.flood(
        "half-open-tls", tries: "200 connections to each OR that say the beginning of a TLS hello, and nothing more"
    ) { arena, hoard in
        for place in arena.routers.compactMap(\.addresses.first) {
            for _ in 0..<200 {
                guard let channel = try? await Self.connect(to: place) else { continue }
                await hoard.keep(channel)
                channel.writeAndFlush(ByteBuffer(bytes: [22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]), promise: nil)
            }
        }
        while true { try await Self.pause(100) }
    }

    private static let streams = Self.flood(
        "streams", tries: "four circuits, each with eight Begins and their Ends every 50 ms"
    ) { arena, hoard in
        try await LoopbackServer.counting { port, _ in
            var circuits: [HostileCircuit] = []
            for _ in 0..<4 {
                let circuit = try await HostileCircuit.build(Array(arena.routers.prefix(3)))
                await hoard.keep(circuit.link.channel)
                circuits.append(circuit)
            }
            for round in UInt16(0)..<8000 {
                let ids = (0..<8).map { round * 8 + $0 + 1 }
                for circuit in circuits {
                    circuit.send(ids.map { .begin($0, port: port) })
                    circuit.send(ids.map { .init(.end, $0, [EndReason.unspecified.rawValue]) })
                }
                try await Self.pause(50)
            }
        }
    }

    private static let sniper = Self.flood(
        "sniper", tries: "1,000 downloads without end, four circuits, of which no byte is read"
    ) { arena, hoard in
        try await Self.downloads(arena, hoard, manners: .init(reads: false))
    }

    private static let slowReaders = Self.flood(
        "slow-readers", tries: "1,000 downloads without end, four circuits, read a little at a time"
    ) { arena, hoard in
        try await Self.downloads(arena, hoard, manners: .init(reads: false)) { links in
            while true {
                for link in links { link.channel.read() }
                try await Self.pause(200)
            }
        }
    }

    /// Open 250 downloads on each of four circuits, and then read none of it, or what `reading` does.
    private static func downloads(
        _ arena: Arena, _ hoard: Hoard, manners: HostileLink.Manners,
        reading: @Sendable ([HostileLink]) async throws -> Void = { _ in while true { try await pause(100) } }
    ) async throws {
        try await LoopbackServer.serving(.source) { port, _ in
            var links: [HostileLink] = []
            for index in 0..<4 {
                let path = (0..<3).map { arena.routers[(index + $0) % arena.routers.count] }
                let circuit = try await HostileCircuit.build(path)
                await hoard.keep(circuit.link.channel)
                try await circuit.link.channel.setOption(.autoRead, value: manners.reads).get()
                links.append(circuit.link)
                for first in stride(from: UInt16(1), to: 250, by: 8) {
                    circuit.send((first..<min(first + 8, 251)).map { .begin($0, port: port) })
                }
            }
            try await reading(links)
        }
    }

    private static let slowWriters = Self.flood(
        "slow-writers", tries: "1,000 uploads, four circuits, with a cell for each now and then"
    ) { arena, hoard in
        try await LoopbackServer.counting { port, _ in
            var circuits: [HostileCircuit] = []
            for index in 0..<4 {
                let path = (0..<3).map { arena.routers[(index + $0) % arena.routers.count] }
                let circuit = try await HostileCircuit.build(path)
                await hoard.keep(circuit.link.channel)
                circuits.append(circuit)
                for first in stride(from: UInt16(1), to: 250, by: 8) {
                    circuit.send((first..<min(first + 8, 251)).map { .begin($0, port: port) })
                }
            }
            while true {
                for stream in UInt16(1)...250 {
                    for circuit in circuits { circuit.send([.init(.data, stream, [0x54])]) }
                    try await Self.pause(10)
                }
            }
        }
    }

    private static let unreadRefusals = Self.flood(
        "unread-refusals", tries: "Creates that are refused, as fast as they are taken, and no answer is read"
    ) { arena, hoard in
        for router in arena.routers {
            let link = try await HostileLink.dial(router, from: Stranger.one, manners: .init(reads: false))
            await hoard.keep(link.channel)
            var id: UInt32 = 1
            while !link.isClosed, id < 40_000 {
                // Ids of the router's own half are refused, each with a Destroy.
                let batch = (0..<64).flatMap { HostileLink.cell(id + $0, CellCommand.create.rawValue, []) }
                id += 64
                guard await link.sendAndWait(batch, seconds: 2) else { break }
                try await Self.pause(2)
            }
        }
        while true { try await Self.pause(100) }
    }

    private static let unreadPongs = Self.flood(
        "unread-pongs", tries: "Pings, as fast as they are taken, and no Pong is read"
    ) { arena, hoard in
        let ping = HostileLink.cell(0, CellCommand.ping.rawValue, [1, 2, 3, 4, 5, 6, 7, 8])
        let burst = Array(repeatElement(ping, count: 64).joined())
        for router in arena.routers {
            let link = try await HostileLink.dial(router, from: Stranger.one, manners: .init(reads: false))
            await hoard.keep(link.channel)
            for _ in 0..<200 {
                guard await link.sendAndWait(burst, seconds: 2) else { break }
                try await Self.pause(2)
            }
        }
        while true { try await Self.pause(100) }
    }

    private static let garbage = Self.flood(
        "garbage", tries: "300 connections a second with random bytes, and with what looks like the beginning of TLS"
    ) { arena, _ in
        let places = Self.places(arena)
        for index in 0... {
            let head: [UInt8] = index % 3 == 0 ? [22, 3, 1, UInt8(index & 255), 0, 1, 0] : []
            if let channel = try? await Self.connect(to: places[index % places.count]) {
                let bytes = head + SecureRandom.bytes(1 + index * 7 % 3000)
                channel.writeAndFlush(ByteBuffer(bytes: bytes)).whenComplete { _ in channel.close(promise: nil) }
            }
            try await Self.pause(3)
        }
    }
}
