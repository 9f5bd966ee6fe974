import NIOCore
import NIOPosix
import OnionAddress
import OnionCrypto
import OnionDirectory
import Testing

@testable import OnionRouter

/// What the network looks like to the OR under test.
enum TestNetwork {
    /// A view with one OR that listens at `nodes`.
    static func view(
        allowLoopback: Bool = false, nodes: [String] = [], connectMilliseconds: Int = 5000,
        parameters: NetworkParameters = NetworkParameters()
    ) throws -> NetworkView {
        var parameters = parameters
        if allowLoopback { try parameters.set(.allowLoopback, to: 1) }
        try parameters.set(.exitConnectTimeout, to: connectMilliseconds)
        let key = Ed25519PrivateKey()
        let addresses = try nodes.map { try #require(Endpoint($0)) }
        let routers =
            addresses.isEmpty
            ? []
            : [
                ConsensusRouter(
                    descriptor: try RouterDescriptor(
                        identity: key.publicKey, linkKey: Ed25519PrivateKey().publicKey,
                        onionKey: X25519PrivateKey().publicKey, onionKeyValidUntil: 1_800_000_000,
                        published: 1_790_000_000, sequence: 1, addresses: addresses, nickname: "amber"
                    ).signed(by: key), flags: [.guard, .exit], weight: 1)
            ]
        return NetworkView(
            consensus: try Consensus.make(
                revision: 1, validAfter: 1_790_000_000, freshUntil: 1_790_003_600, validUntil: 1_790_010_800,
                parameters: parameters, routers: routers, signedBy: Ed25519PrivateKey()))
    }

    static let loopbackPolicy = ["accept 127.0.0.0/8:*", "accept [::1]/128:*"]
}

/// A name server on loopback that answers by the first label of the name.
final class TestNameServer: ChannelInboundHandler, @unchecked Sendable {
    // @unchecked: what it counts is touched on its channel's event loop alone.
    typealias InboundIn = AddressedEnvelope<ByteBuffer>
    typealias OutboundOut = AddressedEnvelope<ByteBuffer>

    /// Start one; close the channel to stop it.
    static func start(on group: any EventLoopGroup) async throws -> (channel: any Channel, endpoint: Endpoint) {
        let channel = try await DatagramBootstrap(group: group).channelOption(.socketOption(.so_rcvbuf), value: 1 << 20)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(TestNameServer())
                }
            }.bind(host: "127.0.0.1", port: 0).get()
        return (channel, try #require(channel.localAddress.flatMap(Endpoint.init)))
    }

    private var turn: UInt8 = 0

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = self.unwrapInboundIn(data)
        guard let answer = self.answer(to: envelope.data) else { return }
        context.writeAndFlush(
            self.wrapOutboundOut(AddressedEnvelope(remoteAddress: envelope.remoteAddress, data: answer)), promise: nil)
    }

    private func answer(to query: ByteBuffer) -> ByteBuffer? {
        var query = query
        guard let id = query.readInteger(as: UInt16.self), query.readBytes(length: 10) != nil else { return nil }
        let rest = query
        var labels: [String] = []
        while let count = query.readInteger(as: UInt8.self), count > 0 {
            labels.append(query.readString(length: Int(count)) ?? "")
        }
        guard let type = query.readInteger(as: UInt16.self), query.readInteger(as: UInt16.self) != nil,
            let question = rest.getSlice(at: rest.readerIndex, length: query.readerIndex - rest.readerIndex)
        else { return nil }
        let v4 = type == 1
        // Whoever asks there has put a search domain behind the name: everything is found.
        if labels.suffix(2) == ["search", "test"] { labels = ["four"] }
        var code: UInt16 = 0
        var addresses: [[UInt8]] = []
        var ttls: [UInt32] = []
        switch labels.first?.lowercased() ?? "" {
        case "four": if v4 { addresses = [[93, 184, 216, 34]] }
        // Another address each time.
        case "turning":
            if v4 {
                self.turn += 1
                addresses = [[93, 184, 216, self.turn]]
            }
        case "six": if type == 28 { addresses = [[0x26, 6] + [UInt8](repeating: 0, count: 13) + [1]] }
        case "both":
            addresses = v4 ? [[93, 184, 216, 34]] : [[0x26, 6] + [UInt8](repeating: 0, count: 13) + [1]]
        case "inward": if v4 { addresses = [[127, 0, 0, 1]] }
        case "mixed": if v4 { addresses = [[10, 0, 0, 1], [169, 254, 169, 254], [127, 0, 0, 1]] }
        case "two": if v4 { addresses = [[127, 0, 0, 2], [127, 0, 0, 1]] }
        case "falling", "rising":
            if v4 { addresses = [[93, 184, 216, 34], [93, 184, 216, 35]] }
            ttls = labels.first == "falling" ? [300, 60] : [60, 300]
        // PTR: a name, and the root.
        case "34" where type == 12: addresses = [[5] + Array("heron".utf8) + [4] + Array("test".utf8) + [0]]
        case "35" where type == 12: addresses = [[0]]
        // So many of each family; what is past sixteen holds for less long.
        case let label where label.hasPrefix("count"):
            let numbers = 1...(UInt8(label.dropFirst(5)) ?? 1)
            addresses = numbers.map { v4 ? [93, 184, 216, $0] : [0x26, 6] + [UInt8](repeating: 0, count: 13) + [$0] }
            ttls = numbers.map { $0 > 16 ? 60 : 300 }
        case "missing": code = 3
        case "broken": code = 2
        case "silent": return nil
        case "empty": break
        case let label where label.hasPrefix("n"):
            if v4, let number = UInt16(label.dropFirst()) {
                addresses = [[93, 184, UInt8(number >> 8), UInt8(number & 255)]]
            }
        default: code = 3
        }
        var answer = ByteBuffer()
        answer.writeMultipleIntegers(id, 0x8180 | code, UInt16(1), UInt16(addresses.count), UInt16(0), UInt16(0))
        answer.writeImmutableBuffer(question)
        for (index, address) in addresses.enumerated() {
            let ttl = index < ttls.count ? ttls[index] : 300
            answer.writeMultipleIntegers(UInt16(0xc00c), type, UInt16(1), ttl, UInt16(address.count))
            answer.writeBytes(address)
        }
        return answer
    }
}

/// Runs `body` with a name server, a resolver that asks it, and an event loop.
func withResolver(
    tryMilliseconds: CInt = 2000, _ body: (NameResolver, any EventLoop) async throws -> Void
) async throws {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let (server, endpoint) = try await TestNameServer.start(on: group)
    let resolver = try NameResolver(servers: [endpoint], tryMilliseconds: tryMilliseconds)
    try await body(resolver, group.any())
    await resolver.end()
    try await server.close()
    try await group.shutdownGracefully()
}
