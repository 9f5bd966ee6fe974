import NIOCore
import NIOEmbedded
import OnionCells
import OnionCircuits
import OnionCrypto
import TestSupport
import Testing

@testable import OnionStreams

@Suite("Flow control of a circuit")
struct FlowControlTests {
    @Test("no more cells than the window are in flight, whatever the sockets have")
    func window() throws {
        let circuit = try TestCircuit(window: 64, maximumWindow: 64)
        let sockets = try (0..<4).map { _ in try #require(circuit.openStream(exitSends: 1 << 20)).exit }
        let sent = circuit.exit.cellCount
        for _ in 0..<100 {
            for socket in sockets { socket.write(atMost: 1 << 16) }
            circuit.loop.run()
        }
        // Those before the window's start were answered only in whole increments.
        #expect(circuit.exit.cellCount - sent <= 64 && circuit.exit.cellCount - sent > 0)
        #expect(circuit.exit.outgoing.count <= 64)
        #expect(sockets.allSatisfy { $0.stream?.hasRoom == false })
    }

    @Test("a SendMe with another tag destroys the circuit")
    func wrongTag() throws {
        let circuit = try TestCircuit()
        let (_, exit) = try #require(circuit.openStream(exitSends: 1 << 20))
        exit.write(atMost: 1 << 20)
        circuit.loop.run()
        circuit.forgeForward([(.sendMe, .circuit, CellTag(high: 1 << 40, low: 7).bytes)])
        #expect(circuit.exit.failures == [.sendMeTagWrong])
    }

    @Test("a SendMe that is not due destroys the circuit")
    func notDue() throws {
        let circuit = try TestCircuit()
        circuit.forgeForward([(.sendMe, .circuit, CellTag(high: 1, low: 7).bytes)])
        #expect(circuit.exit.failures == [.sendMeNotDue])
    }

    @Test("a SendMe of another length destroys the circuit", arguments: [0, 15, 17])
    func wrongLength(count: Int) throws {
        let circuit = try TestCircuit()
        circuit.forgeForward([(.sendMe, .circuit, [UInt8](repeating: 0, count: count))])
        #expect(circuit.exit.failures == [.sendMeTagWrong])
    }

    @Test("the cell that completes an increment ends in a tail that nobody can guess")
    func unguessableTail() throws {
        let circuit = try TestCircuit(window: 64)
        let (_, exit) = try #require(circuit.openStream(exitSends: 1 << 20))
        let before = circuit.exit.cellCount
        for _ in 0..<4 {
            exit.write(atMost: 1 << 20)
            circuit.loop.run()
        }
        #expect(circuit.exit.outgoing.count >= 32)
        for (index, cell) in circuit.exit.outgoing.enumerated() {
            let used = try messages(in: cell.payload).reduce(0) { $0 + $1.byteCount + RelayMessageHeader.byteCount }
            if (before + index + 1) % 32 == 0 {
                #expect(used + RelayMessageWriter.unguessableTailByteCount <= Cell.payloadByteCount)
                #expect(cell.payload[used] == 0)
                #expect(Set(cell.payload[(used + 1)...]).count > 2)
            } else if index < 30 {
                #expect(used == Cell.payloadByteCount)
            }
        }
    }

    @Test("bulk data passes whole over links that lose their breath", arguments: [1] as [UInt64])
    func bulk(seed: UInt64) throws {
        var random = SplitMix64(seed)
        let circuit = try TestCircuit(window: 128, maximumWindow: 512)
        circuit.exit.backlogLimit = 32
        let size = 16 << 20
        let (client, exit) = try #require(circuit.openStream(exitSends: size))
        var largest = 0
        while client.receivedCount < size {
            for _ in 0..<Int.random(in: 0...4, using: &random) { exit.write(atMost: 65_536) }
            circuit.advance(by: .microseconds(.random(in: 1...500, using: &random)))
            largest = max(largest, circuit.exit.outgoing.count)
            for _ in 0..<Int.random(in: 0...60, using: &random) where !circuit.deliver(from: circuit.exit) { break }
            for _ in 0..<Int.random(in: 0...3, using: &random) where !circuit.deliver(from: circuit.client) { break }
            client.drain(atMost: .max)
        }
        #expect(client.isIntact && client.receivedCount == size, "seed \(seed)")
        #expect(largest <= 33)
        #expect(circuit.client.failures.isEmpty && circuit.exit.failures.isEmpty)
    }

    @Test("a reader that stops stops its own stream, within a bound, and no other")
    func slowReader() throws {
        let circuit = try TestCircuit(window: 64, maximumWindow: 128, high: 100_000, low: 20_000)
        let slow = try #require(circuit.openStream(exitSends: 8 << 20))
        let quick = try #require(circuit.openStream(exitSends: 1 << 20))
        for _ in 0..<4000 where quick.client.receivedCount < 1 << 20 {
            slow.exit.write(atMost: 65_536)
            quick.exit.write(atMost: 65_536)
            circuit.settle()
            circuit.advance(by: .milliseconds(1))
            quick.client.drain(atMost: .max)
        }
        #expect(quick.client.receivedCount == 1 << 20 && quick.client.isIntact)
        #expect(slow.client.receivedCount < 100_000 + 128 * 2048)
        // Once it reads again all of it comes, and an XOff has its distance from the last.
        for _ in 0..<20_000 where slow.client.receivedCount < 8 << 20 {
            slow.exit.write(atMost: 65_536)
            circuit.settle()
            circuit.advance(by: .milliseconds(10))
            slow.client.drain(atMost: 60_000)
        }
        #expect(slow.client.receivedCount == 8 << 20 && slow.client.isIntact)
        #expect(slow.client.largestUndrained <= 100_000 + 128 * 2048)
        #expect(circuit.client.failures.isEmpty && circuit.exit.failures.isEmpty)
    }

    @Test("an exit that goes on past XOff and what was in flight loses the circuit")
    func dataPastXOff() throws {
        let circuit = try TestCircuit(window: 32, maximumWindow: 32, high: 10_000, low: 100)
        let (client, _) = try #require(circuit.openStream())
        let id = try #require(client.stream?.id)
        let data = [UInt8](repeating: 0, count: 2000)
        var count = 0
        while circuit.client.failures.isEmpty, count < 100 {
            circuit.forgeBackward([(.data, id, data)])
            count += 1
        }
        #expect(circuit.client.failures == [.dataPastXOff])
        #expect(count * 2000 > 10_000 + 32 * 2048 && count * 2000 < 10_000 + 32 * 2048 + 6000)
    }

    @Test("what a socket gives after XOff makes no empty cell, and leaves after XOn")
    func sendWhilePaused() throws {
        let circuit = try TestCircuit()
        let (client, exit) = try #require(circuit.openStream(exitSends: 3000))
        let id = try #require(client.stream?.id)
        circuit.forgeForward([(.xOff, id, [])])
        // A read that was on its way when the XOff came, and the end of the socket's input.
        exit.stream?.send(Pattern.buffer(from: 0, count: 3000))
        exit.stream?.finish()
        let count = circuit.exit.cellCount
        circuit.settle()
        #expect(circuit.exit.cellCount == count && client.finishedCount == 0)
        circuit.forgeForward([(.xOn, id, [0, 0, 0, 1])])
        circuit.settle()
        #expect(client.receivedCount == 3000 && client.isIntact && client.finishedCount == 1)
    }

    @Test("an End leaves at once though its stream is paused with its last bytes")
    func endWhilePausedFinishing() throws {
        let circuit = try TestCircuit()
        let (client, exit) = try #require(circuit.openStream(exitSends: 3000))
        let id = try #require(client.stream?.id)
        client.write(atMost: 1)
        circuit.settle()
        circuit.forgeForward([(.xOff, id, [])])
        exit.stream?.send(Pattern.buffer(from: 0, count: 3000))
        exit.stream?.finish()
        circuit.settle()
        exit.stream?.end(.reset)
        circuit.settle()
        #expect(client.endings == [.reset])
        #expect(circuit.clientEndpoint.streamCount == 0 && circuit.exitEndpoint.streamCount == 0)
    }

    @Test("a stream that both sides have finished ends all the same when its last bytes stay paused")
    func pausedForEver() throws {
        let circuit = try TestCircuit(idle: .seconds(10))
        let (client, exit) = try #require(circuit.openStream(exitSends: 3000))
        client.write(atMost: 1)
        circuit.settle()
        circuit.forgeForward([(.xOff, try #require(client.stream?.id), [])])
        exit.stream?.send(Pattern.buffer(from: 0, count: 3000))
        exit.stream?.finish()
        circuit.settle()
        #expect(circuit.exitEndpoint.streamCount == 1)
        circuit.advance(by: .seconds(11))
        circuit.exitEndpoint.tick(now: circuit.loop.now)
        circuit.settle()
        #expect(circuit.exitEndpoint.streamCount == 0 && circuit.clientEndpoint.streamCount == 0)
    }

    @Test("a stream that ends while it waits for its turn makes no empty cell")
    func endedInQueue() throws {
        let circuit = try TestCircuit()
        let (client, exit) = try #require(circuit.openStream(exitSends: 3000))
        let id = try #require(client.stream?.id)
        exit.stream?.send(Pattern.buffer(from: 0, count: 3000))
        circuit.forgeForward([(.end, id, [EndReason.reset.rawValue])])
        let count = circuit.exit.cellCount
        circuit.settle()
        #expect(circuit.exit.cellCount == count)
        #expect(exit.endings == [.reset])
    }

    @Test("room that comes while a cell is sent does not change the order of tags")
    func roomWithinSend() throws {
        let circuit = try TestCircuit(window: 256)
        let (client, exit) = try #require(circuit.openStream(exitSends: 1 << 20))
        // The link takes cells one at a time, and says so from within.
        circuit.exit.backlogLimit = 1
        for _ in 0..<2000 where client.receivedCount < 1 << 20 {
            exit.write(atMost: 65_536)
            circuit.settle()
            client.drain(atMost: .max)
        }
        #expect(client.receivedCount == 1 << 20 && circuit.exit.failures.isEmpty)
    }

    @Test("a link that tells of room while it takes a cell does not change the order of tags")
    func roomToldWithinSend() throws {
        let circuit = try TestCircuit(window: 256, maximumWindow: 256)
        let (client, exit) = try #require(circuit.openStream(exitSends: 1 << 20))
        circuit.exit.onSent = { circuit.exitEndpoint.roomAvailable() }
        for _ in 0..<100 where client.receivedCount < 1 << 20 {
            exit.write(atMost: 65_536)
            circuit.settle()
            client.drain(atMost: .max)
        }
        #expect(client.receivedCount == 1 << 20 && client.isIntact && circuit.exit.failures.isEmpty)
    }

    @Test(
        "a Finished that comes again while the last bytes are paused destroys the circuit; otherwise they come",
        arguments: [true, false])
    func finishedAgainWhilePaused(comesAgain: Bool) throws {
        let circuit = try TestCircuit()
        let (client, exit) = try #require(circuit.openStream())
        let id = try #require(client.stream?.id)
        client.write(atMost: 1)
        circuit.settle()
        circuit.forgeForward([(.xOff, id, [])])
        exit.stream?.send(Pattern.buffer(from: 0, count: 3000))
        exit.stream?.finish()
        circuit.settle()
        #expect(circuit.exitEndpoint.streamCount == 1 && exit.endings.isEmpty)
        if comesAgain {
            circuit.forgeForward([(.end, id, [EndReason.finished.rawValue])])
            #expect(circuit.exit.failures == [.messageAfterEnd(.end)])
            return
        }
        circuit.forgeForward([(.xOn, id, [0, 0, 0, 1])])
        circuit.settle()
        #expect(client.receivedCount == 3000 && client.endings == [.finished] && exit.endings == [.finished])
        #expect(circuit.exit.failures.isEmpty)
    }

    @Test("a socket is read while the stream may send and has room, and no longer")
    func room() throws {
        let circuit = try TestCircuit()
        let stream = try #require(circuit.openStream()?.client.stream)
        circuit.forgeBackward([(.xOff, stream.id, [])])
        #expect(!stream.hasRoom)
        circuit.forgeBackward([(.xOn, stream.id, [0, 0, 0, 1])])
        circuit.client.backlogLimit = 0
        stream.send(Pattern.buffer(from: 0, count: StreamLimits.outboxByteCount - 1))
        #expect(stream.hasRoom)
        stream.send(Pattern.buffer(from: 0, count: 1))
        #expect(!stream.hasRoom)
        circuit.client.backlogLimit = .max
        circuit.settle()
        #expect(stream.hasRoom)
        stream.finish()
        #expect(!stream.hasRoom)
    }

    @Test("a socket hears of room once when its bytes have left, and when the far end goes on")
    func roomIsTold() throws {
        let circuit = try TestCircuit()
        let (client, _) = try #require(circuit.openStream(clientSends: 10_000))
        let id = try #require(client.stream?.id)
        let count = client.roomCount
        client.stream?.send(Pattern.buffer(from: 0, count: 10_000))
        circuit.settle()
        #expect(client.roomCount == count + 1)
        circuit.forgeBackward([(.xOff, id, [])])
        circuit.forgeBackward([(.xOn, id, [0, 0, 0, 1])])
        #expect(client.roomCount == count + 2)
    }

    @Test("an outbox that is never empty does not keep what has left it")
    func outboxMemory() throws {
        let circuit = try TestCircuit()
        let (client, exit) = try #require(circuit.openStream())
        let stream = try #require(client.stream)
        circuit.client.backlogLimit = 8
        stream.send(ByteBuffer(repeating: 7, count: 100_000))
        for _ in 0..<200 {
            stream.send(ByteBuffer(repeating: 7, count: 8000))
            circuit.loop.run()
            for _ in 0..<4 { circuit.deliver(from: circuit.client) }
            while circuit.deliver(from: circuit.exit) {}
            exit.drain(atMost: .max)
        }
        #expect(exit.receivedCount > 1_000_000 && stream.outbox.readableBytes > 0)
        #expect(stream.outbox.capacity < 400_000)
    }

    @Test("the last bytes of a large read do not keep its buffer while they wait for the window")
    func outboxRest() throws {
        let circuit = try TestCircuit()
        let (client, exit) = try #require(circuit.openStream(clientSends: 60_000))
        let stream = try #require(client.stream)
        circuit.client.backlogLimit = 29
        client.write(atMost: 60_000)
        circuit.loop.run()
        let byteCount = stream.outbox.readableBytes
        #expect((1...4000).contains(byteCount) && stream.outbox.storageCapacity >= 60_000)
        circuit.clientEndpoint.tick(now: circuit.loop.now)
        #expect(stream.outbox.readableBytes == byteCount && stream.outbox.storageCapacity < 2 * byteCount)
        circuit.client.backlogLimit = .max
        circuit.settle()
        #expect(exit.receivedCount == 60_000 && exit.isIntact)
    }

    @Test("XOff and XOn for a side that has finished and sent all of it hold up nothing, and alternate all the same")
    func xOffAfterFinish() throws {
        let circuit = try TestCircuit()
        let (client, exit) = try #require(circuit.openStream(exitSends: 100))
        let id = try #require(client.stream?.id)
        client.write(atMost: 1)
        circuit.settle()
        circuit.forgeBackward([(.xOff, id, [])])
        circuit.forgeBackward([(.xOn, id, [0, 0, 0, 1]), (.xOff, id, [])])
        exit.write(atMost: 100)
        circuit.settle()
        #expect(circuit.client.failures.isEmpty && client.endings == [.finished] && exit.endings == [.finished])

        let (other, _) = try #require(circuit.openStream())
        other.write(atMost: 1)
        circuit.settle()
        let otherID = try #require(other.stream?.id)
        for _ in 0..<2 { circuit.forgeBackward([(.xOff, otherID, [])]) }
        #expect(circuit.client.failures == [.xOffOutOfTurn])
    }

    @Test("a stream that is over says no XOn when its socket takes the last bytes")
    func drainedWhenOver() throws {
        let circuit = try TestCircuit(high: 10_000, low: 1000)
        let (client, exit) = try #require(circuit.openStream(exitSends: 20_000))
        exit.write(atMost: 20_000)
        circuit.settle()
        client.stream?.end(.reset)
        circuit.advance(by: StreamGate.minimumDistance)
        client.drain(atMost: .max)
        circuit.loop.run()
        #expect(try circuit.client.outgoing.flatMap { try messages(in: $0.payload).map(\.command) } == [.end])
    }

    @Test("bytes that came before there was a socket are given up when the stream is reset")
    func heldAndReset() throws {
        let circuit = try TestCircuit()
        let stream = try #require(circuit.clientEndpoint.open(.begin, data: TestCircuit.begin))
        stream.send(Pattern.buffer(from: 0, count: 5000))
        circuit.settle()
        #expect(circuit.exitEndpoint.queuedByteCount == 5000)
        stream.end(.reset)
        circuit.settle()
        #expect(circuit.exitEndpoint.queuedByteCount == 0)
    }

    @Test("a stream that ends at the moment when its XOff is due says none")
    func endAsXOffIsDue() throws {
        let circuit = try TestCircuit(high: 10_000, low: 1000)
        let (client, exit) = try #require(circuit.openStream(exitSends: 40_000))
        exit.write(atMost: 20_000)
        circuit.settle()
        client.drain(atMost: .max)
        circuit.settle()
        circuit.loop.assumeIsolated().scheduleTask(in: StreamGate.minimumDistance) { client.stream?.end(.reset) }
        exit.write(atMost: 20_000)
        circuit.settle()
        circuit.advance(by: StreamGate.minimumDistance)
        #expect(try circuit.client.outgoing.flatMap { try messages(in: $0.payload).map(\.command) } == [.end])
    }

    @Test("an endpoint knows every byte that its streams hold: before the socket, for it, and for cells")
    func account() throws {
        let circuit = try TestCircuit(window: 64, maximumWindow: 64)
        let stream = try #require(circuit.clientEndpoint.open(.begin, data: TestCircuit.begin))
        stream.send(Pattern.buffer(from: 0, count: 5000))
        #expect(circuit.clientEndpoint.queuedByteCount == 5000)
        circuit.settle()
        #expect(circuit.clientEndpoint.queuedByteCount == 0 && circuit.exitEndpoint.queuedByteCount == 5000)
        let opened = try #require(circuit.exit.opened.last?.stream)
        #expect(opened.connected(TestCircuit.connected))
        let socket = TestSocket("exit", sending: 1 << 20, isSlow: true)
        socket.attach(to: opened)
        socket.drain(atMost: 2000)
        #expect(circuit.exitEndpoint.queuedByteCount == 3000)
        socket.write(atMost: 40_000)
        #expect(circuit.exitEndpoint.queuedByteCount == 43_000)
        circuit.settle()
        #expect(circuit.exitEndpoint.queuedByteCount == 3000)
        let traffic = circuit.exitEndpoint.takeTraffic()
        #expect(traffic.added - traffic.removed == 3000 && traffic.added == 45_000)
    }

    @Test("bytes of a stream that is over count until its socket has taken them, or is reset for them")
    func lingering() throws {
        let circuit = try TestCircuit()
        let (client, exit) = try #require(circuit.openStream(clientSends: 9000))
        exit.isSlow = true
        client.write(atMost: 9000)
        circuit.settle()
        exit.stream?.finish()
        circuit.settle()
        #expect(exit.endings == [.finished] && circuit.exitEndpoint.streamCount == 0)
        #expect(circuit.exitEndpoint.queuedByteCount == 9000)
        exit.drain(atMost: 4000)
        #expect(circuit.exitEndpoint.queuedByteCount == 5000)
        circuit.exitEndpoint.destroy(.unspecified)
        #expect(circuit.exitEndpoint.queuedByteCount == 5000)
        circuit.exitEndpoint.abandon()
        #expect(circuit.exitEndpoint.queuedByteCount == 0 && exit.endings == [.finished, .resourceLimit])
        // A write that was under way then.
        exit.drain(atMost: .max)
        #expect(circuit.exitEndpoint.queuedByteCount == 0)
    }

    @Test("a socket that is closed holds nothing any more")
    func closedSocket() throws {
        let circuit = try TestCircuit()
        let (client, exit) = try #require(circuit.openStream(clientSends: 9000))
        exit.isSlow = true
        client.write(atMost: 9000)
        circuit.settle()
        #expect(circuit.exitEndpoint.queuedByteCount == 9000)
        exit.stream?.end(.reset)
        #expect(circuit.exitEndpoint.queuedByteCount == 9000)
        exit.stream?.socketClosed()
        #expect(circuit.exitEndpoint.queuedByteCount == 0)
    }
}
