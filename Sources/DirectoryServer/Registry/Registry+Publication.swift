package import NIOCore
import OnionCrypto
import OnionDirectory

extension Registry {
    /// Return what to publish if a consensus is due: something changed, or the last one is no longer fresh.
    ///
    /// The revision is taken with the return; if signing or storing fails, ``publicationFailed()`` makes the next one due.
    ///
    /// - Source: DESIGN §9: revision = max(last + 1, Unix milliseconds)
    package mutating func publicationDue(now: NIODeadline, unixMilliseconds: UInt64) -> Publication? {
        if let due = self.changesDue, now >= due { self.isChanged = true }
        if let last = self.lastPublished {
            let isStale = now - last >= .seconds(Int64(clamping: self.limits.resignSeconds))
            guard isStale || (self.isChanged && now - last >= self.limits.publicationSpacing) else { return nil }
        }
        self.lastPublished = now
        self.isChanged = false
        self.changesDue = nil
        self.lastRevision = max(self.lastRevision.addingClamped(1), unixMilliseconds)
        let validAfter = unixMilliseconds / 1000
        return Publication(
            revision: self.lastRevision, validAfter: validAfter,
            freshUntil: validAfter.addingClamped(self.limits.freshSeconds),
            validUntil: validAfter.addingClamped(self.limits.validSeconds),
            routers: self.consensusRouters(now: now, unixSeconds: validAfter))
    }

    package mutating func publicationFailed() { self.isChanged = true }

    /// What the list says of a router has changed: have it published, now or when it is this router's turn.
    mutating func changed(_ router: Ed25519PublicKey, now: NIODeadline) {
        guard var entry = self.entries[router] else { return }
        var due = now
        if let last = entry.changeDue, last > now {
            // It comes out with the one before.
            due = last
        } else {
            let tooMany = entry.changesCountUntil - now - self.limits.changeSpacing * (self.limits.changeBurst - 1)
            due = now + max(.nanoseconds(0), tooMany)
            entry.changesCountUntil = max(now, entry.changesCountUntil) + self.limits.changeSpacing
            entry.changeDue = due
            self.entries[router] = entry
        }
        if due <= now {
            self.isChanged = true
        } else {
            self.changesDue = min(due, self.changesDue ?? due)
        }
    }

    private func consensusRouters(now: NIODeadline, unixSeconds: UInt64) -> [ConsensusRouter] {
        let listed = self.entries.values.filter(\.isListed)
        let standards = NetworkStandards(of: listed, now: now, unixSeconds: unixSeconds)
        return
            listed
            .map { entry in
                ConsensusRouter(
                    descriptor: entry.descriptor, flags: standards.flags(of: entry, now: now, unixSeconds: unixSeconds),
                    weight: standards.weight(of: entry))
            }
            .sorted { $0.identity < $1.identity }
    }
}

/// The medians against which one network's routers are judged. Changes of flags alone make no new consensus.
///
/// | Flag | Given to |
/// | --- | --- |
/// | Exit | whose policy lets any port through |
/// | Fast | at least 100 kB/s, or among the faster seven eighths |
/// | Stable | up without a break for as long as the median (less ten minutes), or for five days |
/// | Guard | Fast, and known for as long as the median (less an hour), or for eight days |
///
/// The tolerances make routers that were started together equal, so that a young network has guards. Guard looks at how
/// long a router is known and not at how long it is up: who restarts stays a guard.
struct NetworkStandards: Sendable {
    private let medianBandwidth: UInt64
    private let fastBandwidth: UInt64
    private let medianUpSeconds: UInt64
    private let medianKnownSeconds: UInt64

    init(of listed: [RouterEntry], now: NIODeadline, unixSeconds: UInt64) {
        let bandwidths = listed.map { $0.claimedBandwidth }.sorted()
        self.medianBandwidth = bandwidths.element(at: 1, of: 2)
        self.fastBandwidth = min(100_000, bandwidths.element(at: 1, of: 8))
        self.medianUpSeconds = listed.map { $0.upSeconds(now: now) }.sorted().element(at: 1, of: 2)
        self.medianKnownSeconds = listed.map { $0.knownSeconds(unixSeconds: unixSeconds) }.sorted().element(
            at: 1, of: 2)
    }

    func flags(of entry: RouterEntry, now: NIODeadline, unixSeconds: UInt64) -> RouterFlags {
        var flags: RouterFlags = []
        if entry.isExit { flags.insert(.exit) }
        let isFast = entry.claimedBandwidth >= self.fastBandwidth
        if isFast { flags.insert(.fast) }
        let up = entry.upSeconds(now: now)
        if up.addingClamped(600) >= self.medianUpSeconds || up >= 5 * 86_400 { flags.insert(.stable) }
        let known = entry.knownSeconds(unixSeconds: unixSeconds)
        if isFast, known.addingClamped(3600) >= self.medianKnownSeconds || known >= 8 * 86_400 { flags.insert(.guard) }
        return flags
    }

    /// Return the weight: what the router claims, but at most the median; never 0, because no claim is.
    func weight(of entry: RouterEntry) -> UInt64 { min(entry.claimedBandwidth, self.medianBandwidth) }
}

extension RouterEntry {
    /// What stands for "no limit" when routers are compared, in bytes a second.
    static let unlimitedBandwidth: UInt64 = 1_000_000_000

    /// Bytes a second that the router says it may relay; never 0, which says that there is no limit.
    var claimedBandwidth: UInt64 {
        let rate = self.descriptor.descriptor.bandwidthRate
        return rate == 0 ? Self.unlimitedBandwidth : min(rate, Self.unlimitedBandwidth)
    }

    func upSeconds(now: NIODeadline) -> UInt64 {
        guard case .running(let since) = self.standing else { return 0 }
        return UInt64(clamping: (now - since).nanoseconds / 1_000_000_000)
    }

    func knownSeconds(unixSeconds: UInt64) -> UInt64 {
        max(unixSeconds, self.firstSeen) - self.firstSeen
    }
}

extension [UInt64] {
    /// Return the element that `numerator`/`denominator` of a sorted array lie below (the lower one of two); 0 if empty.
    fileprivate func element(at numerator: Int, of denominator: Int) -> UInt64 {
        self.isEmpty ? 0 : self[Swift.min(self.count - 1, (self.count - 1) * numerator / denominator)]
    }
}
