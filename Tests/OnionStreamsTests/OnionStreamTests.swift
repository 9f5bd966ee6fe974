import NIOCore
import NIOEmbedded
import OnionAddress
import OnionCells
import OnionCircuits
import OnionCrypto
import Testing

@testable import OnionStreams

@Suite("Stream")
struct OnionStreamTests {
    @Test(
        "an End with a reason ends both directions, and each side hears it",
        arguments: [EndReason.reset, .timedOut, .shuttingDown])
    func reset(reason: EndReason) throws {
        let circuit = try TestCircuit()
        let (client, exit) = try #require(circuit.openStream())
        exit.stream?.end(reason)
        circuit.settle()
        #expect(client.endings == [reason])
        // The side that ended it needs no telling.
        #expect(exit.endings.isEmpty)
        #expect(circuit.clientEndpoint.streamCount == 0 && circuit.exitEndpoint.streamCount == 0)
        #expect(circuit.client.failures.isEmpty && circuit.exit.failures.isEmpty)
    }

    @Test("a refusal before Connected reaches who waits", arguments: EndReason.allCases.filter { $0 != .finished })
    func refused(reason: EndReason) throws {
        let circuit = try TestCircuit()
        let opener = TestOpener()
        let stream = try #require(circuit.clientEndpoint.open(.begin, data: TestCircuit.begin))
        stream.opener = opener
        circuit.settle()
        circuit.exit.opened.first?.stream.end(reason)
        circuit.settle()
        #expect(opener.refused == [reason] && opener.connected.isEmpty)
        #expect(circuit.clientEndpoint.streamCount == 0 && circuit.exitEndpoint.streamCount == 0)
    }

    @Test("each direction closes by itself, whoever closes first", arguments: [true, false])
    func halfClose(clientFirst: Bool) throws {
        let circuit = try TestCircuit()
        let (client, exit) = try #require(circuit.openStream(clientSends: 5000, exitSends: 5000))
        let (first, second) = clientFirst ? (client, exit) : (exit, client)
        first.write(atMost: 5000)
        circuit.settle()
        #expect(second.receivedCount == 5000 && second.finishedCount == 1)
        #expect(first.endings.isEmpty && second.endings.isEmpty)
        second.write(atMost: 5000)
        circuit.settle()
        #expect(first.receivedCount == 5000 && first.finishedCount == 1)
        #expect(first.endings == [.finished] && second.endings == [.finished])
        #expect(circuit.clientEndpoint.streamCount == 0 && circuit.exitEndpoint.streamCount == 0)
    }

    @Test("Data after the sender's own End destroys the circuit")
    func dataAfterEnd() throws {
        let circuit = try TestCircuit()
        let (client, _) = try #require(circuit.openStream())
        let id = try #require(client.stream?.id)
        circuit.forgeBackward([(.end, id, [EndReason.finished.rawValue]), (.data, id, [1])])
        #expect(circuit.client.failures == [.messageAfterEnd(.data)])
    }

    @Test("Data that was in flight towards a side that has ended is dropped")
    func dataInFlight() throws {
        let circuit = try TestCircuit()
        let (client, exit) = try #require(circuit.openStream(exitSends: 50_000))
        exit.write(atMost: 50_000)
        circuit.loop.run()
        client.stream?.end(.reset)
        circuit.settle()
        #expect(client.receivedCount == 0 && exit.endings == [.reset])
        #expect(circuit.client.failures.isEmpty && circuit.exit.failures.isEmpty)
    }

    @Test("what a socket still gives once its stream has ended goes nowhere", arguments: [true, false])
    func sendAfterEnd(byPeer: Bool) throws {
        let circuit = try TestCircuit()
        let (client, exit) = try #require(circuit.openStream())
        if byPeer { exit.stream?.end(.reset) } else { client.stream?.finish() }
        circuit.settle()
        client.stream?.send(Pattern.buffer(from: 0, count: 100))
        #expect(circuit.clientEndpoint.queuedByteCount == 0)
        circuit.settle()
        #expect(exit.receivedCount == 0 && circuit.exit.failures.isEmpty)
    }

    @Test("Data after the sender's reset destroys the circuit, though the stream is gone")
    func dataAfterReset() throws {
        let circuit = try TestCircuit()
        let (client, _) = try #require(circuit.openStream())
        let id = try #require(client.stream?.id)
        circuit.forgeBackward([(.end, id, [EndReason.reset.rawValue])])
        #expect(circuit.client.failures.isEmpty)
        circuit.forgeBackward([(.data, id, [1])])
        #expect(circuit.client.failures == [.messageAfterEnd(.data)])
    }

