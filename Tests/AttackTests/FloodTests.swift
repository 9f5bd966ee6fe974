import Foundation
import HostilePeers
import NIOCore
import NIOPosix
import OnionAddress
import OnionCells
import OnionCrypto
import OnionDirectory
import Testing

@Suite("Floods and strangers", .serialized, .timeLimit(.minutes(3)))
struct FloodTests {
    @Test("refused Creates whose answers are not read cost a router one link, and stall nobody")
    func unreadRefusals() async throws {
        var parameters = NetworkParameters.testNetwork
        // The queue's limit in bytes is farther than what is sent: only that of refusals can close the link.
        try parameters.set(.circuitsPerClientLink, to: 256)
        try await AttackedNetwork.run(parameters: parameters) { network in
            let router = try await network.target.honest()[0]
            // One for each event loop, whichever it is.
            for _ in 0..<4 {
                let link = try await HostileLink.dial(router, manners: .init(reads: false))
                var id: UInt32 = 1
                for _ in 0..<300 where !link.isClosed {
                    var bytes: [UInt8] = []
                    // Ids of the router's own half are refused, each with a Destroy.
                    for _ in 0..<64 {
                        bytes += HostileLink.cell(id, CellCommand.create.rawValue, [])
                        id += 1
                    }
                    guard await link.sendAndWait(bytes, seconds: 3) else { break }
                }
                try await network.target.checkService(seconds: 5)
                try? await link.channel.setOption(.autoRead, value: true).get()
                try await Wait.until("the link is closed") { link.isClosed }
            }
        }
    }

    @Test("a peer that pings and does not read is closed")
    func unreadPongs() async throws {
        try await AttackedNetwork.run { network in
            let link = try await HostileLink.dial(try await network.target.honest()[0], manners: .init(reads: false))
            let ping = HostileLink.cell(0, CellCommand.ping.rawValue, [1, 2, 3, 4, 5, 6, 7, 8])
            let burst = Array(repeatElement(ping, count: 64).joined())
            for _ in 0..<200 { guard await link.sendAndWait(burst, seconds: 3) else { break } }
            try? await link.channel.setOption(.autoRead, value: true).get()
            try await Wait.until("the link is closed") { link.isClosed }
        }
    }

    @Test("streams beyond the limits are refused one by one, and the circuit lives")
    func begins() async throws {
        var parameters = NetworkParameters.testNetwork
        try parameters.set(.streamsPerCircuit, to: 4)
        try parameters.set(.beginBurst, to: 20)
        try parameters.set(.beginsPerSecond, to: 1)
        try await AttackedNetwork.run(parameters: parameters) { network in
            let circuit = try await HostileCircuit.build(try await network.target.honest())
            try await LoopbackServer.counting { port, _ in
                for stream in UInt16(1)...8 { circuit.send([.begin(stream, port: port)]) }
                var connected = 0
                var refused = 0
                while connected + refused < 8, case .message(2, let message) = await circuit.next() {
                    switch message.command {
                    case RelayCommand.connected.rawValue: connected += 1
                    case RelayCommand.end.rawValue:
                        refused += 1
                        #expect(message.data == [EndReason.resourceLimit.rawValue])
                    default: break
                    }
                }
                #expect(connected == 4 && refused == 4)
                // A look-up is a stream too.
                var question = ByteBuffer()
                Resolve.name(of: .v4(0x7f00_0001)).write(to: &question)
                var refusal = ByteBuffer()
                Resolved.failed(.resourceLimit).write(to: &refusal)
                circuit.send([.init(.resolve, 9, Array(buffer: question))])
                #expect(await circuit.next() == .message(hop: 2, .init(.resolved, 9, Array(buffer: refusal))))
            }
            await circuit.link.close()
        }
    }

    @Test("look-ups beyond the limit of a circuit are refused at once, and those within it go on")
    func lookups() async throws {
        var parameters = NetworkParameters.testNetwork
        try parameters.set(.resolvesPerCircuit, to: 2)
        // Long enough for the name server to be given up before the stream is: then the look-up is over too.
        try parameters.set(.exitConnectTimeout, to: 40_000)
        // A name server that says nothing, so that look-ups last.
        let silent = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(host: "127.0.0.1", port: 0).get()
        let server = try #require(silent.localAddress.flatMap(Endpoint.init))
        try await AttackedNetwork.run(parameters: parameters, resolvers: [server]) { network in
            let circuit = try await HostileCircuit.build(try await network.target.honest())
            for stream in UInt16(1)...4 {
                circuit.send([.init(.resolve, stream, [1] + Array("name\(stream).test".utf8))])
            }
            var refused: [UInt16] = []
            var ended: [UInt16] = []
            while refused.count + ended.count < 4, case .message(2, let message) = await circuit.next() {
                #expect(message.command == RelayCommand.resolved.rawValue)
                if message.data == [EndReason.resourceLimit.rawValue] {
                    #expect(ended.isEmpty)
                    refused.append(message.stream)
                } else {
                    ended.append(message.stream)
                }
            }
            #expect(refused == [3, 4] && ended.sorted() == [1, 2])
            // They have made room.
            circuit.send([.init(.resolve, 5, [1] + Array("name5.test".utf8))])
            guard case .message(2, let late) = await circuit.next() else {
                Issue.record("no answer")
                return
            }
            #expect(late.stream == 5 && late.data == [EndReason.resolveFailed.rawValue])
            await circuit.link.close()
        }
        try await silent.close().get()
    }

