import NIOCore
import OnionCrypto

/// Which exits could not connect to a destination lately, so that the next request tries others first. Pure; in memory
/// only.
///
/// Each isolation key has a memory of its own: otherwise a site could tell, by what it refuses, that two of its visitors
/// are one.
///
/// - Source: DESIGN §10
struct RefusalMemory: Sendable {
    struct Place: Hashable, Sendable {
        let host: String
        let port: UInt16
        let isolation: IsolationKey

        init(host: String, port: UInt16, isolation: IsolationKey) {
            self.host = host.lowercased()
            self.port = port
            self.isolation = isolation
        }
    }

    private struct Entry: Sendable {
        var exits: Set<Ed25519PublicKey>
        var since: NIODeadline
    }

    private let age: TimeAmount
    private let limit: Int
    private var entries: [Place: Entry] = [:]

    /// - Parameters:
    ///   - age: for how long a place's first refusal, and those after it, are remembered.
    ///   - limit: places at once; the oldest makes way.
    init(age: TimeAmount, limit: Int) {
        self.age = age
        self.limit = limit
    }

    var placeCount: Int { self.entries.count }

    /// The exit could not connect.
    mutating func refused(_ place: Place, by exit: Ed25519PublicKey, now: NIODeadline) {
        self.entries = self.entries.filter { now - $0.value.since < self.age }
        if self.entries[place] == nil, self.entries.count >= self.limit,
            let oldest = self.entries.min(by: { $0.value.since < $1.value.since })?.key
        {
            self.entries[oldest] = nil
        }
        self.entries[place, default: Entry(exits: [], since: now)].exits.insert(exit)
    }

    /// The exit could connect after all.
    mutating func connected(_ place: Place, by exit: Ed25519PublicKey) {
        self.entries[place]?.exits.remove(exit)
        if self.entries[place]?.exits.isEmpty ?? false { self.entries[place] = nil }
    }

    /// The exits to be left out, if others will do.
    func exits(for place: Place, now: NIODeadline) -> Set<Ed25519PublicKey> {
        guard let entry = self.entries[place], now - entry.since < self.age else { return [] }
        return entry.exits
    }

    /// No exit is left: begin anew.
    mutating func forget(_ place: Place) { self.entries[place] = nil }

    mutating func forgetAll() { self.entries = [:] }
}
