import NIOCore
import NIOEmbedded
import OnionAddress
import OnionCells
import OnionCircuits
import OnionCrypto
import OnionLink
import Testing

@testable import OnionRouter

/// What a router does with each cell that a client, or an OR behind it, says; no socket, no time.
@Suite("Cells at a router")
struct RouterLoopTests {
    private typealias Message = TestCircuit.Message
    private static let heron = ListedRouter.heron
    private static let finch = ListedRouter.finch

    @Test("a circuit is extended, cells pass both ways, and its end goes ahead without its reason")
    func relays() throws {
        try TestRouter.run(listed: [Self.heron]) { router in
            let (circuit, next) = try router.extended(to: Self.heron)
            circuit.peer.say(circuit.strangeCell([.drop]))
            let id = try #require(next.hear().first { $0.command == .relay }).circuit
            next.say(TestCell(circuit: id, command: .relay))
            #expect(circuit.hear() == [.other])
            circuit.peer.say(TestCell(circuit: circuit.id, command: .destroy, body: [6]))
            let end = next.hear()
            #expect(end == [.destroy(id)])
            #expect(circuit.hear().isEmpty && router.loop.circuitCount == 0)
            // What crosses on the way finds nobody.
            next.say(TestCell(circuit: id, command: .relay))
            #expect(circuit.hear().isEmpty && next.isOpen)
        }
    }

    @Test("nothing is said to a hop that has another behind it, not even padding")
    func innerHop() throws {
        try TestRouter.run(listed: [Self.heron]) { router in
            let (circuit, next) = try router.extended(to: Self.heron)
            circuit.say(.drop)
            #expect(circuit.hear() == [.destroy(.protocolViolation)])
            #expect(next.hear().map(\.command) == [.destroy])
        }
    }

    @Test("with an Extend under way padding may come, and nothing else")
    func extending() throws {
        let wrong: [(TestCircuit) -> TestCell] = [
            { $0.cell([Message(command: .data, stream: 1, data: [1])]) },
            { $0.cell([.drop, Message(command: .sendMe, data: [UInt8](repeating: 0, count: 16))]) },
            { $0.cell([.begin(1)]) }, { $0.cell([.extend(to: Self.finch)], as: .relayEarly) },
            // For a hop that is not there yet, whatever it holds.
            { $0.strangeCell([.drop]) }, { $0.strangeCell([]) },
        ]
        for cell in wrong {
            try TestRouter.run(listed: [Self.heron, Self.finch]) { router in
                let circuit = try router.circuit()
                circuit.say(.extend(to: Self.heron), as: .relayEarly)
                circuit.say(.drop)
                circuit.say(.drop, .drop)
                #expect(circuit.hear().isEmpty)
                circuit.peer.say(cell(circuit))
                #expect(circuit.hear() == [.destroy(.protocolViolation)])
            }
        }
    }

    @Test("a circuit has eight RelayEarly cells, and not one more")
    func relayEarly() throws {
        try TestRouter.run { router in
            let circuit = try router.circuit()
            for _ in 0..<RouterCircuit.relayEarlyBudget { circuit.say(.drop, as: .relayEarly) }
            #expect(circuit.hear().isEmpty)
            circuit.say(.drop, as: .relayEarly)
            #expect(circuit.hear() == [.destroy(.protocolViolation)])
        }
    }

