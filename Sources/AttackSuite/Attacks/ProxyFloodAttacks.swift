import HostilePeers
import NIOConcurrencyHelpers
import NIOCore
import OnionAddress

/// Floods of thor-proxy's own port, by programs of its user's machine that are broken, or not his.
enum ProxyFloodAttacks {
    static let all = [Self.connections, Self.halfOpen, Self.unreadDownloads]

    private static let connections = FloodAttacks.flood(
        "proxy-connections", tries: "500 new connections a second to thor-proxy's port, each closed at once",
        needs: .init(done: .init(500, "connections"))
    ) { arena, hoard in
        let proxy = try arena.needUser().proxy
        var opened = 0
        while true {
            if let channel = try? await FloodAttacks.connect(to: proxy) {
                opened += 1
                hoard.hasDone(opened)
                channel.close(promise: nil)
            }
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
            + "byte now and then",
        needs: .init(held: .init(1000, "connections"))
    ) { arena, hoard in
        let proxy = try arena.needUser().proxy
        var channels: [any Channel] = []
        for index in 0..<1000 {
            let channel = try await FloodAttacks.connect(to: proxy)
            hoard.keep(channel)
            channel.writeAndFlush(ByteBuffer(bytes: Self.beginnings[index % Self.beginnings.count]), promise: nil)
            channels.append(channel)
        }
        while true {
            hoard.holds(channels.count { $0.isActive })
            for channel in channels where channel.isActive {
                channel.writeAndFlush(ByteBuffer(bytes: [0x61]), promise: nil)
                try await FloodAttacks.pause(2)
            }
        }
    }

    private static let unreadDownloads = FloodAttacks.flood(
        "proxy-unread-downloads", tries: "400 downloads without end through thor-proxy, of which no byte is read",
        needs: .init(held: .init(400, "downloads"))
    ) { arena, hoard in
        let user = try arena.needUser()
        try await LoopbackServer.serving(.source) { port, tally in
            _ = try await repeatedly(400, width: 16) { index in
                // As many on a circuit as one may have, and a few less.
                let connection = try? await user.open(port: port, name: "unread-\(index / 200)", reads: false)
                if let connection { hoard.keep(connection.channel) }
                return nil
            }
            // Until the buffers of all are full they are downloads as good as the user's, and share with his.
            try await FloodAttacks.pause(2000)
            while true {
                hoard.holds(tally.withLockedValue { $0.connectionCount })
                try await FloodAttacks.pause(100)
            }
        }
    }
}
