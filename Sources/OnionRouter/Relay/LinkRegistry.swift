import NIOConcurrencyHelpers
import NIOCore
import OnionCrypto
import OnionLink

/// Which links there are to other ORs, by their identity; shared by all event loops, asked once a circuit.
///
/// When two ORs have dialled each other at once, both links stay; new circuits go on the one dialled by the lower
/// identity.
///
/// - Source: DESIGN §5
final class LinkRegistry: Sendable {
    private struct Entry {
        var dialled: LinkHandle?
        var accepted: LinkHandle?
        var dialling: EventLoopFuture<LinkHandle>?
        var isEmpty: Bool { self.dialled == nil && self.accepted == nil && self.dialling == nil }
    }

    private let ownIdentity: Ed25519PublicKey
    private let entries = NIOLockedValueBox<[Ed25519PublicKey: Entry]>([:])

    init(ownIdentity: Ed25519PublicKey) { self.ownIdentity = ownIdentity }

    /// Return the link to `identity`, or the one that is being dialled, or what `dial` begins.
    ///
    /// - Parameter dial: called with the lock held, so it must only start things, and ask nothing of the registry.
    func link(
        to identity: Ed25519PublicKey, on eventLoop: any EventLoop, dial: () -> EventLoopFuture<LinkHandle>
    ) -> EventLoopFuture<LinkHandle> {
        let own = self.ownIdentity
        return self.entries.withLockedValue { entries in
            var entry = entries[identity, default: Entry()]
            let preferred = own < identity ? entry.dialled ?? entry.accepted : entry.accepted ?? entry.dialled
            if let preferred { return eventLoop.makeSucceededFuture(preferred) }
            if let dialling = entry.dialling { return dialling }
            let dialling = dial()
            entry.dialling = dialling
            entries[identity] = entry
            return dialling
        }
    }

    /// A link to `identity` is open.
    func opened(_ link: LinkHandle, to identity: Ed25519PublicKey, isDialled: Bool) {
        self.entries.withLockedValue { entries in
            if isDialled {
                entries[identity, default: Entry()].dialled = link
                entries[identity]?.dialling = nil
            } else {
                entries[identity, default: Entry()].accepted = link
            }
        }
    }

    func diallingFailed(_ identity: Ed25519PublicKey) {
        self.update(identity) { $0.dialling = nil }
    }

    /// The link takes no more circuits: it is closed, spent, or its OR has left the consensus.
    func retire(_ key: ObjectIdentifier, of identity: Ed25519PublicKey) {
        self.update(identity) { entry in
            if entry.dialled?.key == key { entry.dialled = nil }
            if entry.accepted?.key == key { entry.accepted = nil }
        }
    }

    private func update(_ identity: Ed25519PublicKey, _ change: (inout Entry) -> Void) {
        self.entries.withLockedValue { entries in
            guard var entry = entries[identity] else { return }
            change(&entry)
            entries[identity] = entry.isEmpty ? nil : entry
        }
    }
}
