import Glibc
import NIOConcurrencyHelpers
import NIOCore
import NIOEmbedded
import NIOPosix
import OnionAddress
import OnionCells
import OnionDirectory
import OnionLink
import Testing

@testable import OnionRouter

@Suite("Exit connector")
struct ExitConnectorTests {
    private typealias Refusal = ExitConnector.Refusal

    private static func connector(_ resolver: NameResolver, rules: [String]? = nil, directoryPort: UInt16 = 1) throws
        -> ExitConnector
    {
        ExitConnector(
            resolver: resolver,
            gate: ExitGate(policy: try rules.map { try ExitPolicy(parsing: $0) } ?? .standard, isOwn: { _ in false }),
            directory: "127.0.0.1", directoryPort: directoryPort)
    }

    private static func listen(on loop: any EventLoop) async throws -> (channel: any Channel, port: UInt16) {
        let channel = try await ServerBootstrap(group: loop).bind(host: "127.0.0.1", port: 0).get()
        return (channel, try #require(channel.localAddress.flatMap(Endpoint.init)).port)
    }

    @Test(
        "refuses a name that resolves to loopback or other places inside",
        arguments: ["inward.test", "mixed.test", "127.0.0.1", "::1", "10.1.2.3"])
    func inwardNames(host: String) async throws {
        try await withResolver { resolver, loop in
            let connector = try Self.connector(resolver)
            let view = try TestNetwork.view()
            await #expect(throws: Refusal(reason: .exitPolicy)) {
                try await connector.connect(to: .host(host, port: 80), in: view, on: loop).get()
            }
            let resolved = try await connector.resolve(.addresses(of: host), in: view, on: loop).get()
            #expect(resolved == .failed(.exitPolicy))
        }
    }

