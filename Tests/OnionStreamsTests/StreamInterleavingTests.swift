import NIOCore
import NIOEmbedded
import OnionCells
import OnionCircuits
import TestSupport
import Testing

@testable import OnionStreams

/// Random lives of many streams on one circuit, one small event at a time. What must hold whatever the order: both byte
/// streams arrive whole, each side hears each end once, and nothing is left on either side.
@Suite("Streams in any order of events")
struct StreamInterleavingTests {
    private final class Life {
        let opener = TestOpener()
        let client: TestSocket
        let exit: TestSocket
        let stream: OnionStream
        var opened: OnionStream?
        init(_ stream: OnionStream, _ random: inout SplitMix64) {
            self.stream = stream
            let sizes = [0, 1, 2022, 2023, 5000, 70_000, 300_000]
            self.client = TestSocket("client", sending: sizes.randomElement(using: &random) ?? 0)
            self.exit = TestSocket("exit", sending: sizes.randomElement(using: &random) ?? 0)
        }
    }

    @Test("orderly closing loses nothing and leaves nothing", arguments: 0..<40)
    func orderly(seed: UInt64) throws {
        var random = SplitMix64(seed)
        let circuit = try TestCircuit(
            window: [32, 64, 256].randomElement(using: &random) ?? 32, maximumWindow: 256,
            high: [4000, 50_000, 1 << 20].randomElement(using: &random) ?? 4000, low: 1000)
        circuit.exit.backlogLimit = Int.random(in: 1...40, using: &random)
        circuit.client.backlogLimit = Int.random(in: 1...40, using: &random)
        var lives: [Life] = []
        let count = Int.random(in: 1...12, using: &random)
        var steps = 0
        while lives.count < count
            || !lives.allSatisfy({ $0.client.endings == [.finished] && $0.exit.endings == [.finished] })
        {
            steps += 1
            guard steps < 400_000 else {
                let stuck = lives.map {
                    "\($0.client.endings) \($0.client.receivedCount)/\($0.exit.toSend) \($0.exit.endings) \($0.exit.receivedCount)/\($0.client.toSend)"
                }
                Issue.record("seed \(seed) stalls: \(stuck)")
                return
            }
            switch Int.random(in: 0..<12, using: &random) {
            case 0 where lives.count < count:
                let stream = try #require(circuit.clientEndpoint.open(.begin, data: TestCircuit.begin))
                let life = Life(stream, &random)
                stream.opener = life.opener
                lives.append(life)
                // Some applications speak first, before there is a reply.
                if Bool.random(using: &random) { life.client.attach(to: stream) }
            case 1:
                for (index, (stream, _, _)) in circuit.exit.opened.enumerated() where lives[index].opened == nil {
                    lives[index].opened = stream
                }
            case 2:
                guard let life = lives.randomElement(using: &random), let opened = life.opened, !life.exit.isAttached
                else { continue }
                #expect(opened.connected(TestCircuit.connected))
                life.exit.attach(to: opened)
            case 3:
                guard let life = lives.randomElement(using: &random), !life.opener.connected.isEmpty,
                    !life.client.isAttached
                else { continue }
                life.client.attach(to: life.stream)
            case 4, 5:
                guard let life = lives.randomElement(using: &random) else { continue }
                if life.client.isAttached { life.client.write(atMost: .random(in: 1...66_000, using: &random)) }
            case 6:
                guard let life = lives.randomElement(using: &random) else { continue }
                if life.exit.isAttached { life.exit.write(atMost: .random(in: 1...66_000, using: &random)) }
            case 7:
                guard let life = lives.randomElement(using: &random) else { continue }
                life.client.drain(atMost: .random(in: 1...70_000, using: &random))
                life.exit.drain(atMost: .random(in: 1...70_000, using: &random))
            case 8: circuit.loop.run()
            case 9:
                for _ in 0..<Int.random(in: 1...50, using: &random) where !circuit.deliver(from: circuit.client) {
                    break
                }
            case 10:
                for _ in 0..<Int.random(in: 1...50, using: &random) where !circuit.deliver(from: circuit.exit) { break }
            default: circuit.advance(by: .milliseconds(.random(in: 0...30, using: &random)))
            }
        }
        circuit.settle()
        for life in lives {
            #expect(life.client.isIntact && life.client.receivedCount == life.exit.toSend, "seed \(seed)")
            #expect(life.exit.isIntact && life.exit.receivedCount == life.client.toSend, "seed \(seed)")
            #expect(life.client.finishedCount == 1 && life.exit.finishedCount == 1, "seed \(seed)")
        }
        #expect(circuit.clientEndpoint.streamCount == 0 && circuit.exitEndpoint.streamCount == 0, "seed \(seed)")
        #expect(circuit.client.closed.count == count && circuit.exit.closed.count == count, "seed \(seed)")
        #expect(circuit.client.failures.isEmpty && circuit.exit.failures.isEmpty, "seed \(seed)")
    }

    @Test("streams that break off at any time harm neither the circuit nor the others", arguments: 0..<40)
    func breakingOff(seed: UInt64) throws {
        var random = SplitMix64(seed &+ 1_000_000)
        let circuit = try TestCircuit(window: 64, maximumWindow: 256, high: 20_000, low: 1000)
        circuit.exit.backlogLimit = 20
        let steady = try #require(circuit.openStream(clientSends: 200_000, exitSends: 200_000))
        var pairs: [(client: TestSocket, exit: TestSocket)] = []
        for _ in 0..<8 { pairs.append(try #require(circuit.openStream(clientSends: 100_000, exitSends: 100_000))) }
        for _ in 0..<2000 {
            let pair = pairs[Int.random(in: 0..<pairs.count, using: &random)]
            switch Int.random(in: 0..<9, using: &random) {
            case 0: pair.client.write(atMost: 30_000)
            case 1: pair.exit.write(atMost: 30_000)
            case 2: if Int.random(in: 0..<20, using: &random) == 0 { pair.client.stream?.end(.reset) }
            case 3: if Int.random(in: 0..<20, using: &random) == 0 { pair.exit.stream?.end(.timedOut) }
            case 4: circuit.loop.run()
            case 5: circuit.deliver(from: circuit.client)
            case 6: circuit.deliver(from: circuit.exit)
            case 7: pair.client.drain(atMost: 9000); pair.exit.drain(atMost: 9000)
            default: circuit.advance(by: .milliseconds(5))
            }
        }
        for pair in pairs { pair.client.stream?.end(.reset) }
        for _ in 0..<4000 where steady.client.endings.isEmpty || steady.exit.endings.isEmpty {
            steady.client.write(atMost: 20_000)
            steady.exit.write(atMost: 20_000)
            circuit.settle()
            steady.client.drain(atMost: .max)
            steady.exit.drain(atMost: .max)
            circuit.advance(by: .milliseconds(5))
        }
        circuit.settle()
        #expect(circuit.client.failures.isEmpty && circuit.exit.failures.isEmpty, "seed \(seed)")
        #expect(steady.client.endings == [.finished] && steady.exit.endings == [.finished], "seed \(seed)")
        #expect(steady.client.receivedCount == 200_000 && steady.client.isIntact, "seed \(seed)")
        #expect(steady.exit.receivedCount == 200_000 && steady.exit.isIntact, "seed \(seed)")
        #expect(circuit.clientEndpoint.streamCount == 0 && circuit.exitEndpoint.streamCount == 0, "seed \(seed)")
    }
}
