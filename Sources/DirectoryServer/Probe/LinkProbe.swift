package import NIOCore
import NIOPosix
import OnionAddress
import OnionCrypto
package import OnionDirectory
import OnionLink

/// Probes a router over a link of its own, as a proxy would use it: no certificate, and one circuit.
///
/// - Source: DESIGN §9, *Registration*: the DS connects back to the advertised address and completes a circuit handshake
///   before it lists the OR.
package struct LinkProbe: RouterProbing {
    /// For all of it: TCP, TLS, NetInfo, Created.
    package static let timeLimit = TimeAmount.seconds(5)

    private let tls: LinkTLS
    private let group: any EventLoopGroup
    private let timeLimit: TimeAmount

    /// - Throws: what the TLS library says.
    package init(group: any EventLoopGroup, timeLimit: TimeAmount = Self.timeLimit) throws {
        self.tls = try LinkTLS(credentials: nil, protocol: .link)
        self.group = group
        self.timeLimit = timeLimit
    }

    package func probe(_ descriptor: RouterDescriptor) async -> ProbeOutcome {
        // There is one.
        guard let endpoint = descriptor.addresses.first,
            let address = try? SocketAddress(ipAddress: "\(endpoint.address)", port: Int(endpoint.port))
        else { return .unreachable }
        let handshake = CircuitHandshake.Client(identity: descriptor.identity, onionKey: descriptor.onionKey)
        let eventLoop = self.group.next()
        let outcome = eventLoop.makePromise(of: ProbeOutcome.self)
        let connecting = ClientBootstrap(group: eventLoop)
            .connectTimeout(self.timeLimit)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    _ = try self.tls.addClientHandlers(to: pipeline, expecting: descriptor.linkKey)
                    try pipeline.addHandler(ProbeHandler(handshake: handshake, outcome: outcome))
                }
            }
            .connect(to: address)
        let timer = eventLoop.scheduleTask(in: self.timeLimit) { outcome.succeed(.unreachable) }
        connecting.whenFailure { _ in outcome.succeed(.unreachable) }
        let found = await withTaskCancellationHandler {
            (try? await outcome.futureResult.get()) ?? .unreachable
        } onCancel: {
            outcome.succeed(.unreachable)
        }
        timer.cancel()
        connecting.whenSuccess { $0.close(promise: nil) }
        return found
    }
}
