import NIOCore
import OnionAddress
import OnionCircuits
import OnionCrypto
import OnionDirectory
import OnionLink
import OnionStreams
import Testing

@testable import OnionRouter

@Suite("Exit gate without a port")
struct ResolveGateTests {
    private static func consensus(nodes: [String], _ change: (inout NetworkParameters) throws -> Void = { _ in }) throws
        -> NetworkView
    {
        var parameters = NetworkParameters()
        try change(&parameters)
        let key = Ed25519PrivateKey()
        let routers =
            try nodes.isEmpty
            ? []
            : [
                ConsensusRouter(
                    descriptor: RouterDescriptor(
                        identity: key.publicKey, linkKey: Ed25519PrivateKey().publicKey,
                        onionKey: X25519PrivateKey().publicKey, onionKeyValidUntil: 1_800_000_000,
                        published: 1_790_000_000, sequence: 1, addresses: nodes.compactMap { Endpoint($0) },
                        nickname: "heron"
                    ).signed(by: key), flags: [.guard], weight: 1)
            ]
        return NetworkView(
            consensus: try Consensus.make(
                revision: 1, validAfter: 1_790_000_000, freshUntil: 1_790_003_600, validUntil: 1_790_010_800,
                parameters: parameters, routers: routers, signedBy: Ed25519PrivateKey()))
    }

    @Test(
        "an address is told exactly if the policy opens some port of it",
        arguments: [
            (["accept *:993"], true), (["accept *:65535"], true), (["reject *:1-65534", "accept *:*"], true),
            (["reject *:2-65535", "accept *:*"], true), (["reject 93.184.216.0/24:*", "accept *:*"], false),
            (["accept 192.0.2.0/24:*"], false), (["reject *:*"], false), ([], false),
        ] as [([String], Bool)])
    func somePort(rules: [String], isTold: Bool) throws {
        let gate = ExitGate(policy: try ExitPolicy(parsing: rules), isOwn: { _ in false })
        let address = try #require(IPAddress("93.184.216.34"))
        #expect(gate.allowsSomePort(of: address, in: try Self.consensus(nodes: [])) == isTold)
        #expect(!gate.allowsSomePort(of: try #require(IPAddress("127.0.0.1")), in: try Self.consensus(nodes: [])))
    }

    @Test("a node's ports do not count, the ports behind them do")
    func nodes() throws {
        let view = try Self.consensus(nodes: ["93.184.216.34:9001", "93.184.216.34:9002"])
        let address = try #require(IPAddress("93.184.216.34"))
        let only = ExitGate(policy: try ExitPolicy(parsing: ["accept *:9001-9002"]), isOwn: { _ in false })
        #expect(!only.allowsSomePort(of: address, in: view))
        let more = ExitGate(policy: try ExitPolicy(parsing: ["accept *:9001-9003"]), isOwn: { _ in false })
        #expect(more.allowsSomePort(of: address, in: view))
    }

    @Test("links and handshakes get the limits that the consensus names")
    func limits() throws {
        let view = try Self.consensus(nodes: []) { parameters throws in
            try parameters.set(.ccWindowMaximum, to: 1000)
            try parameters.set(.linkQueueLimit, to: 2 << 20)
            try parameters.set(.linkIdle, to: 7)
            try parameters.set(.linkPingAfter, to: 300)
            try parameters.set(.linkSilence, to: 900)
            try parameters.set(.handshakeQueue, to: 20)
            try parameters.set(.handshakeQueuePerLink, to: 3)
            try parameters.set(.handshakeWait, to: 50)
        }
        #expect(view.linkLimits.queuedCellsPerCircuit == 1064 && view.linkLimits.queuedCellsPerLink == 1024)
        #expect(view.linkLimits.unusedAfter == .seconds(7))
        #expect(view.linkLimits.pingAfter == .milliseconds(300) && view.linkLimits.frozenAfter == .milliseconds(900))
        #expect(view.handshakeLimits.total == 20 && view.handshakeLimits.perLink == 3)
        #expect(view.handshakeLimits.patience == .milliseconds(50))
        #expect(view.streamLimits.gate.inFlight == 1064 * 2027)
    }
}
