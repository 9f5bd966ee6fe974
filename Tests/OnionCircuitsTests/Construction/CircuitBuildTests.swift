import OnionCells
import OnionCircuits
import Testing

@Suite("Circuit build")
struct CircuitBuildTests {
    private typealias Build = CircuitBuild<String>
    private let path = ["guard", "middle", "exit"]

    /// A build that waits for hop number `hop`.
    private func build(waitingFor hop: Int) throws -> Build {
        var build = Build(path: self.path)
        _ = build.start()
        for done in 0..<hop {
            _ = done == 0 ? try build.createdReceived() : try build.extendedReceived(from: done - 1)
            _ = build.handshakeCompleted()
        }
        return build
    }

    @Test("builds hop by hop")
    func builds() throws {
        var build = Build(path: self.path)
        #expect(build.start() == .sendCreate(to: "guard"))
        #expect(build.hopCount == 0)
        #expect(try build.createdReceived() == .verifyHandshake(hop: 0))
        #expect(build.handshakeCompleted() == .sendExtend(to: "middle", from: 0))
        #expect(build.hopCount == 1)
        #expect(try build.extendedReceived(from: 0) == .verifyHandshake(hop: 1))
        #expect(build.handshakeCompleted() == .sendExtend(to: "exit", from: 1))
        #expect(try build.extendedReceived(from: 1) == .verifyHandshake(hop: 2))
        #expect(build.handshakeCompleted() == .ready)
        #expect(build.isReady)
        #expect(build.hopCount == 3)
        #expect(build.timerFired() == .none)
    }

    @Test("one hop is ready after Created")
    func oneHop() throws {
        var build = Build(path: ["only"])
        _ = build.start()
        _ = try build.createdReceived()
        #expect(build.handshakeCompleted() == .ready)
    }

    @Test("a reply that is not due is the peer's fault")
    func replyNotDue() throws {
        let refusal = CircuitError.replyNotDue
        var idle = Build(path: self.path)
        #expect(throws: refusal) { try idle.createdReceived() }
        var first = try self.build(waitingFor: 0)
        #expect(throws: refusal) { try first.extendedReceived(from: 0) }
        _ = try first.createdReceived()
        #expect(throws: refusal) { try first.createdReceived() }
        var second = try self.build(waitingFor: 1)
        #expect(throws: refusal) { try second.createdReceived() }
        #expect(throws: refusal) { try second.extendedReceived(from: 1) }
        _ = try second.extendedReceived(from: 0)
        #expect(throws: refusal) { try second.extendedReceived(from: 0) }
        // An inner hop must not speak for the last.
        var third = try self.build(waitingFor: 2)
        #expect(throws: refusal) { try third.extendedReceived(from: 0) }
        var ready = try self.build(waitingFor: 3)
        #expect(ready.isReady)
        #expect(throws: refusal) { try ready.extendedReceived(from: 2) }
        #expect(throws: refusal) { try ready.createdReceived() }
    }

    @Test("every way to fail names the hop that was waited for, once", arguments: 0...2)
    func fails(hop: Int) throws {
        let start = try self.build(waitingFor: hop)
        var build = start
        #expect(build.timerFired() == .failed(.buildTimedOut(hop: hop)))
        #expect(build.timerFired() == .none)
        #expect(build.linkLost() == .none)
        #expect(try build.createdReceived() == .none)
        #expect(try build.extendedReceived(from: 0) == .none)
        #expect(build.handshakeCompleted() == .none)
        build = start
        #expect(build.handshakeFailed() == .failed(.handshakeFailed(hop: hop)))
        build = start
        #expect(build.destroyReceived(.resourceLimit) == .failed(.destroyed(hop: hop, .resourceLimit)))
        build = start
        #expect(build.truncatedReceived(from: 0, .connectFailed) == .failed(.truncated(by: 0, .connectFailed)))
        build = start
        #expect(build.linkLost() == .failed(.linkLost))
        #expect(build.isFailed)
        #expect(build.hopCount == 0)
    }

    @Test("a complete circuit can still be lost")
    func lostLater() throws {
        var build = try self.build(waitingFor: 3)
        #expect(build.destroyReceived(.unspecified) == .failed(.destroyed(hop: nil, .unspecified)))
        build = try self.build(waitingFor: 3)
        #expect(build.truncatedReceived(from: 1, .linkLost) == .failed(.truncated(by: 1, .linkLost)))
    }

    @Test("knows which hop is the last at each moment")
    func positions() throws {
        var build = try self.build(waitingFor: 2)
        #expect(build.position(of: 0) == .innerHop)
        #expect(build.position(of: 1) == .extendingHop)
        _ = try build.extendedReceived(from: 1)
        #expect(build.position(of: 1) == .innerHop)
        _ = build.handshakeCompleted()
        #expect(build.position(of: 1) == .innerHop)
        #expect(build.position(of: 2) == .lastHop)
    }
}
