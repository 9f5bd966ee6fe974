import Foundation
import NIOCore
import NIOPosix
import OnionAddress
import OnionClient
import OnionDirectory
import Testing

/// Faults that need real sockets, TLS and name servers; those of a whole network in virtual time are in FaultTests.
@Suite("Faults on real sockets", .serialized)
struct RealFaultTests {
    private static let seedCount =
        ProcessInfo.processInfo.environment["THOR_FAULT_SEEDS"].flatMap(Int.init).map { max(8, $0 / 25) } ?? 8

    /// What the seed chooses: the relay, the harm, and the byte at which it comes; a circuit of three hops, a stream and
    /// 64 KiB both ways are about 200 kB.
    private struct Plan {
        let relay: Int
        let harm: CuttableRelay.Harm
        let byteCount: Int

        init(seed: Int) {
            let harms = CuttableRelay.Harm.allCases
            self.harm = harms[seed % harms.count]
            self.relay = seed / harms.count % 3
            self.byteCount = (seed &* 82_951_117) % 200_000
        }
    }

    @Test(
        "connections of each hop that are cut, half-closed or frozen at some byte: whole or broken, and never stuck",
        .timeLimit(.minutes(10)))
    func harmedConnections() async throws {
        try await TestNetwork.run(routers: 3, isRelayed: true) { network in
            try await LoopbackSocket.serving({ try $0.echo() }) { port in
                let socks = network.socks.port
                for seed in 0..<Self.seedCount {
                    let plan = Plan(seed: seed)
                    network.relays[plan.relay].plan(plan.harm, after: plan.byteCount)
                    let seconds = try await Self.seconds {
                        _ = try await Threads.run { try Self.exchange(over: socks, with: port) }
                    }
                    #expect(seconds < 20, "seed \(seed): \(plan)")
                    for relay in network.relays { relay.plan(nil) }
                    var isWorking = false
                    for _ in 0..<20 where !isWorking {
                        isWorking = try await Threads.run { try Self.exchange(over: socks, with: port) }
                    }
                    #expect(isWorking, "seed \(seed): \(plan): nothing works afterwards")
                }
                // The last socket's end is on its way.
                var streamCount = 1
                for _ in 0..<100 where streamCount > 0 {
                    streamCount = try await network.client.status().get().openStreamCount
                    try await Task.sleep(for: .milliseconds(50))
                }
                #expect(streamCount == 0)
            }
        }
    }

    private static func seconds(_ body: () async throws -> Void) async throws -> Double {
        let start = ContinuousClock.now
        try await body()
        let time = ContinuousClock.now - start
        return Double(time.components.seconds) + Double(time.components.attoseconds) / 1e18
    }

    /// Echo 64 KiB.
    ///
    /// - Returns: whether they came back, each as it was sent; a connection that broke says no.
    private static func exchange(over socks: UInt16, with port: UInt16) throws -> Bool {
        do {
            let socket = try LoopbackSocket(port: socks)
            guard try socket.socks(connectTo: "127.0.0.1", port: port) == 0 else { return false }
            for piece in 0..<4 {
                let bytes = (0..<16_384).map { UInt8(truncatingIfNeeded: ($0 &* 2_654_435_761 &+ piece) >> 7) }
                try socket.send(bytes)
                let back = try socket.receive(exactly: bytes.count)
                #expect(back == bytes)
            }
            return true
        } catch let failure as LoopbackSocket.Failure {
            // A socket that nothing comes from for 20 s says EAGAIN: that is stuck.
            #expect(failure.code != EAGAIN)
            return false
        }
    }

    /// Answers no question, or with bytes that mean nothing.
    private final class DeadNameServer: ChannelInboundHandler {
        typealias InboundIn = AddressedEnvelope<ByteBuffer>
        typealias OutboundOut = AddressedEnvelope<ByteBuffer>
        private let answer: [UInt8]?
        init(answer: [UInt8]?) { self.answer = answer }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard let answer else { return }
            let remote = self.unwrapInboundIn(data).remoteAddress
            context.writeAndFlush(
                self.wrapOutboundOut(AddressedEnvelope(remoteAddress: remote, data: ByteBuffer(bytes: answer))),
                promise: nil)
        }
    }

    enum NameServer: CaseIterable, Sendable { case silent, refusing, babbling }

    @Test(
        "name servers that are dead: an error that says so, soon, and addresses still work",
        arguments: NameServer.allCases)
    func deadNameServers(_ kind: NameServer) async throws {
        let answer: [UInt8]? = kind == .babbling ? [UInt8](repeating: 0xa5, count: 40) : nil
        let channel = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(DeadNameServer(answer: answer))
                }
            }.bind(host: "127.0.0.1", port: 0).get()
        let endpoint = Endpoint(address: .v4(0x7f00_0001), port: UInt16(channel.localAddress?.port ?? 0))
        if kind == .refusing { try await channel.close() }
        var parameters = NetworkParameters.testNetwork
        try parameters.set(.exitConnectTimeout, to: 1000)
        try await TestNetwork.run(parameters: parameters, resolvers: [endpoint]) { network in
            try await LoopbackSocket.serving({ try $0.echo() }) { port in
                let socks = network.socks.port
                var reply: UInt8 = 0
                let seconds = try await Self.seconds {
                    reply = try await Threads.run {
                        try LoopbackSocket(port: socks).socks(connectTo: "example.test", port: port)
                    }
                }
                #expect(reply == 4)
                #expect(seconds < 10)
                let isWorking = try await Threads.run { try Self.exchange(over: socks, with: port) }
                #expect(isWorking)
            }
        }
        try? await channel.close()
    }
}
