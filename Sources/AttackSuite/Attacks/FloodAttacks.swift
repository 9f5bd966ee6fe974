import HostilePeers
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import OnionAddress
import OnionCells
import OnionCrypto
import OnionDirectory

/// More of everything than anybody needs, from addresses that nobody has come from before. Under each flood an honest user
/// keeps at least half of the speed that he had, a stranger is served, and no process grows beyond ``MemoryCeiling``. What
/// comes from a user's own machine is in ``ProxyFloodAttacks``.
enum FloodAttacks {
    static let all =
        [
            Self.creates, Self.handshakes, Self.connections, Self.halfOpenTLS, Self.streams, Self.sniper,
            Self.slowReaders, Self.slowWriters, Self.unreadRefusals, Self.unreadPongs, Self.garbage, Self.linkBuffers,
        ] + ProxyFloodAttacks.all

    static func pause(_ milliseconds: Int64) async throws {
        try await Task.sleep(for: .milliseconds(milliseconds))
    }

    static func connect(to endpoint: Endpoint) async throws -> any Channel {
        try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(to: SocketAddress(Endpoint(address: Stranger.anybody(), port: 0)))
            .connect(to: SocketAddress(endpoint)).get()
    }

    private static func places(_ arena: Arena) -> [Endpoint] {
        arena.routers.compactMap(\.addresses.first) + [arena.network.directory]
    }

    private static let padding = HostileLink.cell(0, CellCommand.padding.rawValue, [])

    // MARK: Creates

    private static let creates = Self.flood(
        "creates", tries: "20 links to each OR, each with a broken Create every 50 ms",
        needs: Needs(held: Amount(80, "links"), done: Amount(1000, "Creates refused"))
    ) { arena, hoard in
        var links: [HostileLink] = []
        for router in arena.routers {
            for _ in 0..<20 {
                let link = try await HostileLink.dial(router)
                hoard.keep(link.channel)
                links.append(link)
            }
        }
        var refused = 0
        for id in UInt32(0x8000_0001)... {
            for link in links where !link.isClosed {
                link.send(id, CellCommand.create.rawValue, [])
                refused += link.drain().count { $0 == .destroy }
            }
            hoard.holds(links.count { !$0.isClosed })
            hoard.hasDone(refused)
            try await Self.pause(50)
        }
    }

    private static let handshakes = Self.flood(
        "handshakes", tries: "20 new links to each OR in turn, and over them 2,400 good Creates at once",
        needs: Needs(held: Amount(100, "Creates refused so far"), done: Amount(1000, "answered meanwhile"))
    ) { arena, hoard in
        var answered = 0
        var refused = 0
        for round in 0... {
            let router = arena.routers[round % arena.routers.count]
            let create = CircuitHandshake.Client(identity: router.identity, onionKey: router.onionKey).create
            var links: [HostileLink] = []
            for _ in 0..<20 {
                let link = try await HostileLink.dial(router)
                hoard.keep(link.channel)
                links.append(link)
            }
            // More than one link may have waiting, and all together more than may wait.
            let burst = (0..<120).flatMap { HostileLink.cell(0x8000_0001 + $0, CellCommand.create.rawValue, create) }
            for link in links { link.send(burst) }
            for _ in 0..<10 {
                try await Self.pause(100)
                for answers in links.map({ $0.drain() }) {
                    answered += answers.count { $0 == .created }
                    refused += answers.count { $0 == .destroy }
                }
                hoard.holds(refused)
                hoard.hasDone(answered)
            }
            for link in links { await link.close() }
        }
    }

    // MARK: Connections

    private static let connections = Self.flood(
        "connections", tries: "500 new connections a second to ORs and directory, each closed at once",
        needs: Needs(done: Amount(500, "connections"))
    ) { arena, hoard in
        let places = Self.places(arena)
        var opened = 0
        for index in 0... {
            if let channel = try? await Self.connect(to: places[index % places.count]) {
                opened += 1
                hoard.hasDone(opened)
                channel.close(promise: nil)
            }
            try await Self.pause(2)
        }
    }

