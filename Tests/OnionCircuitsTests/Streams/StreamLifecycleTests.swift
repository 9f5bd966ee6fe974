import OnionCells
import OnionCircuits
import TestSupport
import Testing

@Suite("Stream lifecycle")
struct StreamLifecycleTests {
    private func openClient() throws -> StreamLifecycle {
        var stream = StreamLifecycle(role: .client)
        #expect(try stream.connectedReceived() == .open)
        return stream
    }

    private func openExit() -> StreamLifecycle {
        var stream = StreamLifecycle(role: .exit)
        #expect(stream.connectionEstablished() == .sendConnected)
        return stream
    }

    @Test("a client may send before Connected, an exit may not")
    func optimisticData() throws {
        #expect(StreamLifecycle(role: .client).canSendData)
        #expect(!StreamLifecycle(role: .exit).canSendData)
        var exit = StreamLifecycle(role: .exit)
        #expect(try exit.dataReceived() == .hold)
        #expect(exit.connectionEstablished() == .sendConnected)
        #expect(try exit.dataReceived() == .deliver)
        #expect(exit.canSendData)
    }

    @Test("a client's Finished before Connected is kept until the connection stands")
    func earlyFinish() throws {
        var client = StreamLifecycle(role: .client)
        #expect(client.localFinished() == .sendEnd(.finished))
        #expect(!client.canSendData)
        #expect(try client.connectedReceived() == .open)
        #expect(try client.dataReceived() == .deliver)

        var exit = StreamLifecycle(role: .exit)
        #expect(try exit.endReceived(.finished) == .holdFinish)
        #expect(exit.connectionEstablished() == .sendConnectedThenFinishOutput)
        #expect(exit.localFinished() == .sendEndAndClose(.finished))
        #expect(exit.isClosed)
    }

    @Test("each side finishes on its own; the second ends the stream")
    func halfClose() throws {
        var first = try self.openClient()
        #expect(first.localFinished() == .sendEnd(.finished))
        #expect(first.isHalfClosed)
        #expect(try first.dataReceived() == .deliver)
        #expect(try first.endReceived(.finished) == .finishOutputAndClose)
        #expect(first.isClosed)
        #expect(first.hasPeerEnded)

        var second = self.openExit()
        #expect(try second.endReceived(.finished) == .finishOutput)
        #expect(second.isHalfClosed)
        #expect(second.canSendData)
        #expect(second.localFinished() == .sendEndAndClose(.finished))
        #expect(!second.isHalfClosed)
    }

    @Test("any other reason ends both directions at once", arguments: EndReason.allCases.filter { $0 != .finished })
    func otherReasons(reason: EndReason) throws {
        var opening = StreamLifecycle(role: .client)
        #expect(try opening.endReceived(reason) == .close(reason))
        #expect(opening.isClosed)
        var open = try self.openClient()
        #expect(try open.endReceived(reason) == .close(reason))
        #expect(open.isClosed)
        #expect(open.localFinished() == .none)
        #expect(open.localEnded(.reset) == .none)
    }

    @Test("Data after the sender's own End destroys the circuit")
    func dataAfterEnd() throws {
        var finished = self.openExit()
        #expect(try finished.endReceived(.finished) == .finishOutput)
        #expect(throws: CircuitError.messageAfterEnd(.data)) { try finished.dataReceived() }

        var held = StreamLifecycle(role: .exit)
        #expect(try held.endReceived(.finished) == .holdFinish)
        #expect(throws: CircuitError.messageAfterEnd(.data)) { try held.dataReceived() }

        var reset = self.openExit()
        #expect(try reset.endReceived(.reset) == .close(.reset))
        #expect(throws: CircuitError.messageAfterEnd(.data)) { try reset.dataReceived() }
    }

    @Test("what was in flight when we ended is dropped, until the peer's End")
    func inFlight() throws {
        var stream = try self.openClient()
        #expect(stream.localEnded(.reset) == .sendEndAndClose(.reset))
        #expect(!stream.hasPeerEnded)
        #expect(try stream.dataReceived() == .drop)
        #expect(try stream.endReceived(.finished) == .drop)
        #expect(stream.hasPeerEnded)
        #expect(throws: CircuitError.messageAfterEnd(.data)) { try stream.dataReceived() }
        #expect(throws: CircuitError.messageAfterEnd(.end)) { try stream.endReceived(.finished) }
        // A Finished and then a reset may both have been in flight.
        #expect(try stream.endReceived(.reset) == .drop)
    }

