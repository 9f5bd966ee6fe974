import OnionAddress
import OnionDirectory

/// Decides whether this OR connects to a resolved address: its exit policy, and what no policy opens.
///
/// Own addresses and the listening addresses of the network's nodes are closed whatever the rules say: behind
/// them are services that trust their own machine. In a test network, where all is on loopback, an interface
/// address that the rules open stays open. An IPv6 form of an IPv4 address is judged as both.
///
/// - Source: DESIGN §12
struct ExitGate: Sendable {
    let policy: ExitPolicy
    /// Whether an address is this machine's.
    let isOwn: @Sendable (IPAddress) -> Bool

    func allows(_ destination: Endpoint, in view: NetworkView) -> Bool {
        guard self.policy.allows(destination) else { return false }
        guard let inner = destination.address.embeddedIPv4 else { return self.isOpen(destination, in: view) }
        // The kernel takes a mapped address to the IPv4 one.
        return self.isOpen(destination, in: view)
            && self.isOpen(Endpoint(address: inner, port: destination.port), in: view)
    }

    /// Whether there is a port of `address` that this OR connects to: what is asked where none is named.
    func allowsSomePort(of address: IPAddress, in view: NetworkView) -> Bool {
        let addresses = [address, address.embeddedIPv4].compactMap { $0 }
        // A node closes one port; the one behind it is judged by the rules again.
        let behindNodes = view.nodeEndpoints.filter { addresses.contains($0.address) }.map { $0.port &+ 1 }
        return self.policy.decisivePorts.union(behindNodes).contains {
            self.allows(Endpoint(address: address, port: $0), in: view)
        }
    }

    private func isOpen(_ destination: Endpoint, in view: NetworkView) -> Bool {
        guard !view.nodeEndpoints.contains(destination), !destination.address.isUnspecified else { return false }
        if SpecialPurpose.isLoopback(destination.address) { return view.parameters.allows(.allowLoopback) }
        return !self.isOwn(destination.address)
    }
}

extension ExitGate {
    /// Of an OR: its own are the addresses of its machine's interfaces, and the one at which others are told to find it.
    /// Behind a translated address that is the gateway's, which takes who comes from inside for one of its own.
    init(_ configuration: RouterConfiguration, ownAddresses: OwnAddresses) {
        let advertised = configuration.advertise?.address
        self.init(policy: configuration.exitPolicy, isOwn: { $0 == advertised || ownAddresses.contains($0) })
    }
}
