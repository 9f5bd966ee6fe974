package import NIOCore
package import OnionAddress
package import OnionCrypto
package import OnionDirectory

/// Knows the network's routers and decides which of them are in the consensus. A value: time comes in as an argument,
/// what is to be done goes out as a decision.
///
///                  registered                probe succeeded
///     (unknown) ───────────────▶ (probing) ───────────────────▶ running ◀──── heartbeat ────┐
///                                                               │     │                     │
///       three beats missed, or closed and the next probe failed │     │ most vanish at once │
///                                                               ▼     ▼                     │
///                            heartbeat: probe again ◀──────── absent  held ─────────────────┘
///                                                               ▲      │ grace over
///                                                               └──────┘
///
/// The specification has no name for *held*: the state of a router that is kept in the consensus although nothing was
/// heard from it, because the fault is likely the server's own: after its start, and when most vanish at once.
///
/// - Invariant: a router has at most one probe under way, and at most one connection whose events count.
/// - Source: DESIGN §9
package struct Registry: Sendable {
    /// A registration, or a doubt, that waits for its probe.
    struct Pending: Sendable {
        let probe: RouterProbe
        /// To be told how the registration went; nil when the probe is only to see if the router lives.
        var connection: ConnectionID?
        /// Where the registration came from.
        var network: IPPrefix?
    }

    package private(set) var limits: RegistryLimits
    private var admission: Admission
    var entries: [Ed25519PublicKey: RouterEntry] = [:]
    private var pending: [Ed25519PublicKey: Pending] = [:]
    private var routerOfConnection: [ConnectionID: Ed25519PublicKey] = [:]
    private var lastProbeNumber: UInt64 = 0
    var losses = LossWatch()
    /// Whether the next consensus differs from the last by more than its dates.
    var isChanged = true
    /// When there is a change to publish that is not due yet.
    var changesDue: NIODeadline?
    var lastRevision: UInt64
    var lastPublished: NIODeadline?

    /// Take up what the store kept: what was listed is held until the grace of a start is over.
    package init(
        limits: RegistryLimits, admission: Admission, stored: [StoredRouter], lastRevision: UInt64, now: NIODeadline
    ) {
        self.limits = limits
        self.admission = admission
        self.lastRevision = lastRevision
        // An older server took descriptors with several addresses.
        for router in stored
        where admission.admits(router.descriptor.identity) && router.descriptor.descriptor.addresses.count == 1 {
            self.entries[router.descriptor.identity] = RouterEntry(
                descriptor: router.descriptor, firstSeen: router.firstSeen, lastSeen: router.lastSeen,
                standing: router.isListed ? .held : .absent, reason: .listedBefore, lastHeard: now,
                isExit: router.descriptor.descriptor.exitPolicy.mayAllowAnything)
        }
        self.losses.started(until: now + limits.grace)
    }

    /// What the store is to keep.
    package var stored: [StoredRouter] {
        self.entries.values.map {
            StoredRouter(
                descriptor: $0.descriptor, firstSeen: $0.firstSeen, lastSeen: $0.lastSeen, isListed: $0.isListed)
        }
    }

    package var listedCount: Int { self.entries.values.count { $0.isListed } }

    // MARK: Events

    /// A descriptor came over a connection. Its signature was verified when it was decoded.
    ///
    /// - Parameters:
    ///   - network: where the connection comes from.
    ///   - peerKey: the link key that the connection's peer proved; nil without a certificate.
    ///   - unixSeconds: the wall clock, against which the descriptor's time is held.
    package mutating func registered(
        _ descriptor: SignedDescriptor, over connection: ConnectionID, from network: IPPrefix? = nil,
        peerKey: Ed25519PublicKey?, unixSeconds: UInt64
    ) -> RegistrationDecision {
        let router = descriptor.descriptor
        if let refusal = self.refusal(of: router, from: network, peerKey: peerKey, unixSeconds: unixSeconds) {
            return .refuse(refusal)
        }
        // One connection speaks for one router.
        if let other = self.routerOfConnection[connection], other != router.identity {
            self.forget(connection)
            // A registration of the other that waits for its probe is nobody's from now on.
            if self.pending[other]?.connection == connection { self.nobodyWaits(for: other) }
        }
        let previous = self.pending[router.identity]?.connection ?? self.entries[router.identity]?.connection
        if let previous, previous != connection { self.routerOfConnection[previous] = nil }
        if previous != connection { self.entries[router.identity]?.heartbeatCounter = nil }
        self.entries[router.identity]?.connection = connection
        self.routerOfConnection[connection] = router.identity
        let probe = self.startProbe(of: descriptor, for: connection, from: network)
        return .probe(probe, closing: previous == connection ? nil : previous)
    }

    /// A probe has an answer.
    package mutating func probeFinished(
        _ probe: RouterProbe, _ outcome: ProbeOutcome, now: NIODeadline, unixSeconds: UInt64
    ) -> ProbeDecision {
        let identity = probe.descriptor.identity
        // An allowed race: a newer registration, or the allow file, has overtaken the probe.
        guard let waiting = self.pending[identity], waiting.probe.number == probe.number else { return .none }
        self.pending[identity] = nil
        let refusal: RegistrationRefusal
        switch outcome {
        case .completed:
            self.proved(waiting, now: now, unixSeconds: unixSeconds)
            return waiting.connection.map { .accept($0) } ?? .none
        case .unreachable: refusal = .unreachable
        case .handshakeFailed: refusal = .handshakeFailed
        }
        self.lose([identity], because: waiting.connection == nil ? .closed : .refused, now: now)
        guard let connection = waiting.connection else { return .none }
        self.forget(connection)
        return .refuse(connection, refusal)
    }

    /// A heartbeat came over a connection.
    package mutating func heartbeatReceived(
        over connection: ConnectionID, counter: UInt64, now: NIODeadline, unixSeconds: UInt64
    ) -> HeartbeatDecision {
        guard let identity = self.routerOfConnection[connection], var entry = self.entries[identity] else {
            return .notRegistered
        }
        if let last = entry.heartbeatCounter, counter <= last { return .counterNotRising }
        entry.heartbeatCounter = counter
        entry.lastHeard = now
        entry.lastSeen = unixSeconds
        // Held routers are listed already, so nothing changes for the others.
        if entry.standing == .held { entry.standing = .running(since: now) }
        self.entries[identity] = entry
        guard entry.standing == .absent, self.pending[identity] == nil else { return .acknowledge }
        // A router that beats and cannot be reached is not connected to more often than that.
        if let last = entry.lastDoubted, now - last < self.limits.probeSpacing { return .acknowledge }
        self.entries[identity]?.lastDoubted = now
        return .acknowledgeAndProbe(self.startProbe(of: entry.descriptor, for: nil))
    }

    /// A connection is gone.
    ///
    /// - Returns: a probe to make at once, if the connection was a listed router's.
    package mutating func connectionClosed(_ connection: ConnectionID) -> RouterProbe? {
        guard let identity = self.routerOfConnection.removeValue(forKey: connection) else { return nil }
        if self.entries[identity]?.connection == connection {
            self.entries[identity]?.connection = nil
            self.entries[identity]?.heartbeatCounter = nil
        }
        // The probe that is under way answers this too.
        if self.pending[identity] != nil {
            self.nobodyWaits(for: identity)
            return nil
        }
        guard let entry = self.entries[identity], entry.isListed, entry.standing != .held else { return nil }
        return self.startProbe(of: entry.descriptor, for: nil)
    }

    /// Time has passed: take out who missed too many beats, and end what was held long enough.
    package mutating func timePassed(now: NIODeadline) {
        let silent = self.entries.filter { identity, entry in
            guard case .running = entry.standing else { return false }
            // A registration under way is a sign of life.
            return now - entry.lastHeard >= self.limits.silenceAllowed && self.pending[identity]?.connection == nil
        }
        self.lose(silent.keys.sorted(), because: .heartbeatsMissed, now: now)
        guard self.losses.graceEnded(now: now) else { return }
        for (identity, entry) in self.entries where entry.standing == .held {
            self.entries[identity]?.standing = .absent
            self.entries[identity]?.reason = .notBack
            self.isChanged = true
        }
    }

    /// The operator changed who may take part.
    ///
    /// - Returns: the connections of those who no longer may; close them.
    package mutating func admissionChanged(to admission: Admission) -> [ConnectionID] {
        self.admission = admission
        var closing: [ConnectionID] = []
        for identity in Set(self.entries.keys).union(self.pending.keys) where !admission.admits(identity) {
            if let entry = self.entries.removeValue(forKey: identity), entry.isListed { self.isChanged = true }
            self.pending[identity] = nil
            for (connection, router) in self.routerOfConnection where router == identity {
                self.routerOfConnection[connection] = nil
                closing.append(connection)
            }
        }
        return closing
    }

    /// Forget routers that have been away for very long, so that the registry does not grow for ever. One whose connection is
    /// open is not away: its events would count for whoever registers it anew.
    package mutating func prune(unixSeconds: UInt64) {
        self.entries = self.entries.filter { identity, entry in
            entry.isListed || self.pending[identity] != nil || entry.connection != nil
                || unixSeconds < entry.lastSeen.addingClamped(self.limits.forgetAfterSeconds)
        }
    }

    /// Whether the answer to the probe still counts.
    package func wants(_ probe: RouterProbe) -> Bool {
        self.pending[probe.descriptor.identity]?.probe.number == probe.number
    }

    /// Why a router is in the list, or is not any more.
    func listingReason(of router: Ed25519PublicKey) -> ListingReason {
        // Of those that were listed only the allow file makes the registry forget one.
        self.entries[router]?.reason ?? .notAdmitted
    }

    /// Whether the router has proved itself once.
    func isKnown(_ router: Ed25519PublicKey) -> Bool { self.entries[router] != nil }

    /// Return the known router that has this link key.
    ///
    /// - Complexity: O(n) for n routers that are known.
    func router(linkKey: Ed25519PublicKey) -> Ed25519PublicKey? {
        self.entries.first { $0.value.descriptor.descriptor.linkKey == linkKey }?.key
    }

    /// Whether the events of a connection count for a router that is known.
    func speaksForKnownRouter(_ connection: ConnectionID) -> Bool {
        self.routerOfConnection[connection].map { self.entries[$0]?.connection == connection } ?? false
    }

    // MARK: Parts of events

    /// Return what keeps this registration from being probed, if anything.
    func refusal(
        of router: RouterDescriptor, from network: IPPrefix? = nil, peerKey: Ed25519PublicKey?, unixSeconds: UInt64
    ) -> RegistrationRefusal? {
        guard peerKey == router.linkKey else { return .wrongLinkKey }
        guard self.admission.admits(router.identity) else { return .notAdmitted }
        // One that is behind would register, not believe the list that it then gets, and come again for ever.
        let tolerance = self.limits.clockToleranceSeconds
        guard router.published <= unixSeconds.addingClamped(tolerance),
            unixSeconds <= router.published.addingClamped(tolerance)
        else { return .clockOff }
        let known = self.pending[router.identity]?.probe.descriptor ?? self.entries[router.identity]?.descriptor
        if let known, router.sequence < known.descriptor.sequence { return .older }
        // Only the first is probed, and nobody's word is enough to say where else an OR is.
        guard router.addresses.count == 1, self.limits.allowsAddress(router.addresses[0].address) else {
            return .unusableAddress
        }
        guard known == nil else { return nil }
        let newcomers = self.pending.filter { self.entries[$0.key] == nil }
        guard self.entries.count + newcomers.count < self.limits.routerCount else { return .registryFull }
        let atAddress = newcomers.values.count { $0.network == network }
        return newcomers.count < self.limits.newcomerCount && atAddress < self.limits.newcomersPerAddress
            ? nil : .tooManyNewcomers
    }

    /// Whoever registered the router is gone. A newcomer's probe would list nobody then, and leaves its place to others.
    private mutating func nobodyWaits(for router: Ed25519PublicKey) {
        if self.entries[router] == nil {
            self.pending[router] = nil
        } else {
            self.pending[router]?.connection = nil
        }
    }

    private mutating func startProbe(
        of descriptor: SignedDescriptor, for connection: ConnectionID?, from network: IPPrefix? = nil
    ) -> RouterProbe {
        self.lastProbeNumber += 1
        let probe = RouterProbe(
            number: self.lastProbeNumber, descriptor: descriptor, isNewcomer: self.entries[descriptor.identity] == nil)
        self.pending[descriptor.identity] = Pending(probe: probe, connection: connection, network: network)
        return probe
    }

    private mutating func proved(_ waiting: Pending, now: NIODeadline, unixSeconds: UInt64) {
        let descriptor = waiting.probe.descriptor
        let identity = descriptor.identity
        guard var entry = self.entries[identity] else {
            // A newcomer whose connection has closed meanwhile will come again.
            guard let connection = waiting.connection else { return }
            self.entries[identity] = RouterEntry(
                descriptor: descriptor, firstSeen: unixSeconds, lastSeen: unixSeconds, standing: .running(since: now),
                reason: .registered, lastHeard: now, connection: connection,
                isExit: descriptor.descriptor.exitPolicy.mayAllowAnything)
            self.changed(identity, now: now)
            return
        }
        // A registration alone makes a new sequence and time: nobody needs a new list for these.
        var isChanged = !entry.descriptor.descriptor.saysTheSame(as: descriptor.descriptor)
        if entry.descriptor.bytes != descriptor.bytes {
            entry.descriptor = descriptor
            entry.isExit = descriptor.descriptor.exitPolicy.mayAllowAnything
        }
        switch entry.standing {
        case .running: break
        case .held: entry.standing = .running(since: now)
        case .absent:
            entry.standing = .running(since: now)
            entry.reason = waiting.connection == nil ? .answersAgain : .registered
            isChanged = true
        }
        entry.lastHeard = now
        entry.lastSeen = unixSeconds
        self.entries[identity] = entry
        if isChanged { self.changed(identity, now: now) }
    }

    /// Take routers out of the consensus, or hold them when too many go at once.
    private mutating func lose(_ identities: [Ed25519PublicKey], because reason: ListingReason, now: NIODeadline) {
        for identity in identities where self.entries[identity]?.isListed == true {
            self.entries[identity]?.standing = self.losses.holdsAll(now: now) ? .held : .absent
            guard self.entries[identity]?.standing == .absent else { continue }
            self.entries[identity]?.reason = reason
            self.changed(identity, now: now)
            self.losses.lost(identity, now: now, window: self.limits.heartbeatInterval)
            let gone = self.losses.recent.filter { self.entries[$0]?.standing == .absent }
            guard gone.count * 2 > self.listedCount + gone.count else { continue }
            for other in gone {
                self.entries[other]?.standing = .held
                self.entries[other]?.reason = .heldWithMost
            }
            self.losses.mostVanished(until: now + self.limits.grace)
        }
    }

    private mutating func forget(_ connection: ConnectionID) {
        guard let identity = self.routerOfConnection.removeValue(forKey: connection) else { return }
        guard self.entries[identity]?.connection == connection else { return }
        self.entries[identity]?.connection = nil
        self.entries[identity]?.heartbeatCounter = nil
    }
}

extension RouterDescriptor {
    /// Whether the two differ in sequence and time at most.
    fileprivate func saysTheSame(as other: RouterDescriptor) -> Bool {
        var other = other
        other.sequence = self.sequence
        other.published = self.published
        return self == other
    }
}

extension UInt64 {
    /// Return the sum, or the largest number there is.
    func addingClamped(_ other: UInt64) -> UInt64 {
        let (sum, overflow) = self.addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}
