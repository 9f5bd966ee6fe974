import NIOCore
import OnionCrypto
package import OnionDirectory

/// Names one directory connection for as long as the server runs; never used twice.
package struct ConnectionID: Hashable, Sendable {
    package let rawValue: UInt64

    package init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// What the registry knows of a router that has proved itself at least once.
struct RouterEntry: Sendable {
    /// Whether the router is in the consensus, and why.
    enum Standing: Equatable, Sendable {
        /// Heard from; up without a break since then.
        case running(since: NIODeadline)
        /// Not heard from, but kept, because the fault is likely the server's own.
        case held
        /// Not in the consensus.
        case absent
    }

    /// The newest that a probe has proved.
    var descriptor: SignedDescriptor
    /// Unix seconds of the first registration that was accepted.
    let firstSeen: UInt64
    /// Unix seconds of the last sign of life.
    var lastSeen: UInt64
    var standing: Standing
    /// Why it came into the list, or went out of it, the last time.
    var reason: ListingReason
    /// The last sign of life on the server's own clock.
    var lastHeard: NIODeadline
    /// When a heartbeat last made the server probe.
    var lastDoubted: NIODeadline?
    /// When its last change is published, and until when its changes so far count against the next one.
    var changeDue: NIODeadline?
    var changesCountUntil = NIODeadline.uptimeNanoseconds(0)
    /// The connection whose events count; nil while the router has none.
    var connection: ConnectionID?
    /// Of the last heartbeat on this connection.
    var heartbeatCounter: UInt64?
    /// Whether its policy lets any port through; computed once per descriptor.
    var isExit: Bool

    var isListed: Bool { self.standing != .absent }
}

/// What the store keeps of a router.
package struct StoredRouter: Equatable, Sendable {
    package var descriptor: SignedDescriptor
    package var firstSeen: UInt64
    package var lastSeen: UInt64
    package var isListed: Bool

    package init(descriptor: SignedDescriptor, firstSeen: UInt64, lastSeen: UInt64, isListed: Bool) {
        self.descriptor = descriptor
        self.firstSeen = firstSeen
        self.lastSeen = lastSeen
        self.isListed = isListed
    }
}
