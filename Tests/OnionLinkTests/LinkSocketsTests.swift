import NIOCore
import NIOPosix
import OnionAddress
import Testing

@testable import OnionLink

@Suite("Sockets of links")
struct LinkSocketsTests {
    @Test("what stays on this machine is sent without pacing, anything else as the machine does")
    func pacing() async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        let channel = try await ServerBootstrap(group: group).bind(host: "127.0.0.1", port: 0).get()
        let option = LinkSockets.congestionControlOption
        let usual = try await channel.getOption(option).get()
        let found = try await channel.eventLoop.submit {
            try ["192.0.2.1", nil, "127.0.0.2"].map { peer in
                LinkSockets.unpaceLoopback(channel, with: peer.flatMap(IPAddress.init))
                return try channel.syncOptions?.getOption(option)
            }
        }.get()
        #expect(found == [usual, usual, LinkSockets.reno])
        try await channel.close()
    }
}
