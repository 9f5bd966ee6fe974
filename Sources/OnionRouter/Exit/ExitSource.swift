import NIOCore
import NIOPosix
package import OnionAddress

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// The address of this machine that an exit's connections leave from.
///
/// Used where it can work: for destinations of its own family, and, when it is a loopback address, for loopback alone.
struct ExitSource: Sendable, Equatable {
    let address: IPAddress

    /// Whether connections to `destination` leave from here.
    func serves(_ destination: IPAddress) -> Bool {
        guard self.address.isIPv4 == destination.isIPv4 else { return false }
        return !SpecialPurpose.isLoopback(self.address) || SpecialPurpose.isLoopback(destination)
    }

    /// Let a bootstrap's connection leave from here.
    func apply(to bootstrap: ClientBootstrap) -> ClientBootstrap {
        // The bootstrap's own options are the ones that are set before it binds.
        bootstrap.channelOption(Self.portWhenConnecting, value: 1)
            .bind(to: SocketAddress(Endpoint(address: self.address, port: 0)))
    }

    /// IP_BIND_ADDRESS_NO_PORT, which is for IPv6 sockets too: the kernel picks the port when it knows the destination, so
    /// that a port is taken for one destination and not for all of them.
    private static let portWhenConnecting = ChannelOptions.Types.SocketOption(
        level: .ip, name: NIOBSDSocket.Option(rawValue: 24))
}

extension OnionRouter {
    /// Whether sockets of this machine can be bound to an address: interfaces do not list all of 127.0.0.0/8.
    package static func isOwnAddress(_ address: IPAddress) -> Bool {
        #if canImport(Glibc)
            let kind = Int32(SOCK_DGRAM.rawValue)
        #else
            let kind = SOCK_DGRAM
        #endif
        let descriptor = socket(address.isIPv4 ? AF_INET : AF_INET6, kind, 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        return SocketAddress(Endpoint(address: address, port: 0)).withSockAddr { bind(descriptor, $0, socklen_t($1)) }
            == 0
    }
}
