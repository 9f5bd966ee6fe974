import NIOCore
import NIOPosix
import OnionAddress
import OnionCells
import OnionDirectory
import OnionStreams

/// Opens an exit's connections: resolves the name, asks the gate about each address, and connects to that very address.
///
/// - Source: DESIGN §12
struct ExitConnector: Sendable {
    let resolver: Resolver
    let gate: ExitGate
    /// The directory server, which every OR connects to on a client's behalf.
    let directory: String
    let directoryPort: UInt16
    /// Where connections leave from; nil leaves it to the system.
    var source: ExitSource?

    /// Addresses of one name that are tried, one after the other.
    static let addressLimit = 4

    struct Connection: Sendable {
        let channel: any Channel
        let connected: Connected
    }

    /// Why there is no connection, as the client hears it.
    struct Refusal: Error, Equatable { let reason: EndReason }

    /// Connect to where `target` says, within the network's time limit.
    func connect(
        to target: Begin.Target, in view: NetworkView, on eventLoop: any EventLoop
    ) -> EventLoopFuture<Connection> {
        let deadline = NIODeadline.now() + .milliseconds(Int64(view.parameters[.exitConnectTimeout]))
        switch target {
        case .directory:
            return self.addresses(of: self.directory, on: eventLoop).flatMap { answer in
                let endpoints = answer.addresses.map { Endpoint(address: $0, port: self.directoryPort) }
                return self.connect(to: endpoints[...], ttl: 0, until: deadline, on: eventLoop)
            }
        case .host(let host, let port):
            return self.addresses(of: host, on: eventLoop).flatMap { answer in
                let endpoints = answer.addresses.map { Endpoint(address: $0, port: port) }
                let allowed = endpoints.filter { self.gate.allows($0, in: view) }.prefix(Self.addressLimit)
                guard !allowed.isEmpty else { return eventLoop.makeFailedFuture(Refusal(reason: .exitPolicy)) }
                return self.connect(to: allowed, ttl: answer.ttlSeconds, until: deadline, on: eventLoop)
            }
        }
    }

    /// Resolve for a client: answers pass the gate too, for one port or another.
    func resolve(_ query: Resolve, in view: NetworkView, on eventLoop: any EventLoop) -> EventLoopFuture<Resolved> {
        switch query {
        case .addresses(let name):
            return self.addresses(of: name, on: eventLoop).map { answer in
                let allowed = answer.addresses.filter { self.gate.allowsSomePort(of: $0, in: view) }
                guard !allowed.isEmpty else { return .failed(.exitPolicy) }
                return .answers(
                    allowed.map { Resolved.Answer(.address($0), ttlSeconds: answer.ttlSeconds) })
            }
        case .name(let address):
            guard self.gate.allowsSomePort(of: address, in: view) else {
                return eventLoop.makeSucceededFuture(.failed(.exitPolicy))
            }
            return self.resolver.name(of: address, on: eventLoop).map { name in
                .answers([Resolved.Answer(.name(name), ttlSeconds: Self.reverseTTL)])
            }
        }
    }

    /// c-ares does not tell the TTL of a reverse answer.
    private static let reverseTTL: UInt32 = 60

    private func addresses(of host: String, on eventLoop: any EventLoop) -> EventLoopFuture<Resolver.Answer> {
        if let literal = IPAddress(host) {
            return eventLoop.makeSucceededFuture(Resolver.Answer(addresses: [literal], ttlSeconds: 0))
        }
        return self.resolver.addresses(of: host, on: eventLoop).flatMapErrorThrowing { error in
            throw Refusal(reason: Self.reason(of: error))
        }
    }

    private func connect(
        to endpoints: ArraySlice<Endpoint>, ttl: UInt32, until deadline: NIODeadline, on eventLoop: any EventLoop
    ) -> EventLoopFuture<Connection> {
        guard let endpoint = endpoints.first else {
            return eventLoop.makeFailedFuture(Refusal(reason: .hostUnreachable))
        }
        let rest = endpoints.dropFirst()
        let left = deadline - .now()
        guard left > .zero else { return eventLoop.makeFailedFuture(Refusal(reason: .timedOut)) }
        // An address that does not answer must leave time for the next.
        let share = TimeAmount.nanoseconds(left.nanoseconds / Int64(endpoints.count))
        let bootstrap = StreamEdge.configure(ClientBootstrap(group: eventLoop))
        return (self.source?.apply(to: bootstrap, for: endpoint) ?? bootstrap)
            .connectTimeout(share)
            .connect(to: SocketAddress(endpoint))
            .map { Connection(channel: $0, connected: Connected(address: endpoint.address, ttlSeconds: ttl)) }
            .flatMapError { error in
                if rest.isEmpty { return eventLoop.makeFailedFuture(Refusal(reason: Self.reason(of: error))) }
                return self.connect(to: rest, ttl: ttl, until: deadline, on: eventLoop)
            }
    }

    /// What an error of the resolver or the operating system is on the wire.
    static func reason(of error: any Error) -> EndReason {
        switch error {
        case let refusal as Refusal: return refusal.reason
        case let failure as Resolver.Failure:
            switch failure {
            case .noSuchName: return .noSuchName
            case .failed: return .resolveFailed
            case .busy: return .resourceLimit
            case .stopped: return .shuttingDown
            }
        case let error as IOError:
            switch error.errnoCode {
            case ECONNREFUSED: return .connectionRefused
            case EHOSTUNREACH, EHOSTDOWN: return .hostUnreachable
            case ENETUNREACH, ENETDOWN, EAFNOSUPPORT, EADDRNOTAVAIL: return .networkUnreachable
            case ETIMEDOUT: return .timedOut
            case ECONNRESET: return .reset
            case EMFILE, ENFILE, ENOBUFS, ENOMEM: return .resourceLimit
            default: return .unspecified
            }
        case ChannelError.connectTimeout: return .timedOut
        default: return .unspecified
        }
    }
}
