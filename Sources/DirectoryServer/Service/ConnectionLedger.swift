import NIOCore
import OnionAddress
import OnionCircuits
import OnionCrypto

/// Which connections are open, and who makes way when there are too many. A value: time comes in as an argument.
///
/// An OR's address is no sign of the OR: any client can use it, through a directory stream of that OR. So what strangers do
/// there takes nothing from the OR, which is told from them by the link key that it proves in TLS.
///
///     admit         established
///     ───▶ (silent) ──────────▶ (stranger) ─newer one, if too many───┐
///             │ │   a known router's key                             ▼
///             │ └────────────────────────▶ (router) ─newer one─▶ (leaving) ──closed──▶
///             └── too many newer ones ──────────────────────────────▲
///
/// - Invariant: of an address at most `halfOpenPerAddress` are silent and `perAddress` are strangers; of a router at most one
///   counts as a router's; `reserved` are kept free of strangers; and all together are at most `total`.
/// - Complexity: O(n) for n open connections where one makes way, O(`halfOpenPerAddress`) otherwise.
struct ConnectionLedger: Sendable {
    enum Admission: Equatable, Sendable {
        /// Counted in; close the other one, which makes way for it.
        case admitted(ConnectionID, closing: ConnectionID?)
        /// There are too many; close the other one, so that there is room for the next.
        case refused(ServerLimit, closing: ConnectionID?)
    }

    /// A connection that has to be closed, and what for. It counts among all until it is.
    struct Dismissal: Equatable, Sendable {
        let connection: ConnectionID
        let limit: ServerLimit
    }

    private enum Standing: Equatable, Sendable {
        /// TLS is not up.
        case silent
        case stranger
        /// Proved the link key of this router, which is known.
        case router(Ed25519PublicKey)
        /// To be closed.
        case leaving
    }

    private struct Open: Sendable {
        let network: IPPrefix
        var standing = Standing.silent
    }

    /// What one address has open.
    private struct Share: Sendable {
        /// Oldest first.
        var silent: [ConnectionID] = []
        var strangerCount = 0
    }

    private let limits: ConnectionLimits
    /// All connections and the rates of each address; how many are of which kind is counted here.
    private var sources: SourceLedger<IPPrefix>
    private var open: [ConnectionID: Open] = [:]
    private var shares: [IPPrefix: Share] = [:]
    private var routers: [Ed25519PublicKey: ConnectionID] = [:]
    private var strangerCount = 0
    private var leavingCount = 0
    private var lastConnection: UInt64 = 0

    init(limits: ConnectionLimits) {
        self.limits = limits
        self.sources = SourceLedger(limits: limits.connections)
    }

    // MARK: Events

    /// A connection was accepted; nothing is known of it but where it comes from.
    mutating func admit(_ network: IPPrefix, now: NIODeadline) -> Admission {
        switch self.sources.admit(network, now: now) {
        case nil: break
        case .connections:
            // Whoever says nothing makes way, but counts until it is closed: one at a time, or a flood would end them all.
            guard self.leavingCount == 0,
                let oldest = self.shares.values.compactMap(\.silent.first).min(by: { $0.rawValue < $1.rawValue })
            else { return .refused(.connections, closing: nil) }
            self.move(oldest, to: .leaving)
            return .refused(.connections, closing: oldest)
        case .connectionsPerSource: return .refused(.connectionsPerAddress, closing: nil)
        case .halfOpenPerSource: return .refused(.halfOpenPerAddress, closing: nil)
        case .connectsPerSource: return .refused(.connectsPerAddress, closing: nil)
        }
        self.lastConnection += 1
        let connection = ConnectionID(rawValue: self.lastConnection)
        self.open[connection] = Open(network: network)
        self.shares[network, default: Share()].silent.append(connection)
        guard let silent = self.shares[network]?.silent, silent.count > self.limits.halfOpenPerAddress,
            let oldest = silent.first
        else { return .admitted(connection, closing: nil) }
        self.move(oldest, to: .leaving)
        return .admitted(connection, closing: oldest)
    }

    /// TLS is up on a connection.
    ///
    /// - Parameter router: the known router whose link key the peer proved; nil for anybody else.
    /// - Returns: the connection for which there is no room now, be it this one or another.
    mutating func established(_ connection: ConnectionID, router: Ed25519PublicKey?) -> Dismissal? {
        guard self.open[connection]?.standing == .silent else { return nil }
        guard let router else { return self.newStranger(connection) }
        return self.proved(router, over: connection)
    }