    @Test("Extend travels alone, in RelayEarly, to another than those who are there, and before any stream")
    func extend() throws {
        let refused: [(TestCircuit) -> [TestCell]] = [
            { [$0.cell([.extend(to: Self.heron), .drop], as: .relayEarly)] },
            { [$0.cell([.extend(to: Self.heron)], as: .relay)] },
            { [$0.cell([.begin(1)]), $0.cell([.extend(to: Self.heron)], as: .relayEarly)] },
            { [$0.cell([Message(command: .extend, data: TestRouter.identity.rawBytes + [1])], as: .relayEarly)] },
            // Nobody to create anything with.
            { [$0.cell([Message(command: .extend, data: Self.heron.identity.publicKey.rawBytes)], as: .relayEarly)] },
        ]
        for cells in refused {
            try TestRouter.run(listed: [Self.heron]) { router in
                let circuit = try router.circuit()
                circuit.peer.say(cells(circuit))
                #expect(circuit.hear().last == .destroy(.protocolViolation))
                #expect(router.outside.dialled.isEmpty)
            }
        }
        try TestRouter.run(listed: [Self.heron]) { router in
            let circuit = try router.circuit()
            circuit.say(.drop)
            circuit.say(.extend(to: Self.heron), as: .relayEarly)
            #expect(circuit.hear().isEmpty && router.outside.dialled.count == 1)
            // From an OR, back to that OR.
            let back = try router.accept(Self.heron.linkKey).create()
            back.say(.extend(to: Self.heron), as: .relayEarly)
            #expect(back.hear() == [.destroy(.protocolViolation)])
        }
    }

    // MARK: The way ahead

    @Test("a client that leaves while a newer consensus is awaited leaves nothing to be dialled")
    func leavesWhileRefreshing() throws {
        try TestRouter.run { router in
            let circuit = try router.circuit()
            circuit.say(.extend(to: Self.heron), as: .relayEarly)
            circuit.peer.say(.destroy(circuit.id))
            router.shared.publish(try TestRouter.view(listed: [Self.heron]))
            router.eventLoop.run()
            #expect(router.outside.dialled.isEmpty && circuit.hear().isEmpty)
        }
    }

    @Test("a client that leaves while the next OR is dialled leaves nothing to be created")
    func leavesWhileDialling() throws {
        try TestRouter.run(listed: [Self.heron]) { router in
            let circuit = try router.circuit()
            circuit.say(.extend(to: Self.heron), as: .relayEarly)
            circuit.peer.say(.destroy(circuit.id))
            #expect(try router.outside.openDialled().hear().isEmpty)
        }
    }

    @Test("a client that leaves while the next OR answers has its circuit ended there")
    func leavesWhileCreating() throws {
        try TestRouter.run(listed: [Self.heron]) { router in
            let circuit = try router.circuit()
            circuit.say(.extend(to: Self.heron), as: .relayEarly)
            let next = try router.outside.openDialled()
            let id = try #require(next.hear().first).circuit
            circuit.peer.say(.destroy(circuit.id))
            next.say(.created(id))
            #expect(next.hear() == [.destroy(id)] && circuit.hear().isEmpty)
        }
    }

    @Test("an OR that cannot be reached, is not known or whose link is full is told of, and ends the circuit")
    func noWayAhead() throws {
        let told: [TestCircuit.Heard] = [
            .message(.truncated, 0, [DestroyReason.connectFailed.rawValue]), .destroy(.connectFailed),
        ]
        try TestRouter.run(listed: [Self.heron]) { router in
            router.outside.isUnreachable = true
            let circuit = try router.circuit()
            circuit.say(.extend(to: Self.heron), as: .relayEarly)
            #expect(circuit.hear() == told)
            let lost = try router.circuit()
            lost.say(.extend(to: Self.finch), as: .relayEarly)
            #expect(lost.hear().isEmpty)
            router.eventLoop.advanceTime(by: RouterShared.refreshPatience)
            #expect(lost.hear() == told)
        }
        try TestRouter.run("circuits-per-router-link=1", listed: [Self.heron]) { router in
            let (_, next) = try router.extended(to: Self.heron)
            let circuit = try router.circuit()
            circuit.say(.extend(to: Self.heron), as: .relayEarly)
            #expect(circuit.hear() == told && next.hear().isEmpty)
        }
    }

