import NIOCore
import NIOEmbedded
import OnionCells
import OnionCrypto

@testable import OnionLink
@testable import OnionRouter

/// An OR's event loop with the links of a proxy and of two ORs, all played by the fuzzer, and nothing behind them.
final class WatchedRouter {
    let eventLoop = EmbeddedEventLoop()
    let loop: RouterLoop
    private(set) var peers: [RouterPeer] = []
    /// What the neighbours answer, by their link keys.
    private let responders = Dictionary(
        uniqueKeysWithValues: RouterFixture.shared.neighbours.map { ($0.linkKey, $0.handshakes.makeResponder()) })
    /// By their answers, those of the next hops' circuits that have been made.
    private var answers: [[UInt8]: RouterPeer.Next] = [:]
    /// Whether a next hop has ever answered otherwise than it should: the OR cannot know, and the client will.
    var hasForgedAnswers = false

    /// Links that are opened in one run, at most.
    private static let peerLimit = 8

    init() {
        let shared = RouterFixture.shared.makeShared(on: self.eventLoop)
        self.loop = RouterLoop(eventLoop: self.eventLoop, shared: shared)
        self.connect(0)
        self.connect(1)
    }

    /// A proxy, or one of the two ORs, which has dialled or been dialled.
    func connect(_ number: Int) {
        guard self.peers.count < Self.peerLimit else { return }
        let neighbour = number % 3 == 0 ? nil : RouterFixture.shared.neighbours[number % 3 - 1]
        self.peers.append(
            RouterPeer(self, neighbour: neighbour, isDialledByRouter: neighbour != nil && number & 4 != 0))
        self.run()
    }

    func peer(_ number: Int) -> RouterPeer { self.peers[number % self.peers.count] }

    /// What a neighbour answers to a Create; nil if it is bad.
    func respond(to create: [UInt8], as neighbour: RouterFixture.Neighbour) -> (created: [UInt8], keys: CircuitKeys)? {
        self.responders[neighbour.linkKey]?(create)
    }

    func answered(_ created: [UInt8], by next: RouterPeer.Next) { self.answers[created] = next }

    func next(thatAnswered created: [UInt8]) -> RouterPeer.Next? { self.answers[created] }

    func run() {
        self.eventLoop.run()
        for peer in self.peers { peer.readWritten() }
    }

    func pass(_ time: TimeAmount) {
        self.eventLoop.advanceTime(by: time)
        self.run()
    }

    func see(_ view: NetworkView) {
        self.loop.shared.publish(view)
        self.loop.update(view)
        self.run()
    }

    /// Close every link: nothing of any circuit may be left.
    func end() {
        for peer in self.peers { peer.setWritable(true) }
        // What waits for an answer or a newer consensus has waited long enough.
        if self.loop.circuitCount > 0 { self.pass(.seconds(20)) } else { self.run() }
        for peer in self.peers { peer.channel.close(promise: nil) }
        self.run()
        precondition(self.loop.circuitCount == 0, "a circuit outlives its link")
        precondition(self.loop.queues.byteCount == 0, "cells of closed links are still counted")
        self.loop.stop()
        self.run()
        for peer in self.peers { _ = try? peer.channel.finish(acceptAlreadyClosed: true) }
        self.peers = []
    }
}

extension RouterPeer {
    func setWritable(_ isWritable: Bool) {
        self.channel.isWritable = isWritable
        self.channel.pipeline.fireChannelWritabilityChanged()
    }
}
