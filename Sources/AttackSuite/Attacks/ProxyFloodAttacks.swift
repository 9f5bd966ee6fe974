import HostilePeers
import NIOCore
import OnionAddress

/// Floods of thor-proxy's own port, by programs of its user's machine that are broken, or not his.
enum ProxyFloodAttacks {
    static let all = [Self.connections, Self.halfOpen]

    private static let connections = FloodAttacks.flood(
        "proxy-connections", tries: "500 new connections a second to thor-proxy's port, each closed at once"
    ) { arena, _ in
        let proxy = try arena.needUser().proxy
        while true {
            let channel = try? await FloodAttacks.connect(to: proxy)
            channel?.close(promise: nil)
            try await FloodAttacks.pause(2)
        }
    }

    /// How requests begin: SOCKS5 before and after its first answer, SOCKS4, HTTP.
    private static let beginnings: [[UInt8]] = [
        [5], [5, 1, 0, 5, 1, 0, 3, 255], [4, 1, 0, 80, 0, 0, 0, 1], Array("CONNECT a:1 HTTP/1.1\r\nX: ".utf8),
    ]

    private static let halfOpen = FloodAttacks.flood(
        "proxy-half-open",
        tries: "1,000 connections to thor-proxy's port that say the beginning of SOCKS5, SOCKS4 or HTTP, and then a "
            + "byte now and then"
    ) { arena, hoard in
        let proxy = try arena.needUser().proxy
        var channels: [any Channel] = []
        for index in 0..<1000 {
            let channel = try await FloodAttacks.connect(to: proxy)
            await hoard.keep(channel)
            channel.writeAndFlush(ByteBuffer(bytes: Self.beginnings[index % Self.beginnings.count]), promise: nil)
            channels.append(channel)
        }
        while true {
            for channel in channels where channel.isActive {
                channel.writeAndFlush(ByteBuffer(bytes: [0x61]), promise: nil)
                try await FloodAttacks.pause(2)
            }
        }
    }
}
