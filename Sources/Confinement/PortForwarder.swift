internal import NIOCore
internal import NIOPosix
internal import OnionLink

/// Takes the connections of a listening socket on to the proxy, byte for byte.
package struct PortForwarder {
    /// Where the proxy listens.
    package enum Target: Equatable, Sendable {
        case loopback(port: UInt16)
        case unix(path: String)
    }

    let channel: any Channel

    /// Begin to serve a socket, which is closed with the forwarder.
    package static func serve(_ listener: Int32, to target: Target) async throws -> PortForwarder {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let channel = try await ServerBootstrap(group: loop)
            .pausingWhenAcceptFails()
            .childChannelOption(.autoRead, value: false)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { near in
                let bootstrap = ClientBootstrap(group: near.eventLoop)
                    .channelOption(.autoRead, value: false)
                    .channelOption(.allowRemoteHalfClosure, value: true)
                let connecting =
                    switch target {
                    case .loopback(let port):
                        bootstrap.channelOption(.tcpOption(.tcp_nodelay), value: 1)
                            .connect(host: "127.0.0.1", port: Int(port))
                    case .unix(let path): bootstrap.connect(unixDomainSocketPath: path)
                    }
                return connecting.flatMapThrowing { far in
                    let (one, other) = ForwardHandler.pair(near, far)
                    try far.pipeline.syncOperations.addHandler(other)
                    try near.pipeline.syncOperations.addHandler(one)
                }.flatMapErrorThrowing { error in
                    // Not a short but proper end for a connection that leads nowhere.
                    ForwardHandler.resetWhenClosed(near)
                    throw error
                }
            }
            .withBoundSocket(listener).get()
        return PortForwarder(channel: channel)
    }

    package func stop() async { try? await self.channel.close().get() }
}
