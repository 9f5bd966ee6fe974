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

    @Test("a circuit has a sixteenth of the look-ups that others leave") func lookupShare() throws {
        try TestRouter.run("resolves-total=160", "allow-one-hop-begin=1") { router in
            let circuit = try router.circuit()
            for round in 0..<2 as Range<UInt16> {
                for number in 1...10 as ClosedRange<UInt16> { circuit.say(.resolve(10 * round + number)) }
                #expect(router.outside.lookups.count == 9 && circuit.hear().count == 1)
                router.outside.fail()
                #expect(circuit.hear().count == 9)
            }
        }
    }

    @Test("Begins to names count among a circuit's look-ups, for as long as name servers are asked; addresses never")
    func namesOfBegins() throws {
        let name = Begin.Target.host("heron.test", port: 80)
        try TestRouter.run("resolves-per-circuit=2", "allow-one-hop-begin=1") { router in
            let circuit = try router.circuit()
            circuit.say(.begin(1, name))
            circuit.say(.resolve(2))
            circuit.say(.begin(3, name))
            #expect(circuit.hear() == [Self.ended(3, .resourceLimit)])
            circuit.say(.begin(4), .begin(5, .directory))
            #expect(router.outside.connecting.count == 2)
            // Nobody waits for it any more, but the name servers are still asked.
            circuit.say(.end(1))
            router.eventLoop.advanceTime(by: .seconds(6))
            #expect(circuit.hear().map(Self.stream) == [2])
            circuit.say(.begin(6, name))
            #expect(circuit.hear() == [Self.ended(6, .resourceLimit)] && router.outside.lookups.count == 2)
            // It is the circuit's limit.
            let other = try router.circuit()
            other.say(.begin(1, name))
            #expect(router.outside.lookups.count == 3)
            router.outside.fail()
            #expect(circuit.hear().map(Self.stream).sorted() == [4, 5])
            for stream in 7...9 as ClosedRange<UInt16> { circuit.say(.begin(stream, name)) }
            #expect(circuit.hear() == [Self.ended(9, .resourceLimit)] && router.outside.lookups.count == 2)
        }
    }

    private static func stream(_ heard: TestCircuit.Heard) -> UInt16 {
        if case .message(_, let stream, _) = heard { stream } else { 0 }
    }

    @Test("streams that wait to be refused are so many; one more ends the circuit of a client that does not read")
    func waitingRefusals() throws {
        try TestRouter.run("streams-per-circuit=1", "allow-one-hop-begin=1") { router in
            let circuit = try router.circuit()
            circuit.say(.begin(1))
            circuit.peer.setReading(false)
            var stream: UInt16 = 1
            func begin() {
                stream += 1
                circuit.say(.begin(stream))
            }
            // So many cells may wait for the link; then streams wait.
            while circuit.peer.link.backlog(of: CircuitID(rawValue: circuit.id)) < 32 { begin() }
            for _ in 0..<1024 { begin() }
            #expect(router.loop.circuitCount == 1)
            begin()
            #expect(router.loop.circuitCount == 0)
            circuit.peer.setReading(true)
            #expect(circuit.hear().last == .destroy(.resourceLimit))
        }
    }

    @Test("a circuit has two streams to the directory, whatever others have, and each for two minutes")
    func directoryStreamsOfCircuit() throws {
        try TestRouter.run(listed: [Self.heron]) { router in
            let peer = try router.accept(Self.heron.linkKey)
            let circuits = try (1...2).map { try peer.create($0) }
            for stream in 1...3 as ClosedRange<UInt16> { circuits[0].say(.begin(stream, .directory)) }
            #expect(circuits[0].hear() == [Self.ended(3, .resourceLimit)])
            circuits[1].say(.begin(1, .directory))
            #expect(circuits[1].hear().isEmpty && router.outside.connecting.count == 3)
            let destination = try router.outside.connect()
            #expect(circuits[0].hear() == [.message(.connected, 1, Self.connected)])
            router.eventLoop.advanceTime(by: .seconds(119))
            #expect(destination.isActive)
            router.eventLoop.advanceTime(by: .seconds(1))
            #expect(!destination.isActive && circuits[0].hear().map(Self.stream) == [1])
            for stream in 4...5 as ClosedRange<UInt16> { circuits[0].say(.begin(stream, .directory)) }
            #expect(circuits[0].hear() == [Self.ended(5, .resourceLimit)])
        }
    }

    @Test("all circuits have so many streams to the directory, and the place of each that ends is free")
    func directoryStreams() throws {
        try TestRouter.run(listed: [Self.heron]) { router in
            let peer = try router.accept(Self.heron.linkKey)
            var circuitCount: UInt32 = 0
            func circuit() throws -> TestCircuit {
                circuitCount += 1
                return try peer.create(circuitCount)
            }
            func fill() throws -> [TestCircuit] {
                let circuits = try (0..<RouterAdmission.directoryStreamLimit / 2).map { _ in try circuit() }
                for circuit in circuits { circuit.say(.begin(1, .directory), .begin(2, .directory)) }
                #expect(router.outside.connecting.count == RouterAdmission.directoryStreamLimit)
                router.eventLoop.advanceTime(by: .minutes(1))
                return circuits
            }
            func begin(_ areTaken: Bool...) throws {
                for isTaken in areTaken {
                    let circuit = try circuit()
                    let count = router.outside.connecting.count
                    circuit.say(.begin(1, .directory))
                    #expect(circuit.hear() == (isTaken ? [] : [Self.ended(1, .resourceLimit)]))
                    #expect(router.outside.connecting.count == count + (isTaken ? 1 : 0))
                }
            }
            let circuits = try fill()
            try begin(false)
            let destination = try router.outside.connect()
            #expect(circuits[0].hear().contains(.message(.connected, 1, Self.connected)))
            try begin(false)
            try destination.close().wait()
            router.eventLoop.run()
            try begin(true, false)
            // The circuit dies while it connects.
            peer.say(.destroy(circuits[0].id))
            try begin(false)
            let late = try router.outside.connect()
            #expect(!late.isActive)
            try begin(true, false)
            // None can be connected to.
            router.outside.fail()
            router.eventLoop.advanceTime(by: .minutes(1))
            _ = try fill()
            try begin(false)
        }
    }

    /// What Connected says of the directory at 192.0.2.1.
    private static let connected: [UInt8] = {
        var data = ByteBuffer()
        Connected(address: .v4(0xc000_0201), ttlSeconds: 0).write(to: &data)
        return Array(buffer: data)
    }()

    @Test("streams to the directory begin at a rate, over all circuits") func directoryBegins() throws {
        try TestRouter.run(listed: [Self.heron]) { router in
            let peer = try router.accept(Self.heron.linkKey)
            let circuits = try (1...2).map { try peer.create($0) }
            var stream: UInt16 = 0
            func begin() -> Bool {
                stream += 1
                let circuit = circuits[Int(stream) % 2]
                circuit.say(.begin(stream, .directory))
                defer { router.outside.fail() }
                return circuit.hear() != [Self.ended(stream, .resourceLimit)]
            }
            for _ in 0..<RouterAdmission.directoryStreamLimit {
                #expect(begin())
                for circuit in circuits { _ = circuit.hear() }
            }
            #expect(!begin())
            router.eventLoop.advanceTime(by: .milliseconds(99))
            #expect(!begin())
            router.eventLoop.advanceTime(by: .milliseconds(1))
            #expect(begin() && !begin())
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