    private static let halfOpenTLS = Self.flood(
        "half-open-tls", tries: "200 connections to each OR that say the beginning of a TLS hello, and nothing more",
        needs: Needs(held: Amount(800, "connections"))
    ) { arena, hoard in
        var channels: [any Channel] = []
        for place in arena.routers.compactMap(\.addresses.first) {
            for _ in 0..<200 {
                let channel = try await Self.connect(to: place)
                hoard.keep(channel)
                channel.writeAndFlush(ByteBuffer(bytes: [22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]), promise: nil)
                channels.append(channel)
            }
        }
        while true {
            hoard.holds(channels.count { $0.isActive })
            try await Self.pause(100)
        }
    }

    private static let garbage = Self.flood(
        "garbage", tries: "300 connections a second with random bytes, and with what looks like the beginning of TLS",
        needs: Needs(done: Amount(300, "connections"))
    ) { arena, hoard in
        let places = Self.places(arena)
        var opened = 0
        for index in 0... {
            let head: [UInt8] = index % 3 == 0 ? [22, 3, 1, UInt8(index & 255), 0, 1, 0] : []
            if let channel = try? await Self.connect(to: places[index % places.count]) {
                opened += 1
                hoard.hasDone(opened)
                let bytes = head + SecureRandom.bytes(1 + index * 7 % 3000)
                channel.writeAndFlush(ByteBuffer(bytes: bytes)).whenComplete { _ in channel.close(promise: nil) }
            }
            try await Self.pause(3)
        }
    }

    // MARK: Streams

    /// Circuits of three hops, each with another guard.
    private static func circuits(_ arena: Arena, _ hoard: Hoard) async throws -> [HostileCircuit] {
        var circuits: [HostileCircuit] = []
        for index in 0..<4 {
            let path = (0..<3).map { arena.routers[(index + $0) % arena.routers.count] }
            let circuit = try await HostileCircuit.build(path)
            hoard.keep(circuit.link.channel)
            circuits.append(circuit)
        }
        return circuits
    }

    private static func begin250(on circuit: HostileCircuit, port: UInt16) {
        for first in stride(from: UInt16(1), to: 250, by: 8) {
            circuit.send((first..<min(first + 8, 251)).map { .begin($0, port: port) })
        }
    }

    private static let streams = Self.flood(
        "streams", tries: "four circuits, each with eight Begins and their Ends every 50 ms",
        needs: Needs(done: Amount(100, "connections at the destination"))
    ) { arena, hoard in
        try await LoopbackServer.counting { port, tally in
            let circuits = try await Self.circuits(arena, hoard)
            for round in UInt16(0)..<8000 {
                let ids = (0..<8).map { round * 8 + $0 + 1 }
                for circuit in circuits {
                    circuit.send(ids.map { .begin($0, port: port) })
                    circuit.send(ids.map { .init(.end, $0, [EndReason.unspecified.rawValue]) })
                }
                hoard.hasDone(tally.withLockedValue { $0.connectionCount })
                try await Self.pause(50)
            }
        }
    }

    private static let sniper = Self.flood(
        "sniper", tries: "1,000 downloads without end, four circuits, of which no byte is read",
        needs: Needs(held: Amount(1000, "downloads"))
    ) { arena, hoard in
        try await LoopbackServer.serving(.source) { port, tally in
            let circuits = try await Self.circuits(arena, hoard)
            for circuit in circuits {
                try await circuit.link.channel.setOption(.autoRead, value: false).get()
                Self.begin250(on: circuit, port: port)
            }
            while true {
                // A peer that says nothing at all would be taken for frozen.
                for circuit in circuits { circuit.link.send(Self.padding) }
                let isOpen = circuits.allSatisfy { !$0.link.isClosed }
                hoard.holds(isOpen ? tally.withLockedValue { $0.connectionCount } : 0)
                try await Self.pause(200)
            }
        }
    }

