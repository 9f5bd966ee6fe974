import CoreMetrics
import NIOCore
import OnionCells
import OnionLink

// The account of what waits on this loop, and what happens when it is too much.

extension RouterLoop {
    func link(_ link: Link, queuesChanged traffic: [CircuitID: QueueTraffic]) {
        self.queues.changed(ObjectIdentifier(link), traffic, now: self.eventLoop.now)
        if self.queues.isOverCeiling { self.scheduleRelief() }
    }

    /// The streams of a circuit that ends here hold more or fewer bytes than before.
    func bytesChanged(_ exit: ExitCircuit) {
        let (added, removed) = exit.takeTraffic()
        guard added + removed > 0 else { return }
        self.queues.changed(exit, added: added, removed: removed, now: self.eventLoop.now)
        if self.queues.isOverCeiling { self.scheduleRelief() }
    }

    /// Queues that may be found to hold nothing but goodbyes before the rest waits for another turn.
    private static let fruitlessLimit = 64

    /// Destroy the circuits with the oldest queues until the rest may stay. By the queue: a circuit must not go while one
    /// of its cells is being read or made.
    private func scheduleRelief() {
        guard !self.isReliefScheduled else { return }
        self.isReliefScheduled = true
        let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
        self.eventLoop.execute {
            bound.value.isReliefScheduled = false
            bound.value.relieve()
        }
    }

    private func relieve() {
        var fruitlessCount = 0
        while fruitlessCount < Self.fruitlessLimit, let victim = self.queues.victim {
            let before = self.queues.byteCount
            self.shared.metrics.reached(.queuedBytes)
            switch victim {
            case .cells(let key, let id): self.giveUp(id, onLink: key)
            case .streams(let key): if let exit = self.queues.exits[key] { self.giveUp(exit) }
            }
            self.queues.relieved(victim, now: self.eventLoop.now)
            // A cell that says goodbye stays; it is the youngest now.
            if self.queues.byteCount >= before { fruitlessCount += 1 }
        }
    }

    private func giveUp(_ id: CircuitID, onLink key: ObjectIdentifier) {
        guard let link = self.openLink(key) else { return }
        // A peer that makes us answer and does not read the answers.
        if id == .link { return link.close(.frozen) }
        self.link(link, overflowed: id)
        link.report()
    }

    private func giveUp(_ exit: ExitCircuit) {
        self.fail(exit.circuit, reason: .resourceLimit)
        exit.abandon()
        self.bytesChanged(exit)
    }
}
