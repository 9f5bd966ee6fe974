import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import OnionAddress
import OnionCells
import OnionDirectory
import OnionLink
import OnionStreams

/// Opens an exit's connections: resolves the name, asks the gate about each address, and connects to that very address.
///
/// - Source: DESIGN §12
struct ExitConnector: Sendable {
    var resolver: any NameService
    let gate: ExitGate
    /// The directory server, which every OR connects to on a client's behalf.
    let directory: String
    let directoryPort: UInt16
    /// Where connections leave from; nil leaves it to the system.
    var source: ExitSource?
    var open: Open = Self.openTCP
    /// Where the directory server was when its name was last looked up.
    private let directoryAddresses = NIOLockedValueBox<[IPAddress]>([])

    init(
        resolver: any NameService, gate: ExitGate, directory: String, directoryPort: UInt16, source: ExitSource? = nil
    ) {
        self.resolver = resolver
        self.gate = gate
        self.directory = directory
        self.directoryPort = directoryPort
        self.source = source
    }

    /// Opens a connection to exactly one address, with so many bytes of receive buffer, within a time, and set up as
    /// ``StreamEdge`` wants it.
    typealias Open = @Sendable (Endpoint, ExitSource?, Int, TimeAmount, any EventLoop) -> EventLoopFuture<any Channel>