    private static let slowReaders = Self.flood(
        "slow-readers", tries: "1,000 downloads without end, four circuits, of which 32 cells are read every 200 ms",
        needs: Needs(held: Amount(1000, "downloads"), done: Amount(1024, "cells read"))
    ) { arena, hoard in
        try await LoopbackServer.serving(.source) { port, tally in
            let circuits = try await Self.circuits(arena, hoard)
            for circuit in circuits { Self.begin250(on: circuit, port: port) }
            var sendMeCounts = circuits.map { _ in 0 }
            while true {
                for (index, circuit) in circuits.enumerated() {
                    while case .message = await circuit.next(seconds: 0) {}
                    let due = 32 * (sendMeCounts[index] + 1)
                    guard circuit.receivedTags.count >= due else { continue }
                    circuit.send([.init(.sendMe, 0, circuit.receivedTags[due - 1].bytes)])
                    sendMeCounts[index] += 1
                }
                hoard.holds(tally.withLockedValue { $0.connectionCount })
                hoard.hasDone(circuits.reduce(0) { $0 + $1.receivedTags.count })
                try await Self.pause(200)
            }
        }
    }

    private static let slowWriters = Self.flood(
        "slow-writers", tries: "1,000 uploads, four circuits, with a cell for each now and then",
        needs: Needs(held: Amount(1000, "uploads"), done: Amount(100, "bytes at the destination"))
    ) { arena, hoard in
        try await LoopbackServer.counting { port, tally in
            let circuits = try await Self.circuits(arena, hoard)
            for circuit in circuits { Self.begin250(on: circuit, port: port) }
            while true {
                for stream in UInt16(1)...250 {
                    for circuit in circuits { circuit.send([.init(.data, stream, [0x54])]) }
                    let seen = tally.withLockedValue { $0 }
                    hoard.holds(seen.connectionCount)
                    hoard.hasDone(seen.byteCount)
                    try await Self.pause(10)
                }
            }
        }
    }

    // MARK: Links

    private static let unreadRefusals = Self.flood(
        "unread-refusals",
        tries: "Creates that are refused, as fast as they are taken, and no answer is read; then on a new link",
        needs: Needs(done: Amount(1000, "Creates taken"))
    ) { arena, hoard in
        try await Self.unread(arena, hoard) { count in
            // Ids of the router's own half are refused, each with a Destroy.
            (0..<64).flatMap { HostileLink.cell(1 + count + $0, CellCommand.create.rawValue, []) }
        }
    }

    private static let unreadPongs = Self.flood(
        "unread-pongs", tries: "Pings, as fast as they are taken, and no Pong is read; then on a new link",
        needs: Needs(done: Amount(1000, "Pings taken"))
    ) { arena, hoard in
        let ping = HostileLink.cell(0, CellCommand.ping.rawValue, [1, 2, 3, 4, 5, 6, 7, 8])
        let burst = Array(repeatElement(ping, count: 64).joined())
        try await Self.unread(arena, hoard) { _ in burst }
    }

    /// One link after the other, of the ORs in turn: on each 64 cells after the other, as long as they are taken.
    private static func unread(
        _ arena: Arena, _ hoard: Hoard, _ burst: (_ count: UInt32) -> [UInt8]
    ) async throws {
        var taken = 0
        for round in 0... {
            let router = arena.routers[round % arena.routers.count]
            let link = try await HostileLink.dial(router, manners: .init(reads: false))
            hoard.keep(link.channel)
            var count: UInt32 = 0
            while count < 40_000, await link.sendAndWait(burst(count), seconds: 0.5) {
                count += 64
                taken += 64
                hoard.hasDone(taken)
                try await Self.pause(2)
            }
        }
    }

    private static let linkBuffers = Self.flood(
        "link-buffers",
        tries: "2,048 links to one OR, from 32 addresses, each with 300 KiB of padding at once, and then left open",
        needs: Needs(held: Amount(2048, "links"))
    ) { arena, hoard in
        let router = arena.routers[0]
        let sources = (0..<32).map { _ in Stranger.anybody() }
        let bulk = Array(repeatElement(Self.padding, count: 150).joined())
        let links = NIOLockedValueBox<[HostileLink]>([])
        _ = try await repeatedly(2048, width: 64) { index in
            let link = try await HostileLink.dial(router, from: sources[index % sources.count])
            hoard.keep(link.channel)
            if await link.sendAndWait(bulk, seconds: 5) { links.withLockedValue { $0.append(link) } }
            return nil
        }
        while true {
            hoard.holds(links.withLockedValue { $0.count { !$0.isClosed } })
            try await Self.pause(100)
        }
    }
}