    /// A connection turned out to be this router's.
    ///
    /// - Returns: the connection that makes way for it.
    mutating func proved(_ router: Ed25519PublicKey, over connection: ConnectionID) -> Dismissal? {
        guard let standing = self.open[connection]?.standing, standing != .leaving, standing != .router(router) else {
            return nil
        }
        self.move(connection, to: .router(router))
        // One place for each: of two connections the older may be dead and not know it.
        if let previous = self.routers.updateValue(connection, forKey: router),
            let network = self.open[previous]?.network
        {
            let limit = self.limit(forStrangerAt: network)
            self.move(previous, to: limit == nil ? .stranger : .leaving)
            return limit.map { Dismissal(connection: previous, limit: $0) }
        }
        guard self.establishedCount > self.limits.unreserved, let oldest = self.oldestStranger() else {
            return nil
        }
        self.move(oldest, to: .leaving)
        return Dismissal(connection: oldest, limit: .connections)
    }

    /// A connection is closed.
    mutating func closed(_ connection: ConnectionID) {
        self.move(connection, to: .leaving)
        guard let closed = self.open.removeValue(forKey: connection) else { return }
        self.leavingCount -= 1
        self.sources.closed(closed.network)
    }

    /// Whether the address that the connection comes from may ask for one more thing.
    mutating func takeRequest(over connection: ConnectionID, now: NIODeadline) -> Bool {
        guard let network = self.open[connection]?.network else { return false }
        return self.sources.takeRequest(network, now: now)
    }

    /// Where an open connection comes from.
    func network(of connection: ConnectionID) -> IPPrefix? { self.open[connection]?.network }

    // MARK: Parts of events

    /// Connections whose TLS is up, without those that are leaving.
    private var establishedCount: Int { self.strangerCount + self.routers.count }

    /// Let a stranger in. An older one makes way, or those who came first would keep all others out: the oldest of the address
    /// that has the most.
    private mutating func newStranger(_ connection: ConnectionID) -> Dismissal? {
        guard let network = self.open[connection]?.network else { return nil }
        guard let limit = self.limit(forStrangerAt: network) else {
            self.move(connection, to: .stranger)
            return nil
        }
        let most = self.shares.values.map(\.strangerCount).max()
        let oldest = self.oldestStranger {
            limit == .connections ? self.shares[$0]?.strangerCount == most : $0 == network
        }
        // Where routers have all the places, there is nobody to make way.
        guard let oldest else {
            self.move(connection, to: .leaving)
            return Dismissal(connection: connection, limit: limit)
        }
        self.move(oldest, to: .leaving)
        self.move(connection, to: .stranger)
        return Dismissal(connection: oldest, limit: limit)
    }

    /// What keeps one more stranger from this address out, if anything.
    private func limit(forStrangerAt network: IPPrefix) -> ServerLimit? {
        guard self.shares[network]?.strangerCount ?? 0 < self.limits.perAddress else {
            return .connectionsPerAddress
        }
        return self.establishedCount < self.limits.unreserved ? nil : .connections
    }

    /// - Parameter isMeant: by the address.
    private func oldestStranger(at isMeant: (IPPrefix) -> Bool = { _ in true }) -> ConnectionID? {
        self.open.filter { $0.value.standing == .stranger && isMeant($0.value.network) }
            .keys.min { $0.rawValue < $1.rawValue }
    }

    /// Count a connection as something else from now on.
    private mutating func move(_ connection: ConnectionID, to standing: Standing) {
        guard let before = self.open[connection] else { return }
        var share = self.shares[before.network] ?? Share()
        switch before.standing {
        case .silent: share.silent.removeAll { $0 == connection }
        case .stranger:
            share.strangerCount -= 1
            self.strangerCount -= 1
        // The place may have been given to a newer one.
        case .router(let router): if self.routers[router] == connection { self.routers[router] = nil }
        case .leaving: self.leavingCount -= 1
        }
        switch standing {
        case .silent, .router: break
        case .leaving: self.leavingCount += 1
        case .stranger:
            share.strangerCount += 1
            self.strangerCount += 1
        }
        self.shares[before.network] = share.silent.isEmpty && share.strangerCount == 0 ? nil : share
        self.open[connection]?.standing = standing
    }
}