    private static let openTCP: Open = { endpoint, source, receiveBufferByteCount, timeLimit, eventLoop in
        let source = source.flatMap { $0.serves(endpoint.address) ? $0 : nil }
        // Not by the bootstrap's own options: each costs a future, on a path that every stream takes.
        let bootstrap = ClientBootstrap(group: eventLoop).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                try StreamEdge.configure(channel)
                LinkSockets.unpaceLoopback(channel, with: endpoint.address)
                guard let options = channel.syncOptions else { return }
                try options.setOption(
                    .socketOption(.so_rcvbuf), value: ChannelOptions.Types.SocketOption.Value(receiveBufferByteCount))
                try options.setOption(LinkSockets.unsentLowWaterOption, value: LinkSockets.unsentLowWaterByteCount)
            }
        }
        return (source?.apply(to: bootstrap) ?? bootstrap).connectTimeout(timeLimit)
            .connect(to: SocketAddress(endpoint))
    }

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
        to target: Begin.Target, receiveBufferByteCount: Int = ReceiveMemory.leastByteCount, in view: NetworkView,
        on eventLoop: any EventLoop
    ) -> EventLoopFuture<Connection> {
        let deadline = eventLoop.now + .milliseconds(Int64(view.parameters[.exitConnectTimeout]))
        switch target {
        case .directory:
            return self.addresses(of: self.directory, in: view, on: eventLoop).flatMap { answer in
                let endpoints = answer.addresses.map { Endpoint(address: $0, port: self.directoryPort) }
                return self.connect(to: endpoints[...], receiveBufferByteCount, ttl: 0, until: deadline, on: eventLoop)
            }
        case .host(let host, let port):
            return self.addresses(of: host, in: view, on: eventLoop).flatMap { answer in
                let endpoints = answer.addresses.map { Endpoint(address: $0, port: port) }
                let allowed = endpoints.filter { self.gate.allows($0, in: view) }.prefix(Self.addressLimit)
                guard !allowed.isEmpty else { return eventLoop.makeFailedFuture(Refusal(reason: .exitPolicy)) }
                let connect = { @Sendable (open: ArraySlice<Endpoint>) in
                    self.connect(
                        to: open, receiveBufferByteCount, ttl: answer.ttlSeconds, until: deadline, on: eventLoop)
                }
                guard port == self.directoryPort else { return connect(allowed) }
                return self.withoutDirectory(allowed, in: view, on: eventLoop).flatMap(connect)
            }
        }
    }

    /// Leave the directory server out, which is reached as such alone: streams to it have limits of their own, so that those
    /// of clients do not use up what it grants to this OR's address.
    private func withoutDirectory(
        _ endpoints: ArraySlice<Endpoint>, in view: NetworkView, on eventLoop: any EventLoop
    ) -> EventLoopFuture<ArraySlice<Endpoint>> {
        self.addresses(of: self.directory, in: view, on: eventLoop).map { answer in
            self.directoryAddresses.withLockedValue { $0 = answer.addresses }
            return answer.addresses
        }.flatMapErrorThrowing { _ in
            let known = self.directoryAddresses.withLockedValue { $0 }
            // Nothing is wrong with the destination: another exit may know.
            guard !known.isEmpty else { throw Refusal(reason: .resolveFailed) }
            return known
        }.flatMapThrowing { addresses in
            func plain(_ address: IPAddress) -> IPAddress { address.embeddedIPv4 ?? address }
            let closed = addresses.map(plain)
            let open = endpoints.filter { !closed.contains(plain($0.address)) }
            guard !open.isEmpty else { throw Refusal(reason: .exitPolicy) }
            return open[...]
        }
    }

    /// Resolve for a client: answers pass the gate too, for one port or another.
    func resolve(_ query: Resolve, in view: NetworkView, on eventLoop: any EventLoop) -> EventLoopFuture<Resolved> {
        switch query {
        case .addresses(let name):
            return self.addresses(of: name, in: view, on: eventLoop).map { answer in
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

    /// Literals are their own answer, and so is localhost: no name server is asked about it. The gate judges all of them.
    ///
    /// Looking up may take half of the time for connecting: other exits are still to be asked when name servers are silent.
    private func addresses(
        of host: String, in view: NetworkView, on eventLoop: any EventLoop
    ) -> EventLoopFuture<Resolver.Answer> {
        let known = IPAddress(host).map { [$0] } ?? (Self.isLocalhost(host) ? Self.loopback : [])
        if !known.isEmpty {
            return eventLoop.makeSucceededFuture(Resolver.Answer(addresses: known, ttlSeconds: 0))
        }
        // The resolver would read more numbers as addresses than we do, 0177.0.0.1 as another than some programs.
        guard !Self.endsInNumber(host) else { return eventLoop.makeFailedFuture(Refusal(reason: .noSuchName)) }
        let promise = eventLoop.makePromise(of: Resolver.Answer.self)
        let timeLimit = TimeAmount.milliseconds(Int64(view.parameters[.exitConnectTimeout]) / 2)
        let timer = eventLoop.scheduleTask(in: timeLimit) { promise.fail(Refusal(reason: .resolveFailed)) }
        self.resolver.addresses(of: host, on: eventLoop).whenComplete { result in
            timer.cancel()
            promise.completeWith(result.mapError { error -> any Error in Refusal(reason: Self.reason(of: error)) })
        }
        return promise.futureResult
    }

    private static let loopback: [IPAddress] = [.v4(0x7F00_0001), .v6(hi: 0, lo: 1)]

    /// - Source: RFC 6761 §6.3
    private static func isLocalhost(_ host: String) -> Bool {
        let lowered = host.lowercased()
        let name = lowered.last == "." ? lowered.dropLast() : lowered[...]
        return name == "localhost" || name.hasSuffix(".localhost")
    }

    /// Whether a host that is no address literal looks like one: no name's last label is a number.
    ///
    /// - Source: RFC 3696 §2; WHATWG URL, *ends in a number*
    static func endsInNumber(_ host: String) -> Bool {
        let name = host.last == "." ? host.dropLast() : host[...]
        let label = name.split(separator: ".", omittingEmptySubsequences: false).last?.lowercased() ?? ""
        if label.hasPrefix("0x") { return label.dropFirst(2).allSatisfy { $0.isASCII && $0.isHexDigit } }
        return !label.isEmpty && label.allSatisfy { $0.isASCII && $0.isNumber }
    }

    /// Try one address after the other; of their failures the one that tells most is said.
    private func connect(
        to endpoints: ArraySlice<Endpoint>, _ receiveBufferByteCount: Int, ttl: UInt32, until deadline: NIODeadline,
        on eventLoop: any EventLoop, after failure: EndReason? = nil
    ) -> EventLoopFuture<Connection> {
        guard let endpoint = endpoints.first else {
            return eventLoop.makeFailedFuture(Refusal(reason: .hostUnreachable))
        }
        let rest = endpoints.dropFirst()
        let left = deadline - eventLoop.now
        guard left > .zero else {
            return eventLoop.makeFailedFuture(Refusal(reason: Self.moreTelling(.timedOut, failure)))
        }
        // An address that does not answer must leave time for the next.
        let share = TimeAmount.nanoseconds(left.nanoseconds / Int64(endpoints.count))
        return self.open(endpoint, self.source, receiveBufferByteCount, share, eventLoop)
            .map { Connection(channel: $0, connected: Connected(address: endpoint.address, ttlSeconds: ttl)) }
            .flatMapError { error in
                let failure = Self.moreTelling(Self.reason(of: error), failure)
                if rest.isEmpty { return eventLoop.makeFailedFuture(Refusal(reason: failure)) }
                return self.connect(
                    to: rest, receiveBufferByteCount, ttl: ttl, until: deadline, on: eventLoop, after: failure)
            }
    }

    /// Which of two addresses' failures says more about the destination. That this exit has no way to one of them, as one
    /// without IPv6 has none to many names' second address, says least.
    static func moreTelling(_ reason: EndReason, _ earlier: EndReason?) -> EndReason {
        guard let earlier else { return reason }
        let order: [EndReason] = [.connectionRefused, .reset, .timedOut, .hostUnreachable, .networkUnreachable]
        let ranks = [earlier, reason].map { order.firstIndex(of: $0) ?? order.count }
        return ranks[1] < ranks[0] ? reason : earlier
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
