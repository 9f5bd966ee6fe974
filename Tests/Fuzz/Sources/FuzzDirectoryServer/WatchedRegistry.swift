import NIOCore
import OnionAddress
import OnionCrypto
import OnionDirectory

@testable import DirectoryServer

/// The registry of routers with connections that come and go, probes with any outcome and a clock. Checks that
///
/// - nobody is listed who has not been probed, or may not take part;
/// - each connection speaks for one router and each router over one connection;
/// - revisions rise, and everybody in a consensus is running or held;
/// - who is silent for long leaves, and nothing grows.
struct WatchedRegistry {
    private static let routerCount = 4
    private static let startSeconds: UInt64 = 1_795_000_000
    /// Descriptors by router and sequence, made once.
    private static let descriptors: [[SignedDescriptor]] = (0..<Self.routerCount).map { number in
        let key = Self.key(UInt8(number + 1))
        // The last one is nowhere.
        let address = IPAddress.v4((number == 3 ? 0x7f00_0000 : 0x0506_0700) + UInt32(number))
        return (UInt64(1)...3).compactMap { sequence in
            try? RouterDescriptor(
                identity: key.publicKey, linkKey: Self.linkKeys[number], onionKey: X25519PublicKey(.zero),
                onionKeyValidUntil: Self.startSeconds + 600_000, published: Self.startSeconds, sequence: sequence,
                addresses: [Endpoint(address: address, port: 9001)], nickname: "r\(number)",
                exitPolicy: sequence == 2 ? .standard : .rejectAll
            ).signed(by: key)
        }
    }

    private static let identities = (0..<Self.routerCount).map { Self.key(UInt8($0 + 1)).publicKey }
    private static let linkKeys = (0..<Self.routerCount).map { Self.key(UInt8($0 + 20)).publicKey }

    private static func key(_ number: UInt8) -> Ed25519PrivateKey {
        guard let key = Ed25519PrivateKey(seed: [UInt8](repeating: number, count: 32)) else { fatalError("no key") }
        return key
    }

    private var registry: Registry
    private var now = NIODeadline.uptimeNanoseconds(1_000_000_000)
    private var unixSeconds = Self.startSeconds
    private var admitted: Set<Int>?
    private var connections: [ConnectionID] = []
    private var closed: Set<ConnectionID> = []
    private var lastConnection: UInt64 = 0
    private var probes: [RouterProbe] = []
    private var proved: Set<Ed25519PublicKey> = []
    private var counters: [ConnectionID: UInt64] = [:]
    private var lastRevision: UInt64 = 0
    private var lastHeard: NIODeadline

    init(isOpen: Bool) {
        self.lastHeard = self.now
        self.admitted = isOpen ? nil : [0, 1, 2]
        var limits = RegistryLimits()
        // The descriptors are of one time.
        limits.clockToleranceSeconds = .max
        self.registry = Registry(
            limits: limits, admission: .open, stored: [], lastRevision: 0, now: self.now)
        self.admit()
    }

    mutating func play(_ event: UInt8, _ value: UInt8) {
        let number = Int(value) % Self.routerCount
        switch event & 7 {
        case 0: self.register(number, sequence: Int(value >> 4) % 3, isNew: value & 4 == 0, isForged: value & 8 != 0)
        case 1: self.finishProbe(Int(value >> 2), [.completed, .completed, .unreachable, .handshakeFailed][number])
        case 2: self.beat(number, isRising: value & 0x80 == 0)
        case 3: if !self.connections.isEmpty { self.close(self.connections[number % self.connections.count]) }
        case 4:
            // One that was never there.
            let probe = self.registry.connectionClosed(ConnectionID(rawValue: UInt64(value)))
            precondition(probe == nil, "a connection that never was is somebody's")
        case 5:
            self.admitted = value & 0x80 == 0 ? Set((0..<Self.routerCount).filter { value >> $0 & 1 == 1 }) : nil
            self.admit()
        case 6:
            self.now = self.now + .milliseconds(Int64(value) * 100)
            self.unixSeconds += UInt64(value) / 10
            self.registry.timePassed(now: self.now)
        default:
            if value & 1 == 0 { self.registry.prune(unixSeconds: self.unixSeconds + UInt64(value) * 100_000) }
            if value & 3 == 1 { self.registry.publicationFailed() }
        }
        self.check()
    }

    private mutating func admit() {
        let admission: Admission =
            self.admitted.map { numbers in
                .listed(Dictionary(uniqueKeysWithValues: numbers.map { (Self.identities[$0], "") }))
            } ?? .open
        for connection in self.registry.admissionChanged(to: admission) { self.forget(connection) }
        // Who was thrown out has to prove himself again.
        if let admitted { self.proved.formIntersection(admitted.map { Self.identities[$0] }) }
    }