    @Test(
        "takes no number for a name, nor for an address that is not spelled as one",
        arguments: [
            "0177.0.0.1", "127.1", "2130706433", "0x7f.1", "0x7f000001", "198.51.100.08", "1.2.3.4.5", "0x", "7.",
        ])
    func numbers(host: String) async throws {
        #expect(ExitConnector.endsInNumber(host))
        try await withResolver { resolver, loop in
            let connector = try Self.connector(resolver, rules: ["accept *:*"])
            await #expect(throws: Refusal(reason: .noSuchName)) {
                try await connector.connect(to: .host(host, port: 80), in: TestNetwork.view(), on: loop).get()
            }
        }
    }

    @Test(
        "takes a name with digits for a name",
        arguments: ["1.example", "0x7f.example", "example.0xyz", "a1", ".", "", "1.\u{0663}", "0x\u{FF17}f"])
    func namesWithDigits(host: String) {
        #expect(!ExitConnector.endsInNumber(host))
    }

    @Test(
        "takes localhost for its own machine, asks no name server about it, and opens it only where the rules do",
        arguments: ["localhost", "localhost.", "LOCALHOST", "a.localhost"])
    func localhost(host: String) async throws {
        try await withResolver { resolver, loop in
            let closed = try Self.connector(resolver)
            await #expect(throws: Refusal(reason: .exitPolicy)) {
                try await closed.connect(to: .host(host, port: 80), in: TestNetwork.view(), on: loop).get()
            }
            let open = try Self.connector(resolver, rules: TestNetwork.loopbackPolicy)
            let view = try TestNetwork.view(allowLoopback: true)
            let (listener, port) = try await Self.listen(on: loop)
            let connection = try await open.connect(to: .host(host, port: port), in: view, on: loop).get()
            #expect(connection.connected == Connected(address: .v4(0x7f00_0001), ttlSeconds: 0))
            try await connection.channel.close()
            try await listener.close()
        }
    }

    @Test(
        "of several addresses' failures, says the one that tells most of the destination",
        arguments: [
            (.networkUnreachable, .connectionRefused, .connectionRefused), (.networkUnreachable, .timedOut, .timedOut),
            (.connectionRefused, .networkUnreachable, .connectionRefused), (.timedOut, nil, .timedOut),
            (.timedOut, .hostUnreachable, .timedOut), (.unspecified, .resourceLimit, .resourceLimit),
            (.unspecified, .networkUnreachable, .networkUnreachable),
        ] as [(EndReason, EndReason?, EndReason)])
    func moreTelling(last: EndReason, earlier: EndReason?, said: EndReason) {
        #expect(ExitConnector.moreTelling(last, earlier) == said)
    }

    @Test("an address that is next when the time is over is not tried")
    func timeIsOver() throws {
        try TestRouter.run("exit-connect-timeout-ms=1000", "allow-one-hop-begin=1") { router in
            let circuit = try router.circuit()
            circuit.say(.begin(1, .host("two.test", port: 80)))
            let addresses = try ["93.184.216.34", "93.184.216.35"].map { try #require(IPAddress($0)) }
            router.outside.lookups[0].succeed(NameResolver.Answer(addresses: addresses, ttlSeconds: 60))
            router.eventLoop.advanceTime(by: .milliseconds(1000))
            #expect(router.outside.connecting.count == 1)
            router.outside.connecting[0].promise.fail(IOError(errnoCode: 113, reason: "connect"))
            router.eventLoop.run()
            #expect(router.outside.connecting.count == 1)
            #expect(circuit.hear() == [.message(.end, 1, [EndReason.timedOut.rawValue])])
            router.outside.forget()
        }
    }

    @Test("looking up ends before the time for connecting is over")
    func silentNameServer() async throws {
        try await withResolver(tryMilliseconds: 60_000) { resolver, loop in
            let connector = try Self.connector(resolver)
            let view = try TestNetwork.view(connectMilliseconds: 100)
            await #expect(throws: Refusal(reason: .resolveFailed)) {
                try await connector.connect(to: .host("silent.test", port: 80), in: view, on: loop).get()
            }
            await #expect(throws: Refusal(reason: .resolveFailed)) {
                try await connector.resolve(.addresses(of: "silent.test"), in: view, on: loop).get()
            }
        }
    }

    @Test("tells why there is no connection")
    func reasons() async throws {
        try await withResolver(tryMilliseconds: 100) { resolver, loop in
            let connector = try Self.connector(resolver, rules: TestNetwork.loopbackPolicy)
            let view = try TestNetwork.view(allowLoopback: true)
            let (listener, port) = try await Self.listen(on: loop)
            try await listener.close()
            let expected: [(String, EndReason)] = [
                ("127.0.0.1", .connectionRefused), ("inward.test", .connectionRefused), ("missing.test", .noSuchName),
                ("broken.test", .resolveFailed), ("silent.test", .resolveFailed), ("8.8.8.8", .exitPolicy),
            ]
            for (host, reason) in expected {
                await #expect(throws: Refusal(reason: reason), "\(host)") {
                    try await connector.connect(to: .host(host, port: port), in: view, on: loop).get()
                }
            }
        }
    }

    @Test("connects to the very address that was judged, and says which, with the name's TTL")
    func connects() async throws {
        try await withResolver { resolver, loop in
            let connector = try Self.connector(resolver, rules: TestNetwork.loopbackPolicy)
            let view = try TestNetwork.view(allowLoopback: true)
            let (listener, port) = try await Self.listen(on: loop)
            // Of "two" the first address refuses, the second answers.
            for (host, ttl) in [("127.0.0.1", 0), ("inward.test", 300), ("two.test", 300)] as [(String, UInt32)] {
                let connection = try await connector.connect(to: .host(host, port: port), in: view, on: loop).get()
                #expect(connection.connected == Connected(address: .v4(0x7f00_0001), ttlSeconds: ttl))
                // Read by need, and with little of it in the kernel.
                #expect(try await connection.channel.getOption(.autoRead).get() == false)
                let unsent = try await connection.channel.getOption(LinkSockets.unsentLowWaterOption).get()
                #expect(unsent == LinkSockets.unsentLowWaterByteCount)
                let control = try await connection.channel.getOption(LinkSockets.congestionControlOption).get()
                #expect(control == LinkSockets.reno)
                try await connection.channel.close()
            }
            try await listener.close()
        }
    }

    @Test("connects to the directory as such alone: not to its address and port by any name of a client's")
    func directoryByName() async throws {
        try await withResolver { resolver, loop in
            let (listener, port) = try await Self.listen(on: loop)
            let (other, otherPort) = try await Self.listen(on: loop)
            let rules = TestNetwork.loopbackPolicy + ["accept [::ffff:0:0]/96:*"]
            let connector = try Self.connector(resolver, rules: rules, directoryPort: port)
            let view = try TestNetwork.view(allowLoopback: true)
            for host in ["127.0.0.1", "inward.test", "::ffff:127.0.0.1"] {
                await #expect(throws: Refusal(reason: .exitPolicy), "\(host)") {
                    try await connector.connect(to: .host(host, port: port), in: view, on: loop).get()
                }
            }
            // Of a name with another address that one is left, and other ports are nothing of the directory's.
            await #expect(throws: Refusal(reason: .connectionRefused)) {
                try await connector.connect(to: .host("two.test", port: port), in: view, on: loop).get()
            }
            let connection = try await connector.connect(to: .host("inward.test", port: otherPort), in: view, on: loop)
                .get()
            try await connection.channel.close()
            try await listener.close()
            try await other.close()
        }
    }

    @Test("that the directory's own name is not known says nothing of a destination at its port")
    func unknownDirectory() async throws {
        try await withResolver(tryMilliseconds: 100) { resolver, loop in
            let gate = ExitGate(policy: .standard, isOwn: { _ in false })
            let connector = ExitConnector(
                resolver: resolver, gate: gate, directory: "missing.test", directoryPort: 443)
            await #expect(throws: Refusal(reason: .resolveFailed)) {
                try await connector.connect(to: .host("four.test", port: 443), in: TestNetwork.view(), on: loop).get()
            }
        }
    }

    @Test("remembers where the directory is while its name cannot be looked up")
    func forgottenDirectory() async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.any()
        var connector = ExitConnector(
            resolver: DirectoryOnce(), gate: ExitGate(policy: .standard, isOwn: { _ in false }),
            directory: "ds.test", directoryPort: 443)
        connector.open = { _, _, _, _, loop in
            loop.makeFailedFuture(IOError(errnoCode: ECONNREFUSED, reason: "connect"))
        }
        for (host, reason) in [
            ("four.test", .connectionRefused), ("four.test", .connectionRefused), ("8.8.8.8", .exitPolicy),
        ]
            as [(String, EndReason)]
        {
            await #expect(throws: Refusal(reason: reason)) {
                try await connector.connect(to: .host(host, port: 443), in: TestNetwork.view(), on: loop).get()
            }
        }
    }

    /// Name servers that know where the directory is, and forget it.
    private final class DirectoryOnce: NameService {
        private let isForgotten = NIOLockedValueBox(false)
        func addresses(of name: String, on eventLoop: any EventLoop) -> EventLoopFuture<NameResolver.Answer> {
            let isForgotten = self.isForgotten.withLockedValue { isForgotten in
                defer { if name == "ds.test" { isForgotten = true } }
                return isForgotten && name == "ds.test"
            }
            guard !isForgotten else { return eventLoop.makeFailedFuture(NameResolver.Failure.failed) }
            let address = IPAddress.v4(name == "ds.test" ? 0x0808_0808 : 0x5db8_d822)
            return eventLoop.makeSucceededFuture(NameResolver.Answer(addresses: [address], ttlSeconds: 0))
        }
        func name(of address: IPAddress, on eventLoop: any EventLoop) -> EventLoopFuture<String> {
            eventLoop.makeFailedFuture(NameResolver.Failure.noSuchName)
        }
        func update(pendingLimit: Int) {}
    }

    @Test("connects to the directory whatever the policy")
    func directory() async throws {
        try await withResolver { resolver, loop in
            let (listener, port) = try await Self.listen(on: loop)
            let connector = try Self.connector(resolver, rules: [], directoryPort: port)
            let connection = try await connector.connect(to: .directory, in: TestNetwork.view(), on: loop).get()
            #expect(connection.channel.remoteAddress?.port == Int(port))
            try await connection.channel.close()
            try await listener.close()
        }
    }

    @Test("resolves for clients what it would connect to")
    func resolves() async throws {
        try await withResolver(tryMilliseconds: 100) { resolver, loop in
            let connector = try Self.connector(resolver)
            let view = try TestNetwork.view()
            let resolved = try await connector.resolve(.addresses(of: "four.test"), in: view, on: loop).get()
            let address = try #require(IPAddress("93.184.216.34"))
            #expect(resolved == .answers([.init(.address(address), ttlSeconds: 300)]))
            let inside = try await connector.resolve(.name(of: .v4(0x7f00_0001)), in: view, on: loop).get()
            #expect(inside == .failed(.exitPolicy))
            await #expect(throws: Refusal(reason: .noSuchName)) {
                try await connector.resolve(.addresses(of: "missing.test"), in: view, on: loop).get()
            }
        }
    }
}