    @Test("streams that are begun and ended at once count until their connections are made")
    func connecting() async throws {
        var parameters = NetworkParameters.testNetwork
        try parameters.set(.streamsPerCircuit, to: 4)
        try await AttackedNetwork.run(parameters: parameters) { network in
            let circuit = try await HostileCircuit.build(try await network.target.honest())
            try await LoopbackServer.counting { port, _ in
                // In one cell, so that no connection is made before the last is asked for.
                let ended = (1...4).flatMap { stream in
                    [.begin(stream, port: port), .init(.end, stream, [EndReason.reset.rawValue])]
                        as [HostileCircuit.Message]
                }
                circuit.send(ended + [.begin(5, port: port)])
                #expect(await circuit.next() == .message(hop: 2, .init(.end, 5, [EndReason.resourceLimit.rawValue])))
            }
            await circuit.link.close()
        }
    }

    @Test("streams beyond what the exit may have in all are refused, whichever circuits they are on")
    func streamsTotal() async throws {
        var parameters = NetworkParameters.testNetwork
        try parameters.set(.streamsTotal, to: 3)
        try await AttackedNetwork.run(parameters: parameters) { network in
            let path = try await network.target.honest()
            try await LoopbackServer.counting { port, _ in
                var circuits: [HostileCircuit] = []
                for _ in 0..<4 {
                    let circuit = try await HostileCircuit.build(path)
                    circuits.append(circuit)
                    circuit.send([.begin(1, port: port)])
                    guard case .message(2, let answer) = await circuit.next() else {
                        Issue.record("no answer")
                        return
                    }
                    let expected: RelayCommand = circuits.count <= 3 ? .connected : .end
                    #expect(answer.command == expected.rawValue)
                    if expected == .end { #expect(answer.data == [EndReason.resourceLimit.rawValue]) }
                }
                for circuit in circuits { await circuit.link.close() }
            }
        }
    }

    @Test("circuits beyond a link's limit are refused, a client's own and those that go on over a router's link")
    func circuitsPerLink() async throws {
        var parameters = NetworkParameters.testNetwork
        try parameters.set(.circuitsPerClientLink, to: 5)
        try parameters.set(.circuitsPerRouterLink, to: 4)
        try await AttackedNetwork.run(parameters: parameters) { network in
            let path = Array(try await network.target.honest().prefix(2))
            let link = try await HostileLink.dial(path[0])
            var circuits: [HostileCircuit] = []
            for id in 1...5 as ClosedRange<UInt32> {
                circuits.append(try await HostileCircuit.build([path[0]], on: link, id: 0x8000_0000 + id))
            }
            link.send(0x8000_0006, CellCommand.create.rawValue, Self.create(path[0]).create)
            let refusal = await link.next(of: 0x8000_0006)
            #expect(refusal?[4...5] == [CellCommand.destroy.rawValue, DestroyReason.resourceLimit.rawValue])
            for circuit in circuits.dropLast() { try await circuit.extend(to: path[1]) }
            let last = try #require(circuits.last)
            last.send(
                [.init(.extend, 0, path[1].identity.rawBytes + Self.create(path[1]).create)], command: .relayEarly)
            #expect(await last.next() == .message(hop: 0, .init(.truncated, 0, [DestroyReason.connectFailed.rawValue])))
            await link.close()
        }
    }

    @Test("a hop that has served a stream is not made an inner one")
    func extendAfterStream() async throws {
        try await AttackedNetwork.run { network in
            let path = try await network.target.honest()
            let circuit = try await HostileCircuit.build(Array(path.prefix(2)))
            try await LoopbackServer.counting { port, _ in
                circuit.send([.begin(1, port: port)])
                guard case .message(1, let answer) = await circuit.next() else {
                    Issue.record("no answer")
                    return
                }
                #expect(answer.command == RelayCommand.connected.rawValue)
                let create = Self.create(path[2]).create
                circuit.send([.init(.extend, 0, path[2].identity.rawBytes + create)], command: .relayEarly)
                // The hop before tells of its end.
                let truncated = HostileCircuit.Message(.truncated, 0, [DestroyReason.destroyedByNextHop.rawValue])
                #expect(await circuit.next() == .message(hop: 0, truncated))
            }
            await circuit.link.close()
        }
    }

    private static func create(_ router: ConsensusRouter) -> CircuitHandshake.Client {
        CircuitHandshake.Client(identity: router.identity, onionKey: router.onionKey)
    }

    @Test("a thousand connections of random bytes and two hundred silent ones leave the ports as they were")
    func garbage() async throws {
        try await AttackedNetwork.run { network in
            let router = try #require(try await network.target.honest()[0].addresses.first)
            let before = Self.openDescriptorCount
            for port in [router.port, network.target.directory.port] {
                var silent: [any Channel] = []
                for _ in 0..<100 { silent.append(try await Self.connect(port)) }
                for batch in 0..<20 {
                    var channels: [any Channel] = []
                    for index in 0..<25 {
                        let channel = try await Self.connect(port)
                        // Some look like the beginning of TLS.
                        let head: [UInt8] = index % 3 == 0 ? [22, 3, 1, UInt8(index), 0, 1, 0] : []
                        let bytes = head + SecureRandom.bytes(1 + (batch * 25 + index) * 7 % 3000)
                        channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
                        channels.append(channel)
                    }
                    for channel in channels { try? await channel.close().get() }
                }
                try await network.target.checkService()
                for channel in silent { try? await channel.close().get() }
            }
            try await Wait.until("the descriptors are given back") { Self.openDescriptorCount <= before + 8 }
        }
    }

    private static func connect(_ port: UInt16) async throws -> any Channel {
        try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton).connect(
            host: "127.0.0.1", port: Int(port)
        )
        .get()
    }

    private static var openDescriptorCount: Int {
        (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count) ?? 0
    }
}
