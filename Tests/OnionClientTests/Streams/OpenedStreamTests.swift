import NIOCore
import NIOPosix
import OnionStreams
import Testing

@testable import OnionClient

@Suite("Streams that channels are joined to", .timeLimit(.minutes(1)))
struct OpenedStreamTests {
    @Test("where many share a circuit a socket gets a smaller buffer; the one before is left as it is")
    func receiveBuffer() async throws {
        try await withClient { client in
            let listener = try await ServerBootstrap(group: client.loop).bind(host: "127.0.0.1", port: 0).get()
            let address = try #require(listener.localAddress)
            func connect() async throws -> any Channel {
                try await ClientBootstrap(group: client.loop)
                    .channelOption(.autoRead, value: false)
                    .channelOption(.allowRemoteHalfClosure, value: true)
                    .connect(to: address).get()
            }
            func byteCount(_ channel: any Channel) async throws -> ChannelOptions.Types.SocketOption.Value {
                try await channel.getOption(.socketOption(.so_rcvbuf)).get()
            }
            func join(_ stream: OpenedStream) async throws -> ChannelOptions.Types.SocketOption.Value {
                let channel = try await connect()
                try await client.loop.flatSubmit { stream.attach(to: channel) }.get()
                return try await byteCount(channel)
            }
            for _ in 1..<StreamEdge.manyStreams { _ = try await client.open("echo").get() }
            let alone = try await connect()
            let usual = try await byteCount(alone)
            let full = try await client.open("echo").get()
            #expect(try await join(full) == usual)
            let many = try await client.open("echo").get()
            let counts = try await client.onLoop { core, _ in core.status().circuits.map(\.streamCount) }
            #expect(counts.max() == StreamEdge.manyStreams + 1)
            let fair = StreamEdge.receiveBufferByteCount(streamCount: StreamEdge.manyStreams + 1)
            try await alone.setOption(.socketOption(.so_rcvbuf), value: ChannelOptions.Types.SocketOption.Value(fair))
                .get()
            #expect(try await join(many) == byteCount(alone))
            try await alone.close().get()
            try await listener.close().get()
        }
    }
}