    @Test("a second Created is the next OR's fault, and so is RelayEarly from it, or a cell before its Created")
    func nextHop() throws {
        let faults: [(UInt32) -> (TestCell, DestroyReason)] = [
            { (.created($0), .handshakeFailed) },
            { (TestCell(circuit: $0, command: .relayEarly), .protocolViolation) },
            { (TestCell(circuit: $0, command: .ping), .protocolViolation) },
            { (TestCell(circuit: $0, rawCommand: 200), .protocolViolation) },
            { (TestCell(circuit: $0, command: .create), .protocolViolation) },
        ]
        for fault in faults {
            try TestRouter.run(listed: [Self.heron]) { router in
                let (circuit, next) = try router.extended(to: Self.heron)
                let id = try #require(router.loop.tables[ObjectIdentifier(next.link)]?.circuits.keys.first).rawValue
                let (cell, reason) = fault(id)
                next.say(cell)
                #expect(circuit.hear() == [.message(.truncated, 0, [reason.rawValue]), .destroy(reason)])
                #expect(next.hear() == [.destroy(id)])
            }
        }
        try TestRouter.run(listed: [Self.heron]) { router in
            let circuit = try router.circuit()
            circuit.say(.extend(to: Self.heron), as: .relayEarly)
            let next = try router.outside.openDialled()
            let id = try #require(next.hear().first).circuit
            next.say(TestCell(circuit: id, command: .relay))
            let reason = DestroyReason.protocolViolation
            #expect(circuit.hear() == [.message(.truncated, 0, [reason.rawValue]), .destroy(reason)])
            #expect(next.hear() == [.destroy(id)])
        }
    }

