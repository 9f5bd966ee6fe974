import NIOCore
import OnionCrypto

/// The few routers that a client ever begins its circuits at, preferred first; one is in use, and it is slow to change.
///
/// The sample is drawn once. A guard that cannot be reached is passed over for a while and then probed, not replaced: who
/// can make guards fail must not be able to walk the client on until it comes to his own. When none of the sample can
/// be reached, the fault is likely this machine's network: the client waits and probes, and draws nothing.
///
///     reachable ── failed ──▶ unreachable until a time ── probe due ──▶ (probe) ── reached ──▶ reachable
///          ▲                          ▲                                    └─ failed: waits twice as long ─┐
///          └── reached                └────────────────────────────────────────────────────────────────────┘
///
/// A link says that a guard may be tried again; that it works is shown by a circuit alone. Until then its next failure
/// makes it wait twice as long: a guard that takes links and answers no Create would stall builds again and again.
///
/// Only what the directory itself says changes the sample: it is topped up while it is small, and a guard that has been
/// out of the consensus for weeks leaves it.
///
/// - Source: DESIGN §9 *Order*, §10; C Tor's guard-spec, much reduced
struct GuardSample: Equatable, Sendable {
    struct Member: Equatable, Sendable {
        let identity: Ed25519PublicKey
        /// Unix seconds, to the day: the file need not say more.
        let addedAt: UInt64
        /// Since when it has been out of the consensus, in Unix seconds; nil while it is in.
        var unlistedSince: UInt64?
    }

    private struct Trouble: Equatable, Sendable {
        var retryAt: NIODeadline
        var isProbing: Bool
    }

    /// Preferred first.
    private(set) var members: [Member]
    /// Those that could not be reached. Not kept on disk: a new start is a new chance.
    private var troubles: [Ed25519PublicKey: Trouble] = [:]
    /// How often each has failed since a circuit became ready through it; also of those that are in no trouble now.
    private var failureCounts: [Ed25519PublicKey: Int] = [:]
    /// Since when no member at all has been in the consensus.
    private var allUnlistedSince: NIODeadline?

    /// The first wait before a guard is probed again; it doubles from failure to failure.
    static let firstRetry = TimeAmount.seconds(15)
    static let longestRetry = TimeAmount.minutes(30)
    /// While none can be reached each is probed this often at least: the network may be back.
    static let longestRetryWhenNoneWorks = TimeAmount.seconds(2)
    /// A member that has been out of the consensus for so long leaves.
    static let unlistedSeconds: UInt64 = 20 * 86_400
    /// With no member in the consensus for so long, the sample may grow, up to ``growthLimit`` times its size.
    static let allUnlistedPatience = TimeAmount.minutes(15)
    static let growthLimit = 2

    init(members: [Member] = []) { self.members = members }

    // MARK: Facts

    var identities: [Ed25519PublicKey] { self.members.map(\.identity) }

    /// The members that circuits may begin at now, preferred first; the first is the one in use.
    ///
    /// - Parameter isListed: whether the consensus has it as a guard.
    func usable(isListed: (Ed25519PublicKey) -> Bool) -> [Ed25519PublicKey] {
        self.identities.filter { self.troubles[$0] == nil && isListed($0) }
    }

    /// Whether every listed member has failed, so that the client's own network is to be suspected.
    func isNetworkSuspected(isListed: (Ed25519PublicKey) -> Bool) -> Bool {
        let listed = self.identities.filter(isListed)
        return !listed.isEmpty && listed.allSatisfy { self.troubles[$0] != nil }
    }

    // MARK: The directory's word

    /// Note which members the consensus has, and tell how many new ones are to be drawn.
    ///
    /// - Parameters:
    ///   - size: the network parameter `guard-sample-size`.
    ///   - unixTime: Unix seconds.
    mutating func consensusChanged(
        size: Int, isListed: (Ed25519PublicKey) -> Bool, unixTime: UInt64, now: NIODeadline
    ) -> Int {
        for index in self.members.indices {
            if isListed(self.members[index].identity) {
                self.members[index].unlistedSince = nil
            } else if self.members[index].unlistedSince == nil {
                self.members[index].unlistedSince = unixTime
            }
        }
        self.members.removeAll { member in
            member.unlistedSince.map { unixTime >= $0 && unixTime - $0 >= Self.unlistedSeconds } ?? false
        }
        let present = Set(self.identities)
        self.troubles = self.troubles.filter { present.contains($0.key) }
        self.failureCounts = self.failureCounts.filter { present.contains($0.key) }
        return self.vacancies(size: size, now: now)
    }

    private mutating func vacancies(size: Int, now: NIODeadline) -> Int {
        let isAllUnlisted = !self.members.isEmpty && self.members.allSatisfy { $0.unlistedSince != nil }
        guard isAllUnlisted else {
            self.allUnlistedSince = nil
            return max(0, size - self.members.count)
        }
        let since = self.allUnlistedSince ?? now
        self.allUnlistedSince = since
        guard now - since >= Self.allUnlistedPatience else { return 0 }
        return min(size, max(0, size * Self.growthLimit - self.members.count))
    }

    /// Add what was drawn, behind those there are.
    mutating func add(_ identities: [Ed25519PublicKey], unixTime: UInt64) {
        var present = Set(self.identities)
        for identity in identities where present.insert(identity).inserted {
            self.members.append(Member(identity: identity, addedAt: unixTime / 86_400 * 86_400))
        }
    }

    // MARK: What links show

    /// A link to the guard opened: circuits may begin at it again.
    ///
    /// When none could be reached before, it was the network: all get another chance, so that the preferred one is
    /// taken up again and not the one that was probed first, and what has failed counts against none.
    mutating func reached(_ identity: Ed25519PublicKey, isListed: (Ed25519PublicKey) -> Bool) {
        if self.isNetworkSuspected(isListed: isListed) {
            self.troubles = [:]
            self.failureCounts = [:]
        } else {
            self.troubles[identity] = nil
        }
    }

    /// A circuit became ready through the guard: its failures of before are over.
    mutating func worked(_ identity: Ed25519PublicKey) { self.failureCounts[identity] = nil }

    /// The guard could not be reached, or stopped answering.
    mutating func failed(_ identity: Ed25519PublicKey, now: NIODeadline) {
        guard self.members.contains(where: { $0.identity == identity }) else { return }
        let count = self.failureCounts[identity, default: 0] + 1
        self.failureCounts[identity] = count
        let wait = min(Self.firstRetry * (1 << min(count - 1, 10)), Self.longestRetry)
        self.troubles[identity] = Trouble(retryAt: now + wait, isProbing: false)
    }

    /// The members to open a link to, to see whether they can be reached again; each is then expected to be reached or
    /// to fail.
    mutating func probesDue(isListed: (Ed25519PublicKey) -> Bool, now: NIODeadline) -> [Ed25519PublicKey] {
        let isSuspected = self.isNetworkSuspected(isListed: isListed)
        var due: [Ed25519PublicKey] = []
        for identity in self.identities where isListed(identity) {
            guard var trouble = self.troubles[identity], !trouble.isProbing else { continue }
            if isSuspected { trouble.retryAt = min(trouble.retryAt, now + Self.longestRetryWhenNoneWorks) }
            if trouble.retryAt <= now {
                trouble.isProbing = true
                due.append(identity)
            }
            self.troubles[identity] = trouble
        }
        return due
    }
}
