import NIOCore
import OnionCrypto
import OnionDirectory
import Testing

@testable import DirectoryServer

/// A registry with a clock to turn: milliseconds since its start.
struct TestRegistry {
    static let startSeconds: UInt64 = 1_000_000

    var registry: Registry
    var now: NIODeadline
    var connections: UInt64 = 0

    var unixSeconds: UInt64 { Self.startSeconds + UInt64(self.now.uptimeNanoseconds / 1_000_000_000) }

    init(
        _ change: (inout RegistryLimits) -> Void = { _ in }, admission: Admission = .open, stored: [StoredRouter] = [],
        lastRevision: UInt64 = 0
    ) {
        var limits = RegistryLimits()
        change(&limits)
        self.now = .uptimeNanoseconds(0)
        self.registry = Registry(
            limits: limits, admission: admission, stored: stored, lastRevision: lastRevision, now: self.now)
    }

    mutating func advance(_ milliseconds: Int64) {
        self.now = self.now + .milliseconds(milliseconds)
        self.registry.timePassed(now: self.now)
    }

    mutating func nextConnection() -> ConnectionID {
        self.connections += 1
        return ConnectionID(rawValue: self.connections)
    }

    /// Register over a new connection, and return the probe that is asked for.
    mutating func register(
        _ router: TestRouter, sequence: UInt64 = 1
    ) throws -> (connection: ConnectionID, probe: RouterProbe) {
        let connection = self.nextConnection()
        let decision = self.registry.registered(
            try router.descriptor(sequence: sequence, published: self.unixSeconds), over: connection,
            peerKey: router.linkKey.publicKey, unixSeconds: self.unixSeconds)
        guard case .probe(let probe, _) = decision else {
            throw TestFailure("registration: \(decision)")
        }
        return (connection, probe)
    }

    mutating func finish(_ probe: RouterProbe, _ outcome: ProbeOutcome = .completed) -> Registry.ProbeDecision {
        self.registry.probeFinished(probe, outcome, now: self.now, unixSeconds: self.unixSeconds)
    }

    /// Register and pass the probe.
    mutating func list(_ router: TestRouter, sequence: UInt64 = 1) throws -> ConnectionID {
        let (connection, probe) = try self.register(router, sequence: sequence)
        #expect(self.finish(probe) == .accept(connection))
        return connection
    }

    mutating func beat(_ connection: ConnectionID, _ counter: UInt64) -> Registry.HeartbeatDecision {
        self.registry.heartbeatReceived(
            over: connection, counter: counter, now: self.now, unixSeconds: self.unixSeconds)
    }

    mutating func publication() -> Registry.Publication? {
        self.registry.publicationDue(now: self.now, unixMilliseconds: self.unixSeconds * 1000)
    }

    /// Close a connection for which a probe is expected.
    mutating func closed(_ connection: ConnectionID) throws -> RouterProbe {
        guard let probe = self.registry.connectionClosed(connection) else { throw TestFailure("no probe") }
        return probe
    }

    mutating func published() throws -> Registry.Publication {
        guard let publication = self.publication() else { throw TestFailure("nothing is due") }
        return publication
    }

    var listed: Set<Ed25519PublicKey> {
        Set(self.registry.stored.filter(\.isListed).map(\.descriptor.identity))
    }
}

struct TestFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