    @Test("a Created is passed on that fills an Extended, and not a longer one")
    func longCreated() throws {
        let most = RelayMessageHeader.maximumDataByteCount - CircuitHandshake.createdByteCount
        for (count, isTaken) in [(most, true), (most + 1, false)] {
            try TestRouter.run(listed: [Self.heron]) { router in
                let circuit = try router.circuit()
                circuit.say(.extend(to: Self.heron), as: .relayEarly)
                let next = try router.outside.openDialled()
                let id = try #require(next.hear().first).circuit
                next.say(.created(id, extensionByteCount: count))
                let reason = DestroyReason.handshakeFailed
                #expect(
                    circuit.hear()
                        == (isTaken
                            ? [.message(.extended, 0)]
                            : [.message(.truncated, 0, [reason.rawValue]), .destroy(reason)]))
            }
        }
    }

    @Test("the next OR's Destroy is told as what it is, and nothing is said back")
    func destroyedByNextHop() throws {
        try TestRouter.run(listed: [Self.heron]) { router in
            let (circuit, next) = try router.extended(to: Self.heron)
            let id = try #require(router.loop.tables[ObjectIdentifier(next.link)]?.circuits.keys.first).rawValue
            next.say(TestCell(circuit: id, command: .destroy, body: [DestroyReason.finished.rawValue]))
            let reason = DestroyReason.destroyedByNextHop
            #expect(circuit.hear() == [.message(.truncated, 0, [reason.rawValue]), .destroy(reason)])
            #expect(next.hear().isEmpty)
        }
    }

    @Test("what waits for a peer that destroys the circuit is not sent any more, on either side of the OR")
    func destroyedWithQueue() throws {
        try TestRouter.run(listed: [Self.heron]) { router in
            let (circuit, next) = try router.extended(to: Self.heron)
            let id = try #require(router.loop.tables[ObjectIdentifier(next.link)]?.circuits.keys.first).rawValue
            circuit.peer.setReading(false)
            for _ in 0..<5 { next.say(TestCell(circuit: id, command: .relay)) }
            #expect(circuit.peer.link.queuedByteCount == 5 * Cell.byteCount)
            circuit.peer.say(.destroy(circuit.id))
            #expect(circuit.peer.link.queuedByteCount == 0)
            circuit.peer.setReading(true)
            #expect(circuit.hear().isEmpty && next.hear() == [.destroy(id)])
        }
        try TestRouter.run(listed: [Self.heron]) { router in
            let (circuit, next) = try router.extended(to: Self.heron)
            let id = try #require(router.loop.tables[ObjectIdentifier(next.link)]?.circuits.keys.first).rawValue
            next.setReading(false)
            for _ in 0..<5 { circuit.peer.say(circuit.strangeCell([.drop])) }
            #expect(next.link.queuedByteCount == 5 * Cell.byteCount)
            next.say(.destroy(id))
            next.setReading(true)
            #expect(next.hear().isEmpty && circuit.hear().last == .destroy(.destroyedByNextHop))
        }
    }

    @Test("cells for links of other loops come to each in order, over several turns")
    func crossing() throws {
        try TestRouter.run { router in
            let peers = [try router.accept(), try router.accept()]
            let targets = peers.map { LinkHandle($0.link, on: router.loop) }
            var cells = CrossLoopCells()
            for _ in 0..<2 {
                for number in [0, 0, 1, 0, 1, 1] {
                    var cell = ByteBuffer()
                    cell.writeBytes(TestCell(circuit: UInt32(7 + number), command: .relay).bytes)
                    cells.append(cell.readableBytesSpan, to: targets[number])
                }
                cells.flush()
                for (number, peer) in peers.enumerated() {
                    #expect(peer.hear().map(\.circuit) == Array(repeating: UInt32(7 + number), count: 3))
                }
            }
        }
    }

    // MARK: Create

    @Test("an id is the dialler's to give, and serves once")
    func ids() throws {
        try TestRouter.run { router in
            let peer = try router.accept()
            peer.say(TestCell(circuit: 1, command: .create, body: [0, 1]))
            #expect(peer.hear().map(\.body.first) == [DestroyReason.protocolViolation.rawValue])
            let circuit = try peer.create(1)
            peer.say(TestCell(circuit: circuit.id, command: .create, body: [0, 1]))
            #expect(circuit.hear() == [.destroy(.protocolViolation)])
            let again = try peer.create(2)
            peer.say(.destroy(again.id))
            peer.say(TestCell(circuit: again.id, command: .create, body: [0, 1]))
            #expect(again.hear() == [.destroy(.protocolViolation)])
        }
    }

    @Test("a Create is refused by an OR that shuts down, and to one that has left the consensus")
    func notAccepting() throws {
        try TestRouter.run(listed: [Self.heron]) { router in
            let departed = try router.accept(Self.heron.linkKey)
            let client = try router.accept()
            _ = try departed.create(1)
            router.shared.publish(try TestRouter.view())
            departed.createReal(2)
            #expect(departed.hear().map(\.body.first) == [DestroyReason.resourceLimit.rawValue])
            _ = try client.create(1)
            router.shared.stopAccepting()
            client.createReal(2)
            #expect(client.hear().map(\.body.first) == [DestroyReason.resourceLimit.rawValue])
        }
    }

    @Test("a client has so many circuits on its link, and its address so many Creates; an OR has others")
    func limits() throws {
        try TestRouter.run("circuits-per-client-link=2", listed: [Self.heron]) { router in
            for (key, isRefused) in [(nil, true), (Self.heron.linkKey, false)] {
                let peer = try router.accept(key)
                for number in 1...2 as ClosedRange<UInt32> { _ = try peer.create(number) }
                peer.createReal(3)
                #expect(peer.hear().first?.command == (isRefused ? .destroy : .created))
            }
        }
        try TestRouter.run("create-burst=2", "creates-per-second=1", listed: [Self.heron]) { router in
            for (key, isRefused) in [(nil, true), (Self.heron.linkKey, false)] {
                let peer = try router.accept(key, from: "198.51.100.9")
                for number in 1...2 as ClosedRange<UInt32> { _ = try peer.create(number) }
                peer.createReal(3)
                #expect(peer.hear().first?.command == (isRefused ? .destroy : .created))
            }
        }
    }

    @Test("a handshake that finds no place is a limit, and no fault of either side")
    func noPlaceForHandshake() throws {
        try TestRouter.run("handshake-queue=1", "handshake-queue-per-link=1") { router in
            router.outside.isBusy = true
            try router.accept().createReal(1)
            let peer = try router.accept()
            peer.createReal(1)
            #expect(peer.hear() == [self.refused(1)])
        }
    }

    @Test("a link that has closed leaves no handshake waiting, and so no place taken")
    func noHandshakeOfClosedLink() throws {
        try TestRouter.run("handshake-queue=1", "handshake-queue-per-link=1") { router in
            router.outside.isBusy = true
            let gone = try router.accept()
            gone.createReal(1)
            gone.link.close()
            let peer = try router.accept()
            peer.createReal(1)
            router.outside.work()
            #expect(peer.hear().map(\.command) == [.created])
        }
    }

    @Test("a circuit that has ended is not answered when its handshake is done")
    func endedWhileHandshaking() throws {
        try TestRouter.run { router in
            let peer = try router.accept()
            router.outside.isBusy = true
            peer.createReal(1)
            peer.say(.destroy(0x8000_0001))
            router.outside.work()
            #expect(peer.hear().isEmpty && router.loop.circuitCount == 0)
        }
    }

    @Test("cells for a circuit whose handshake is not done yet are a fault")
    func cellsWhileHandshaking() throws {
        try TestRouter.run { router in
            let peer = try router.accept()
            router.outside.isBusy = true
            peer.createReal(1)
            peer.say(TestCell(circuit: 0x8000_0001, command: .relay))
            #expect(peer.hear().map(\.body.first) == [DestroyReason.protocolViolation.rawValue])
            router.outside.work()
            #expect(peer.hear().isEmpty)
        }
    }

    @Test("a client that does not read what is refused loses its link, and what it said behind that counts for nothing")
    func refusals() throws {
        try TestRouter.run("circuits-per-client-link=2", "circuits-total=1") { router in
            let peer = try router.accept()
            peer.setReading(false)
            // Each has an id of its own, and so waits in a queue of its own.
            for number in 1...5 as ClosedRange<UInt32> { peer.createNonsense(number) }
            #expect(peer.isOpen)
            peer.say([.nonsense(6), .real(7), .real(8)])
            #expect(!peer.isOpen)
            // The one circuit that there may be is free.
            _ = try router.circuit()
        }
    }

    @Test("an address has a thirty-second of all circuits over all its links, and has each back once, however it ends")
    func circuitsPerAddress() throws {
        let ends: [(TestRouter, TestCircuit) throws -> Void] = [
            { $1.peer.say(.destroy($1.id)) },
            { $1.peer.say(.destroy($1.id), .destroy($1.id)) },
            // Broken rules: a cell for nobody, an id that serves twice.
            { $1.peer.say($1.strangeCell([.drop])) },
            { $1.peer.createReal(1) },
            { router, circuit in circuit.peer.link.close() },
            { router, circuit in
                router.loop.link(circuit.peer.link, overflowed: CircuitID(rawValue: circuit.id))
            },
            { router, circuit in
                router.outside.isUnreachable = true
                circuit.say(.extend(to: Self.heron), as: .relayEarly)
            },
            { router, circuit in
                circuit.say(.extend(to: Self.heron), as: .relayEarly)
                let next = try router.outside.openDialled()
                let id = try #require(next.hear().first).circuit
                next.say(.created(id))
                next.say(.destroy(id), .destroy(id))
            },
            { router, circuit in
                circuit.say(.extend(to: Self.heron), as: .relayEarly)
                try router.outside.openDialled().link.close()
            },
        ]
        for end in ends {
            try TestRouter.run("circuits-total=95", listed: [Self.heron]) { router in
                let circuits = try (0..<2).map { _ in try router.circuit() }
                let peer = try router.accept()
                peer.createReal(1)
                #expect(peer.hear() == [self.refused(1)])
                try end(router, circuits[0])
                router.eventLoop.run()
                _ = try peer.create(2)
                peer.createReal(3)
                #expect(peer.hear() == [self.refused(3)])
            }
        }
    }

    @Test("a Create that comes to nothing takes no circuit of its address, and ORs have more")
    func circuitsOfOthers() throws {
        try TestRouter.run("circuits-total=95", listed: [Self.heron]) { router in
            let peer = try router.accept()
            let wrong = CircuitHandshake.Client(
                identity: Self.heron.identity.publicKey, onionKey: TestRouter.onionKey.publicKey)
            for number in 1...5 as ClosedRange<UInt32> {
                peer.createNonsense(number)
                peer.say(TestCell(circuit: 0x8000_0010 | number, command: .create, body: wrong.create))
            }
            let reasons = peer.hear().compactMap(\.body.first)
            #expect(reasons == Array(repeating: DestroyReason.handshakeFailed.rawValue, count: 10))
            for number in 6...7 as ClosedRange<UInt32> { _ = try peer.create(number) }
            peer.createReal(8)
            #expect(peer.hear() == [self.refused(8)])
            let heron = try router.accept(Self.heron.linkKey)
            for number in 1...5 as ClosedRange<UInt32> { _ = try heron.create(number) }
            _ = try router.accept(from: "198.51.100.2").create()
        }
    }

    private func refused(_ number: UInt32) -> TestCell {
        TestCell(circuit: 0x8000_0000 | number, command: .destroy, body: [DestroyReason.resourceLimit.rawValue])
    }

    // MARK: Links

    @Test("links that carry bulk have large buffers, so many and no more; an eighth is for those between ORs")
    func largeBuffers() throws {
        // Half as much as the queues may hold: eight links at 512 KiB each.
        try TestRouter.run("process-queue-limit=8388608", listed: [Self.heron]) { router in
            var lastNumber = 0
            func bulk(from key: Ed25519PublicKey? = nil) throws -> TestPeer {
                lastNumber += 1
                let peer = try router.accept(key, from: "203.0.\(lastNumber).1")
                peer.say(Array(repeating: TestCell(circuit: 0, command: .padding), count: 7))
                return peer
            }
            func hasLarge(_ peer: TestPeer) -> Bool {
                router.loop.tables[ObjectIdentifier(peer.link)]?.largeBuffers != nil
            }
            let clients = try (0..<8).map { _ in try bulk() }
            #expect(clients.map(hasLarge) == Array(repeating: true, count: 7) + [false])
            #expect(try hasLarge(bulk(from: Self.heron.linkKey)))
            #expect(try !hasLarge(bulk(from: Self.heron.linkKey)))
            // What a link that closes has had is there again; one that had none gives none back.
            clients[7].link.close()
            clients[0].link.close()
            #expect(try !hasLarge(bulk()))
            clients[1].link.close()
            #expect(try hasLarge(bulk()))
            #expect(try !hasLarge(bulk()))
        }
    }

    @Test("an open link is not half-open, and one that has closed is not open")
    func halfOpen() throws {
        try TestRouter.run("half-open-per-address=1") { router in
            let admission = router.shared.admission
            let address = try #require(IPAddress("198.51.100.7"))
            // As the listener does for each connection.
            #expect(admission.admits(address))
            let peer = try router.accept(from: "198.51.100.7")
            #expect(admission.admits(address))
            #expect(!admission.admits(address))
            peer.link.close()
            admission.connectionClosed(address)
            #expect(!admission.admits(address))
        }
    }

    @Test("what runs on another's loop runs at once where that is the own one")
    func reference() throws {
        try TestRouter.run { router in
            let count = NIOLoopBoundBox(0, eventLoop: router.eventLoop)
            router.loop.reference.run { _ in count.value += 1 }
            #expect(count.value == 1)
        }
    }

    @Test("of an ended circuit, the cell that says so may wait, and nothing more")
    func overflowOfEnded() throws {
        try TestRouter.run { router in
            let peer = try router.accept()
            let id = CircuitID(rawValue: 0x8000_0005)
            peer.setReading(false)
            for _ in 0..<2 { peer.link.send(circuit: id, command: .relay, body: []) }
            router.loop.link(peer.link, overflowed: id)
            #expect(peer.link.backlog(of: id) == 1 && peer.isOpen)
            router.loop.link(peer.link, overflowed: id)
            #expect(!peer.isOpen)
        }
    }
}