    private mutating func register(_ number: Int, sequence: Int, isNew: Bool, isForged: Bool) {
        let connection: ConnectionID
        if isNew || self.connections.isEmpty {
            self.lastConnection += 1
            connection = ConnectionID(rawValue: 1000 + self.lastConnection)
            self.connections.append(connection)
        } else {
            connection = self.connections[self.connections.count - 1]
        }
        let descriptor = Self.descriptors[number][sequence]
        let decision = self.registry.registered(
            descriptor, over: connection, peerKey: isForged ? nil : Self.linkKeys[number], unixSeconds: self.unixSeconds
        )
        switch decision {
        case .refuse: break
        case .probe(let probe, let closing):
            precondition(!isForged && number != 3, "a router registers that is not who or where it says")
            precondition(self.admitted?.contains(number) ?? true, "a router registers that may not")
            precondition(closing != connection, "a router's own connection is closed")
            self.probes.append(probe)
            if let closing { self.forget(closing) }
        }
    }

    private mutating func finishProbe(_ index: Int, _ outcome: ProbeOutcome) {
        guard !self.probes.isEmpty else { return }
        let probe = self.probes.remove(at: index % self.probes.count)
        let wasKnown = self.registry.entries[probe.descriptor.identity] != nil
        let decision = self.registry.probeFinished(probe, outcome, now: self.now, unixSeconds: self.unixSeconds)
        switch decision {
        case .none: if outcome == .completed, wasKnown { self.proved.insert(probe.descriptor.identity) }
        case .accept(let connection):
            precondition(outcome == .completed, "a router is accepted that did not answer")
            precondition(!self.closed.contains(connection), "a connection is accepted that is closed")
            self.proved.insert(probe.descriptor.identity)
        case .refuse(let connection, _):
            precondition(outcome != .completed, "a router is refused that answered")
            self.forget(connection)
        }
    }

    private mutating func beat(_ number: Int, isRising: Bool) {
        guard !self.connections.isEmpty else { return }
        let connection = self.connections[number % self.connections.count]
        let counter = (self.counters[connection] ?? 0) + (isRising ? 1 : 0)
        switch self.registry.heartbeatReceived(
            over: connection, counter: counter, now: self.now, unixSeconds: self.unixSeconds)
        {
        case .acknowledge: self.counters[connection] = counter
        case .acknowledgeAndProbe(let probe):
            self.counters[connection] = counter
            self.probes.append(probe)
        case .notRegistered: break
        case .counterNotRising: precondition(!isRising, "a counter that rises is refused")
        }
    }

    private mutating func close(_ connection: ConnectionID) {
        if let probe = self.registry.connectionClosed(connection) { self.probes.append(probe) }
        self.forget(connection)
        precondition(self.registry.connectionClosed(connection) == nil, "a connection closes twice")
    }

    private mutating func forget(_ connection: ConnectionID) {
        self.connections.removeAll { $0 == connection }
        self.closed.insert(connection)
    }

    private mutating func check() {
        precondition(self.registry.entries.count <= Self.routerCount, "the registry grows")
        var speakers: Set<ConnectionID> = []
        for (identity, entry) in self.registry.entries {
            precondition(entry.descriptor.identity == identity, "a router has another's descriptor")
            precondition(!entry.isListed || self.proved.contains(identity), "a router is listed that was never probed")
            guard let connection = entry.connection else { continue }
            precondition(speakers.insert(connection).inserted, "a connection speaks for two routers")
        }
        guard let publication = self.registry.publicationDue(now: self.now, unixMilliseconds: self.unixSeconds * 1000)
        else { return }
        precondition(publication.revision > self.lastRevision, "a revision does not rise")
        self.lastRevision = publication.revision
        precondition(publication.routers.count == self.registry.listedCount, "a consensus names others than are listed")
        precondition(publication.validAfter <= publication.freshUntil, "a consensus is stale from its start")
        precondition(publication.freshUntil <= publication.validUntil, "a consensus is fresh after its end")
    }

    /// Nobody says anything any more: all must be out, whatever was held.
    mutating func end() {
        for connection in self.connections { self.close(connection) }
        for probe in self.probes {
            _ = self.registry.probeFinished(probe, .unreachable, now: self.now, unixSeconds: self.unixSeconds)
        }
        for _ in 0..<4 {
            self.now = self.now + .seconds(60)
            self.registry.timePassed(now: self.now)
        }
        precondition(self.registry.listedCount == 0, "a router that is gone stays listed")
    }
}
