import DirectoryClient
import NIOCore
import OnionCrypto
import OnionDirectory
import OnionLink

/// The links to guards: at most one to each, dialled when it is first needed.
///
/// Lives on the client's event loop.
final class GuardLinks {
    private let eventLoop: any EventLoop
    private let timeLimit: TimeAmount
    private let dial: GuardLink.Dial
    private weak var owner: (any GuardLinkOwner)?
    /// What links may queue and how long they may be silent, as the consensus says.
    var limits = LinkLimits(NetworkParameters()) {
        didSet { for link in self.links.values { link.update(self.limits) } }
    }
    private var links: [Ed25519PublicKey: GuardLink] = [:]

    init(eventLoop: any EventLoop, timeLimit: TimeAmount, dial: @escaping GuardLink.Dial, owner: any GuardLinkOwner) {
        self.eventLoop = eventLoop
        self.timeLimit = timeLimit
        self.dial = dial
        self.owner = owner
    }

    /// Begin the circuit on the link to its guard.
    func begin(_ circuit: ClientCircuit) { self.link(to: circuit.guardRouter).add(circuit) }

    /// Open a link to a guard to see whether it can be reached; a link that stands already says so, too.
    func probe(_ router: ConsensusRouter) {
        let link = self.link(to: router)
        if link.isOpen { self.owner?.guardLinkOpened(link) }
    }

    func closeAll() {
        let links = self.links.sorted { $0.key < $1.key }.map(\.value)
        self.links = [:]
        for link in links { link.close() }
    }

    private func link(to router: ConsensusRouter) -> GuardLink {
        // A guard that has changed its link key gets a new link; the old one lives as long as its circuits.
        if let link = self.links[router.identity], !link.isSpent, link.router.linkKey == router.linkKey { return link }
        let link = GuardLink(
            router: router, eventLoop: self.eventLoop, dial: self.dial, owner: self, limits: self.limits)
        self.links[router.identity] = link
        link.start(timeLimit: self.timeLimit)
        return link
    }
}

extension GuardLinks: GuardLinkOwner {
    func guardLinkOpened(_ link: GuardLink) { self.owner?.guardLinkOpened(link) }

    func guardLink(_ link: GuardLink, ended reason: GuardLink.Ending) {
        if self.links[link.router.identity] === link { self.links[link.router.identity] = nil }
        self.owner?.guardLink(link, ended: reason)
    }
}

@available(*, unavailable)
extension GuardLinks: Sendable {}
