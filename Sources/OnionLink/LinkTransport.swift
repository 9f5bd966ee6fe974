package import NIOCore
import NIOPosix
package import OnionAddress
package import OnionCells
package import OnionCrypto

/// Opens links: dials them, and listens for them.
///
/// - Source: DESIGN §5
package struct LinkTransport: Sendable {
    /// Dials a link on the event loop it is called on; ``dial(_:linkKey:on:owner:)``, or what stands in for the network.
    package typealias Dial =
        @Sendable (Endpoint, Ed25519PublicKey, any EventLoop, any LinkOwner) -> EventLoopFuture<NIOLoopBound<Link>>

    private let tls: LinkTLS
    private let limits: LinkLimits
    private let netInfo: @Sendable (IPAddress?) -> NetInfo

    /// How long a TCP connection may take.
    package static let connectTimeLimit = TimeAmount.seconds(10)

    /// - Parameters:
    ///   - credentials: nil for a proxy, which shows no certificate and cannot listen.
    ///   - netInfo: what to say to a peer that is seen at an address.
    package init(
        credentials: LinkCredentials?, limits: LinkLimits, netInfo: @escaping @Sendable (IPAddress?) -> NetInfo
    ) throws {
        self.tls = try LinkTLS(credentials: credentials, protocol: .link)
        self.limits = limits
        self.netInfo = netInfo
    }

    /// Dial `address`, and accept only the peer whose link key is `linkKey`.
    ///
    /// - Parameter owner: called on `eventLoop`, which must be the current one.
    /// - Returns: the link before it is open: the owner's ``LinkOwner/linkOpened(_:)`` says when it is. A failure to
    ///   connect fails the future, and the owner hears nothing.
    package func dial(
        _ address: Endpoint, linkKey: Ed25519PublicKey, on eventLoop: any EventLoop, owner: any LinkOwner
    ) -> EventLoopFuture<NIOLoopBound<Link>> {
        let boundOwner = NIOLoopBound(owner, eventLoop: eventLoop)
        return LinkSockets.configure(ClientBootstrap(group: eventLoop))
            .connectTimeout(Self.connectTimeLimit)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    LinkSockets.unpaceLoopback(channel, with: address.address)
                    let pipeline = channel.pipeline.syncOperations
                    let peer = try self.tls.addClientHandlers(to: pipeline, expecting: linkKey)
                    try pipeline.addHandler(
                        self.makeLink(channel, isDialler: true, peer: peer, owner: boundOwner.value))
                }
            }
            .connect(to: SocketAddress(address))
            .flatMapThrowing { channel in
                NIOLoopBound(try channel.pipeline.syncOperations.handler(type: Link.self), eventLoop: eventLoop)
            }
    }

    /// Listen on `address`; each connection that `admit` lets in becomes a link of the owner that `owner`
    /// names for its event loop.
    package func listen(
        on address: SocketAddress, group: any EventLoopGroup,
        admit: @escaping @Sendable (any Channel) -> Bool,
        owner: @escaping @Sendable (any EventLoop) -> (any LinkOwner)?
    ) -> EventLoopFuture<any Channel> {
        LinkSockets.configure(ServerBootstrap(group: group))
            .childChannelInitializer { channel in
                guard admit(channel), let owner = owner(channel.eventLoop) else { return channel.close() }
                return channel.eventLoop.makeCompletedFuture {
                    LinkSockets.unpaceLoopback(channel, with: channel.remoteAddress.flatMap(Endpoint.init)?.address)
                    let pipeline = channel.pipeline.syncOperations
                    let peer = try self.tls.addServerHandlers(to: pipeline)
                    try pipeline.addHandler(
                        self.makeLink(channel, isDialler: false, peer: peer, owner: owner))
                }
            }
            .bind(to: address)
    }

    private func makeLink(_ channel: any Channel, isDialler: Bool, peer: PeerKey, owner: any LinkOwner) -> Link {
        Link(
            channel: channel, isDialler: isDialler, peer: peer, owner: owner, limits: self.limits, netInfo: self.netInfo
        )
    }
}