    @Test("Data for a look-up destroys the circuit")
    func dataForLookup() throws {
        let circuit = try TestCircuit()
        var query = ByteBuffer()
        Resolve.addresses(of: "example.org").write(to: &query)
        let id = StreamID(rawValue: 1)
        circuit.forgeForward([(.resolve, id, Array(buffer: query)), (.data, id, [1])])
        #expect(circuit.exit.failures == [.messageNotAllowed(.data)])
    }

    @Test("XOff and XOn for a look-up destroy the circuit", arguments: [RelayCommand.xOff, .xOn])
    func flowControlForLookup(command: RelayCommand) throws {
        let circuit = try TestCircuit()
        var query = ByteBuffer()
        Resolve.addresses(of: "example.org").write(to: &query)
        let stream = try #require(circuit.clientEndpoint.open(.resolve, data: query))
        circuit.forgeBackward([(command, stream.id, command == .xOn ? [0, 0, 0, 1] : [])])
        #expect(circuit.client.failures == [.messageNotAllowed(command)])
    }

    @Test("an answer for a look-up that was given up before is not sent")
    func lateAnswer() throws {
        let circuit = try TestCircuit()
        var query = ByteBuffer()
        Resolve.addresses(of: "example.org").write(to: &query)
        let stream = try #require(circuit.clientEndpoint.open(.resolve, data: query))
        circuit.settle()
        stream.end(.unspecified)
        circuit.settle()
        let count = circuit.exit.cellCount
        circuit.exit.opened.first?.stream.resolved(.failed(.noSuchName))
        circuit.settle()
        #expect(circuit.exit.cellCount == count)
    }

    @Test("of two ends the first holds, and of two finishes")
    func twice() throws {
        let circuit = try TestCircuit()
        let (client, exit) = try #require(circuit.openStream())
        for _ in 0..<2 { client.stream?.finish() }
        circuit.settle()
        #expect(exit.finishedCount == 1)
        for reason in [EndReason.reset, .timedOut] { exit.stream?.end(reason) }
        circuit.settle()
        #expect(client.endings == [.reset])
    }

    @Test("a socket for which nothing has come is given nothing")
    func nothingHeld() throws {
        let circuit = try TestCircuit()
        let (client, exit) = try #require(circuit.openStream())
        #expect(client.deliveryCount == 0 && exit.deliveryCount == 0)
    }

    @Test("an empty read of a socket makes no cell")
    func sendNothing() throws {
        let circuit = try TestCircuit()
        let (client, _) = try #require(circuit.openStream())
        let count = circuit.client.cellCount
        client.stream?.send(ByteBuffer())
        circuit.settle()
        #expect(circuit.client.cellCount == count)
    }