    @Test("a reset that crosses our End after the peer's Finished is dropped")
    func crossing() throws {
        var stream = self.openExit()
        #expect(try stream.endReceived(.finished) == .finishOutput)
        #expect(stream.localEnded(.reset) == .sendEndAndClose(.reset))
        #expect(try stream.endReceived(.reset) == .drop)
    }

    @Test("a peer that has finished may still give up receiving, but not finish again")
    func finishTwice() throws {
        var stream = self.openExit()
        #expect(try stream.endReceived(.finished) == .finishOutput)
        #expect(throws: CircuitError.messageAfterEnd(.end)) { try stream.endReceived(.finished) }
        #expect(try stream.endReceived(.reset) == .close(.reset))

        var held = StreamLifecycle(role: .exit)
        #expect(try held.endReceived(.finished) == .holdFinish)
        #expect(throws: CircuitError.messageAfterEnd(.end)) { try held.endReceived(.finished) }
        #expect(try held.endReceived(.reset) == .close(.reset))
    }

    @Test("a Connected that we no longer wait for is dropped; a second, or one to an exit, is refused")
    func connected() throws {
        var ended = StreamLifecycle(role: .client)
        #expect(ended.localEnded(.unspecified) == .sendEndAndClose(.unspecified))
        #expect(try ended.connectedReceived() == .drop)
        var open = try self.openClient()
        #expect(throws: CircuitError.messageNotAllowed(.connected)) { try open.connectedReceived() }
        var exit = StreamLifecycle(role: .exit)
        #expect(throws: CircuitError.messageNotAllowed(.connected)) { try exit.connectedReceived() }
        var refused = StreamLifecycle(role: .client)
        #expect(try refused.endReceived(.exitPolicy) == .close(.exitPolicy))
        #expect(throws: CircuitError.messageAfterEnd(.connected)) { try refused.connectedReceived() }
    }

    @Test("an exit says Connected before Data and before Finished")
    func connectedFirst() {
        var stream = StreamLifecycle(role: .client)
        #expect(throws: CircuitError.messageBeforeConnected(.data)) { try stream.dataReceived() }
        #expect(throws: CircuitError.messageBeforeConnected(.end)) { try stream.endReceived(.finished) }
    }

    @Test("a connection that stands after the stream was ended is closed")
    func lateConnection() throws {
        var stream = StreamLifecycle(role: .exit)
        #expect(try stream.endReceived(.unspecified) == .close(.unspecified))
        #expect(stream.connectionEstablished() == .closeConnection)
    }

    /// Two ends that keep the rules, with messages in flight both ways, never accuse each other.
    @Test("honest ends never break a rule, whatever the timing", arguments: UInt64(1)...50)
    func honest(seed: UInt64) throws {
        print("seed", seed)
        var random = SplitMix64(seed)
        enum Message { case connected, data, end(EndReason) }
        for _ in 0..<200 {
            var ends = [StreamLifecycle(role: .client), StreamLifecycle(role: .exit)]
            var wires: [[Message]] = [[], []]  // wires[n]: towards end n
            var connects = false
            func say(_ action: StreamLifecycle.OnLocalEnd, from end: Int) {
                switch action {
                case .sendEnd(let reason), .sendEndAndClose(let reason): wires[1 - end].append(.end(reason))
                case .none: break
                }
            }
            for _ in 0..<60 {
                let end = Int.random(in: 0...1, using: &random)
                switch Int.random(in: 0..<10, using: &random) {
                case 0..<4:
                    guard !wires[end].isEmpty else { continue }
                    switch wires[end].removeFirst() {
                    case .connected: _ = try ends[end].connectedReceived()
                    case .data: _ = try ends[end].dataReceived()
                    case .end(let reason): _ = try ends[end].endReceived(reason)
                    }
                case 4..<7: if ends[end].canSendData { wires[1 - end].append(.data) }
                case 7: if ends[end].canSendData { say(ends[end].localFinished(), from: end) }
                case 8:
                    if Int.random(in: 0..<4, using: &random) == 0 { say(ends[end].localEnded(.reset), from: end) }
                default:
                    if !connects {
                        connects = true
                        switch ends[1].connectionEstablished() {
                        case .sendConnected, .sendConnectedThenFinishOutput: wires[0].append(.connected)
                        case .closeConnection: break
                        }
                    }
                }
            }
        }
    }
}
