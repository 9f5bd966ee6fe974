import NIOCore
import NIOEmbedded
import OnionAddress
import OnionCells
import OnionLink
import OnionStreams
import Testing

@testable import OnionRouter

@Suite("Streams at an exit")
struct ExitCircuitTests {
    private static let heron = ListedRouter.heron

    private static func ended(_ stream: UInt16, _ reason: EndReason) -> TestCircuit.Heard {
        .message(.end, stream, [reason.rawValue])
    }

    @Test("nobody uses an exit as a one-hop proxy, but for the directory, unless the network allows it")
    func oneHop() throws {
        for (parameters, key, isAllowed) in [
            ("allow-one-hop-begin=0", nil, false), ("allow-one-hop-begin=1", nil, true),
            ("allow-one-hop-begin=0", Self.heron.linkKey, true),
        ] {
            try TestRouter.run(parameters, listed: [Self.heron]) { router in
                let circuit = try router.accept(key).create()
                circuit.say(.begin(1, .directory))
                #expect(router.outside.connecting.map(\.to.port) == [9030])
                circuit.say(.begin(2))
                circuit.say(.resolve(3))
                #expect(router.outside.connecting.map(\.to.port) == (isAllowed ? [9030, 80] : [9030]))
                #expect(router.outside.lookups.count == (isAllowed ? 1 : 0))
                let heard = circuit.hear()
                #expect(heard.contains(Self.ended(2, .notAllowed)) == !isAllowed)
                #expect(heard.count == (isAllowed ? 0 : 2))
            }
        }
    }

    @Test("an OR that has left the consensus counts for no second hop") func departed() throws {
        try TestRouter.run(listed: [Self.heron]) { router in
            let circuit = try router.accept(Self.heron.linkKey).create()
            router.shared.publish(try TestRouter.view())
            circuit.say(.begin(1))
            #expect(circuit.hear() == [Self.ended(1, .notAllowed)])
        }
    }

    @Test("a circuit has so many streams, and not one more before one has ended") func streams() throws {
        try TestRouter.run("streams-per-circuit=2", "allow-one-hop-begin=1") { router in
            let circuit = try router.circuit()
            circuit.say(.begin(1))
            circuit.say(.begin(2))
            try router.outside.connect()
            try router.outside.connect()
            #expect(circuit.hear().count == 2)
            circuit.say(.begin(3))
            #expect(circuit.hear() == [Self.ended(3, .resourceLimit)])
            circuit.say(.end(1))
            circuit.say(.begin(4))
            #expect(circuit.hear().isEmpty && router.outside.connecting.count == 1)
        }
    }

    @Test("connections that are being opened count when their streams have ended, until they have come to something")
    func connecting() throws {
        try TestRouter.run("streams-per-circuit=2", "allow-one-hop-begin=1") { router in
            let circuit = try router.circuit()
            for stream in 1...2 as ClosedRange<UInt16> { circuit.say(.begin(stream)) }
            for stream in 1...2 as ClosedRange<UInt16> { circuit.say(.end(stream)) }
            circuit.say(.begin(3))
            #expect(circuit.hear() == [Self.ended(3, .resourceLimit)])
            let destination = try router.outside.connect()
            #expect(!destination.isActive && circuit.hear().isEmpty)
            circuit.say(.begin(4))
            #expect(circuit.hear().isEmpty && router.outside.connecting.count == 2)
        }
    }

    @Test("Begins and Resolves of a circuit come from one bucket") func begins() throws {
        try TestRouter.run("begin-burst=2", "begins-per-second=1", "allow-one-hop-begin=1") { router in
            let circuit = try router.circuit()
            circuit.say(.begin(1))
            circuit.say(.resolve(2))
            circuit.say(.begin(3))
            #expect(circuit.hear() == [Self.ended(3, .resourceLimit)])
            circuit.say(.resolve(4))
            #expect(circuit.hear().count == 1 && router.outside.lookups.count == 1)
            router.eventLoop.advanceTime(by: .seconds(1))
            circuit.say(.begin(5))
            #expect(circuit.hear().isEmpty && router.outside.connecting.count == 2)
        }
    }

    @Test("a circuit has so many names looked up at once") func lookups() throws {
        try TestRouter.run("resolves-per-circuit=2", "allow-one-hop-begin=1") { router in
            let circuit = try router.circuit()
            for stream in 1...3 as ClosedRange<UInt16> { circuit.say(.resolve(stream)) }
            #expect(router.outside.lookups.count == 2)
            #expect(circuit.hear().count == 1)
            router.outside.fail()
            #expect(circuit.hear().count == 2)
            circuit.say(.resolve(4))
            #expect(router.outside.lookups.count == 1)
        }
    }

    @Test("of what a destination sends, so many cells wait for the link, and the rest before it") func backlog() throws
    {
        try TestRouter.run("allow-one-hop-begin=1") { router in
            let circuit = try router.circuit()
            circuit.say(.begin(1))
            let destination = try router.outside.connect()
            #expect(circuit.hear().count == 1)
            circuit.peer.setReading(false)
            try destination.writeInbound(ByteBuffer(repeating: 1, count: 100 * Cell.byteCount))
            router.eventLoop.run()
            #expect(circuit.peer.link.backlog(of: CircuitID(rawValue: circuit.id)) == 32)
            circuit.peer.setReading(true)
            #expect(circuit.hear().count >= 100)
        }
    }
}
