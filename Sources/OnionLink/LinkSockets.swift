package import NIOCore
import NIOPosix
package import OnionAddress

/// The socket options of links, the same for both sides.
///
/// The kernel's buffer sits behind the link's scheduler, so little of what waits may be in it: TCP_NOTSENT_LOWAT and the
/// write watermarks keep it small, to one batch beyond what the kernel takes. There is one read a turn, so that what it
/// brought is on its way before the next: otherwise a whole window moves from router to router as one lump, and only one of
/// them works at a time. How much a read brings is for ``LinkBuffers``.
///
/// - Source: DESIGN §7 *Link*, §8
package enum LinkSockets {
    /// What the kernel takes, beyond what is on its way, for a peer that does not read; for edges too.
    package static let unsentLowWaterByteCount: ChannelOptions.Types.SocketOption.Value = 128 * 1024
    /// TCP_NOTSENT_LOWAT of <netinet/tcp.h>, which Glibc's module does not export everywhere.
    package static let unsentLowWaterOption = ChannelOptions.Types.SocketOption(
        level: .tcp, name: .init(rawValue: 25))

    /// TCP_CONGESTION of <netinet/tcp.h>. Its value is a name; this one, and the zero that ends it, fit into NIO's integer.
    package static let congestionControlOption = ChannelOptions.Types.SocketOption(
        level: .tcp, name: .init(rawValue: 13))
    package static let reno = ChannelOptions.Types.SocketOption.Value(littleEndian: 0x6F6E_6572)

    /// Let a connection with `peer` send without pacing if it stays on this machine; on the channel's event loop.
    ///
    /// BBR, the default of some machines, spreads what it sends over time, at a rate that it finds out from the path. Here
    /// the path is the processes themselves: each then waits while others could work. Reno sends what the window allows. Every
    /// kernel has it, for every user; one that does not keeps its own. What a listener accepts inherits it.
    package static func unpaceLoopback(_ channel: any Channel, with peer: IPAddress?) {
        guard let peer, SpecialPurpose.isLoopback(peer) else { return }
        try? channel.syncOptions?.setOption(Self.congestionControlOption, value: Self.reno)
    }

    static func configure(_ bootstrap: ClientBootstrap) -> ClientBootstrap {
        bootstrap
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(Self.unsentLowWaterOption, value: Self.unsentLowWaterByteCount)
            .channelOption(.writeBufferWaterMark, value: LinkBuffers.small.writeWatermarks)
            .channelOption(.maxMessagesPerRead, value: 1)
            .channelOption(.recvAllocator, value: LinkBuffers.small.receiveAllocator)
    }

    static func configure(_ bootstrap: ServerBootstrap) -> ServerBootstrap {
        bootstrap
            .pausingWhenAcceptFails()
            .serverChannelOption(.backlog, value: 256)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(Self.unsentLowWaterOption, value: Self.unsentLowWaterByteCount)
            .childChannelOption(.writeBufferWaterMark, value: LinkBuffers.small.writeWatermarks)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(.recvAllocator, value: LinkBuffers.small.receiveAllocator)
    }
}
