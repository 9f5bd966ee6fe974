import NIOCore
import NIOEmbedded
import OnionCells
import OnionLink
import Testing

@testable import OnionRouter

/// Each loop here may queue 512 KiB, or 64, and a small connection that takes nothing counts for 46.
@Suite("Too much waits on a loop")
struct RouterQueuesTests {
    private static let connection = 384 * 1024

    @Test("the peer that has not read for longest loses its link, whatever waits there") func oldestLink() throws {
        for pingCount in [0, 3] {
            try TestRouter.run("process-queue-limit=4194304", loopCount: 64) { router in
                let peers = [try router.accept(), try router.accept()]
                peers[0].setReading(false)
                peers[0].say(Array(repeating: TestCell(circuit: 0, command: .ping), count: pingCount))
                router.eventLoop.advanceTime(by: .milliseconds(1))
                #expect(peers[0].isOpen)
                peers[1].setReading(false)
                #expect(!peers[0].isOpen && peers[1].isOpen)
            }
        }
    }

    @Test("what an exit's streams hold counts, and the circuit of the oldest is destroyed") func exit() throws {
        try TestRouter.run("process-queue-limit=4194304", "allow-one-hop-begin=1", loopCount: 64) { router in
            let circuit = try router.circuit()
            circuit.say(.begin(1))
            let destination = try router.outside.connect(isStalled: true)
            #expect(circuit.hear().count == 1)
            let data = TestCircuit.Message(command: .data, stream: 1, data: [UInt8](repeating: 1, count: 2000))
            for _ in 0..<30 { circuit.say(data) }
            #expect(destination.isActive && circuit.hear().isEmpty)
            for _ in 0..<10 { circuit.say(data) }
            #expect(!destination.isActive && circuit.hear().last == .destroy(.resourceLimit))
            #expect(router.loop.queues.byteCount == 0)
        }
    }

    @Test("an exit whose circuit has ended lets go of what its socket has not taken, and says nothing more")
    func endedExit() throws {
        try TestRouter.run("allow-one-hop-begin=1") { router in
            let circuit = try router.circuit()
            circuit.say(.begin(1))
            let destination = try router.outside.connect(isStalled: true)
            circuit.say(TestCircuit.Message(command: .data, stream: 1, data: [UInt8](repeating: 1, count: 2000)))
            destination.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
            router.eventLoop.run()
            circuit.say(.end(1, .finished))
            #expect(circuit.hear().last == .message(.end, 1, [EndReason.finished.rawValue]))
            circuit.peer.say(.destroy(circuit.id))
            #expect(router.loop.circuitCount == 0 && router.loop.queues.exits.count == 1)
            router.loop.queues.update(ceiling: 1000, loopCount: 1)
            router.loop.link(circuit.peer.link, queuesChanged: [CircuitID(rawValue: 9): QueueTraffic(added: 1)])
            router.eventLoop.run()
            #expect(router.loop.queues.exits.isEmpty)
            #expect(circuit.hear().isEmpty)
        }
    }

    @Test("queues that turn out to hold nothing keep a loop busy only so long: the rest waits for what comes next")
    func fruitless() throws {
        for (count, isReached) in [(63, true), (64, false)] {
            try TestRouter.run("process-queue-limit=4194304", "allow-one-hop-begin=1", loopCount: 8) { router in
                let circuit = try router.circuit()
                circuit.say(.drop)
                let (gone, peer) = (try router.accept(), try router.accept())
                gone.link.close()
                router.loop.link(
                    gone.link,
                    queuesChanged: Dictionary(
                        uniqueKeysWithValues: (1...UInt32(count)).map {
                            (CircuitID(rawValue: $0), QueueTraffic(added: 8192))
                        }))
                router.eventLoop.advanceTime(by: .milliseconds(1))
                // Twice in one turn.
                for _ in 0..<2 {
                    router.loop.link(peer.link, queuesChanged: [.link: QueueTraffic(added: Self.connection)])
                }
                router.eventLoop.run()
                #expect(peer.isOpen == !isReached)
                guard !isReached else { return }
                // That an exit has nothing to tell is no news.
                router.eventLoop.advanceTime(by: RouterLoop.queueTickInterval)
                #expect(peer.isOpen)
                router.loop.link(peer.link, queuesChanged: [.link: QueueTraffic(added: 1)])
                router.eventLoop.run()
                #expect(!peer.isOpen)
            }
        }
    }
}
