import NIOCore
import OnionCells
import OnionCrypto
import OnionDirectory

@testable import DirectoryClient
@testable import DirectoryServer
@testable import OnionClient
@testable import OnionLink

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Connections with the directory server, its own to the routers included.
extension SimulatedNetwork {
    /// Connect to the directory server's socket.
    ///
    /// - Parameter prepare: adds the handlers of the near end.
    func openToDirectory(
        from name: String, on loop: SimulatedLoop, readsByItself: Bool = true,
        prepare: @escaping @Sendable (SimulatedChannel) throws -> Void
    ) -> EventLoopFuture<any Channel> {
        let promise = loop.makePromise(of: (any Channel).self)
        let latency = self.plan.latency
        if self.isDead(loop) || self.router(named: name)?.isExhausted ?? false {
            promise.fail(IOError(errnoCode: EMFILE, reason: "socket"))
            return promise.futureResult
        }
        guard let directory else {
            _ = loop.scheduleTask(in: latency * 2) { promise.fail(IOError(errnoCode: ECONNREFUSED, reason: "connect")) }
            return promise.futureResult
        }
        let wireName = "\(name)-directory"
        let near = SimulatedChannel(
            wireName, on: loop,
            options: .init(
                readsByItself: readsByItself, allowsHalfClosure: !readsByItself,
                readByteCount: self.plan.readByteCount))
        let far = SimulatedChannel(
            wireName, on: directory.loop, options: .init(readByteCount: self.plan.readByteCount),
            remoteAddress: try? SocketAddress(ipAddress: "198.51.100.7", port: 1))
        self.add(.directory, wireName, near, far)
        self.simulation.schedule(on: directory.loop, at: self.simulation.now + latency) {
            if far.isOpen { directory.accept(far) }
        }
        self.simulation.schedule(on: loop, at: self.simulation.now + latency * 2) {
            guard near.isOpen else { return promise.fail(IOError(errnoCode: ECONNRESET, reason: "connect")) }
            do {
                try prepare(near)
                near.activate()
                promise.succeed(near)
            } catch {
                near.abort()
                promise.fail(error)
            }
        }
        return promise.futureResult
    }

    /// Do what `DirectoryDialler` does.
    func connectToDirectory(
        from name: String, ownKey: Ed25519PublicKey?, _ clock: SimulatedClock, on loop: SimulatedLoop
    ) async throws -> DirectoryConnection {
        let key = try DirectoryIdentity.make().key.publicKey
        let opened = loop.makePromise(of: Void.self)
        let channel: any Channel
        do {
            channel = try await self.openToDirectory(from: name, on: loop) {
                try Self.addDiallerHandlers(to: $0, key, ownKey: ownKey, clock, opened)
            }.get()
        } catch {
            opened.fail(error)
            throw DirectoryConnectionError.unreachable(why: "\(error)")
        }
        return try await Self.connection(channel, key, opened)
    }

    /// Do what `DirectoryStreamChannel` and `DirectoryDialler` do: two sockets that are connected on one machine.
    func connect(through stream: OpenedStream, _ clock: SimulatedClock) async throws -> DirectoryConnection {
        let key = try DirectoryIdentity.make().key.publicKey
        let loop = self.clientLoop
        let near = SimulatedChannel("pair", on: loop)
        let edge = SimulatedChannel("pair", on: loop, options: .init(readsByItself: false, allowsHalfClosure: true))
        self.add(.pair, "pair", near, edge)
        edge.activate()
        let opened = loop.makePromise(of: Void.self)
        do {
            try await stream.attach(to: edge).get()
            try Self.addDiallerHandlers(to: near, key, ownKey: nil, clock, opened)
        } catch {
            opened.fail(error)
            edge.abort()
            near.abort()
            throw error
        }
        near.activate()
        return try await Self.connection(near, key, opened)
    }

    private static func addDiallerHandlers(
        to channel: SimulatedChannel, _ key: Ed25519PublicKey, ownKey: Ed25519PublicKey?, _ clock: SimulatedClock,
        _ opened: EventLoopPromise<Void>
    ) throws {
        let peer = PeerKey()
        try channel.pipeline.syncOperations.addHandlers([
            SimulatedTLS(.directory, isDialler: true, ownKey: ownKey, peer: peer),
            NegotiationGuard(expecting: .directory),
            DirectoryClientHandler(
                peer: peer, directoryKey: key, opened: opened, timeLimit: DirectoryDialler.timeLimit,
                unixSeconds: { clock.unixSeconds }),
        ])
    }

    private static func connection(
        _ channel: any Channel, _ key: Ed25519PublicKey, _ opened: EventLoopPromise<Void>
    ) async throws -> DirectoryConnection {
        try await withTaskCancellationHandler {
            try await opened.futureResult.get()
        } onCancel: {
            channel.close(promise: nil)
        }
        return DirectoryConnection(channel: channel, directoryKey: key)
    }

    /// Do what `LinkProbe` does.
    func probe(_ descriptor: RouterDescriptor, on loop: SimulatedLoop) async -> ProbeOutcome {
        guard let target = self.routers.first(where: { $0.keys.endpoint == descriptor.addresses.first }),
            target.state == .running, !self.isDead(loop)
        else {
            try? await loop.sleep(for: self.plan.latency * 2)
            return .unreachable
        }
        let outcome = loop.makePromise(of: ProbeOutcome.self)
        let near = self.openLink(to: target, named: "directory-\(target.name)", on: loop) { near in
            guard let near else { return outcome.succeed(.unreachable) }
            let peer = PeerKey()
            do {
                try near.pipeline.syncOperations.addHandlers([
                    SimulatedTLS(.link, isDialler: true, ownKey: nil, expected: descriptor.linkKey, peer: peer),
                    NegotiationGuard(expecting: .link),
                    ProbeHandler(
                        handshake: CircuitHandshake.Client(
                            identity: descriptor.identity, onionKey: descriptor.onionKey), outcome: outcome),
                ])
                near.activate()
            } catch {
                outcome.succeed(.unreachable)
            }
        }
        let timer = loop.scheduleTask(in: LinkProbe.timeLimit) { outcome.succeed(.unreachable) }
        let found = await withTaskCancellationHandler {
            (try? await outcome.futureResult.get()) ?? .unreachable
        } onCancel: {
            outcome.succeed(.unreachable)
        }
        timer.cancel()
        near.close(promise: nil)
        return found
    }
}