    @Test("a socket that breaks off as it hears of the far end's Finished ends the stream once, with its own reason")
    func endWithinFinish() throws {
        let circuit = try TestCircuit()
        let (client, exit) = try #require(circuit.openStream())
        client.write(atMost: 1)
        circuit.settle()
        client.onFinished = { client.stream?.end(.reset) }
        exit.write(atMost: 1)
        circuit.settle()
        #expect(circuit.client.closed.count == 1 && circuit.clientEndpoint.streamCount == 0)
        let late = TestSocket("late")
        late.attach(to: try #require(client.stream))
        #expect(late.endings == [.reset])
    }

    @Test("a second Finished destroys the circuit")
    func finishedTwice() throws {
        let circuit = try TestCircuit()
        let (client, _) = try #require(circuit.openStream())
        let id = try #require(client.stream?.id)
        let end: [UInt8] = [EndReason.finished.rawValue]
        circuit.forgeBackward([(.end, id, end), (.end, id, end)])
        #expect(circuit.client.failures == [.messageAfterEnd(.end)])
    }

    @Test("messages of the wrong length destroy the circuit")
    func wrongLengths() throws {
        let wrong: [(RelayCommand, [UInt8])] = [
            (.end, []), (.end, [1, 2]), (.xOff, [0]), (.xOn, []), (.xOn, [0, 0, 0]), (.xOn, [0, 0, 0, 0, 0]),
        ]
        for (command, data) in wrong {
            let circuit = try TestCircuit()
            let (client, _) = try #require(circuit.openStream())
            circuit.forgeBackward([(command, try #require(client.stream?.id), data)])
            #expect(circuit.client.failures == [.messageNotAllowed(command)], "\(command) \(data)")
        }
    }

    @Test("a look-up is answered once, and the stream is over")
    func lookup() throws {
        let circuit = try TestCircuit()
        var query = ByteBuffer()
        Resolve.addresses(of: "example.org").write(to: &query)
        let opener = TestOpener()
        let stream = try #require(circuit.clientEndpoint.open(.resolve, data: query))
        stream.opener = opener
        circuit.settle()
        let answer = Resolved.answers([.init(.address(.v4(1)), ttlSeconds: 5)])
        circuit.exit.opened.first?.stream.resolved(answer)
        circuit.settle()
        #expect(opener.resolved == [answer])
        #expect(circuit.clientEndpoint.streamCount == 0 && circuit.exitEndpoint.streamCount == 0)
        var data = ByteBuffer()
        answer.write(to: &data)
        circuit.forgeBackward([(.resolved, stream.id, Array(buffer: data))])
        #expect(circuit.client.failures == [.messageAfterEnd(.resolved)])
    }

    @Test("a look-up is not connected, and a stream is not answered like a look-up", arguments: [true, false])
    func otherAnswer(isLookup: Bool) throws {
        let circuit = try TestCircuit()
        var data = ByteBuffer()
        Resolve.addresses(of: "example.org").write(to: &data)
        if !isLookup {
            data.clear()
            Begin(target: .host("example.org", port: 80)).write(to: &data)
        }
        let stream = try #require(circuit.clientEndpoint.open(isLookup ? .resolve : .begin, data: data))
        circuit.settle()
        var answer = ByteBuffer()
        if isLookup {
            Connected(address: .v4(1), ttlSeconds: 5).write(to: &answer)
        } else {
            Resolved.answers([.init(.address(.v4(1)), ttlSeconds: 5)]).write(to: &answer)
        }
        let command: RelayCommand = isLookup ? .connected : .resolved
        circuit.forgeBackward([(command, stream.id, Array(buffer: answer))])
        #expect(circuit.client.failures == [.messageNotAllowed(command)])
    }

    @Test("the answer to a look-up that was given up is dropped")
    func lookupGivenUp() throws {
        let circuit = try TestCircuit()
        var query = ByteBuffer()
        Resolve.addresses(of: "example.org").write(to: &query)
        let stream = try #require(circuit.clientEndpoint.open(.resolve, data: query))
        circuit.settle()
        circuit.exit.opened.first?.stream.resolved(.failed(.noSuchName))
        stream.end(.unspecified)
        circuit.settle()
        #expect(circuit.client.failures.isEmpty && circuit.exit.failures.isEmpty)
        #expect(circuit.clientEndpoint.streamCount == 0 && circuit.exitEndpoint.streamCount == 0)
    }

    @Test("a half-closed stream that is idle for too long ends on both sides", arguments: [true, false])
    func idle(byClient: Bool) throws {
        let circuit = try TestCircuit(idle: .seconds(10))
        let (client, exit) = try #require(circuit.openStream())
        (byClient ? client : exit).write(atMost: 1)
        circuit.settle()
        circuit.advance(by: .seconds(10))
        circuit.exitEndpoint.tick(now: circuit.loop.now)
        circuit.settle()
        #expect(client.endings.isEmpty && exit.endings.isEmpty)
        circuit.advance(by: .seconds(1))
        circuit.exitEndpoint.tick(now: circuit.loop.now)
        circuit.settle()
        #expect(client.endings == [.timedOut] && exit.endings == [.timedOut])
        #expect(circuit.clientEndpoint.streamCount == 0 && circuit.exitEndpoint.streamCount == 0)
    }

    @Test("an open stream may be idle for ever")
    func openIsNotIdle() throws {
        let circuit = try TestCircuit(idle: .seconds(10))
        let (client, exit) = try #require(circuit.openStream())
        circuit.advance(by: .hours(1))
        circuit.exitEndpoint.tick(now: circuit.loop.now)
        circuit.clientEndpoint.tick(now: circuit.loop.now)
        circuit.settle()
        #expect(client.endings.isEmpty && exit.endings.isEmpty)
    }
}
