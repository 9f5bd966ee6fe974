import Logging
import NIOCore
import OnionCircuits
import OnionCrypto
import OnionDirectory
import OnionLink

/// Serves one directory connection: Hello, then an answer to each request.
///
/// Requests are answered in order, but for GetConsensus, which waits in a task of its own so that heartbeats go on. An
/// Error is always the last frame.
struct DirectorySession: Sendable {
    typealias Writer = NIOAsyncChannelOutboundWriter<DirectoryMessage>

    let connection: ConnectionID
    let core: DirectoryCore
    let limits: ConnectionLimits
    /// How long GetConsensus waits for a newer revision.
    let longPoll: TimeAmount
    let metrics: ServerMetrics
    let outside: TimeAndChance
    let logger: Logger

    func run(
        _ inbound: NIOAsyncChannelInboundStream<DirectoryEvent>, _ outbound: Writer
    ) async throws {
        try await withThrowingDiscardingTaskGroup { group in
            var budget = TokenBucket(
                ratePerSecond: self.limits.requestsPerSecond, burst: self.limits.requestBurst, now: self.outside.now())
            var peerKey: Ed25519PublicKey?
            /// Ends when the last GetConsensus is answered.
            var consensusAnswered = AsyncStream<Never>.finished
            events: for try await event in inbound {
                switch event {
                case .opened(let key):
                    peerKey = key
                    guard await self.core.established(self.connection, peerKey: key) else { break events }
                    try await outbound.write(.hello(try await self.core.currentHello().bytes))
                case .message(let message):
                    guard budget.take(now: self.outside.now()) else {
                        self.metrics.reached(.requestsPerConnection)
                        try await outbound.write(
                            .error(.busy, text: "more than \(self.limits.requestsPerSecond) requests a second"))
                        break events
                    }
                    guard await self.core.takesRequest(message, over: self.connection) else {
                        try await outbound.write(.error(.busy, text: "too many requests from this address"))
                        break events
                    }
                    if case .getConsensus(let revision) = message {
                        guard let stream = await self.core.subscribe(self.connection) else {
                            try await outbound.write(.error(.unexpectedMessage, text: "one GetConsensus at a time"))
                            break events
                        }
                        // A peer that does not read has one answer on its way, however many it asks for.
                        for await _ in consensusAnswered {}
                        let (answered, done) = AsyncStream.makeStream(of: Never.self)
                        consensusAnswered = answered
                        group.addTask {
                            defer { done.finish() }
                            try await self.answer(newerThan: revision, from: stream, outbound)
                        }
                    } else {
                        let answer = try await self.answer(to: message, peerKey: peerKey)
                        try await outbound.write(answer)
                        if case .error = answer { break events }
                    }
                }
            }
            group.cancelAll()
        }
    }

    private func answer(to message: DirectoryMessage, peerKey: Ed25519PublicKey?) async throws -> DirectoryMessage {
        switch message {
        case .register(let bytes): return await self.register(bytes, peerKey: peerKey)
        case .heartbeat(let counter, _):
            switch await self.core.heartbeat(over: self.connection, counter: counter) {
            case .acknowledge, .acknowledgeAndProbe:
                return .heartbeatAck(counter: counter, revision: await self.core.newestRevision)
            case .notRegistered: return .error(.unexpectedMessage, text: "a heartbeat before a registration")
            case .counterNotRising: return .error(.malformed, text: "the heartbeat counter did not rise")
            }
        case .getTicket(let commitment): return .ticket(try await self.core.ticket(for: commitment).bytes)
        case .hello, .registered, .heartbeatAck, .getConsensus, .consensus, .notModified, .ticket, .error:
            return .error(.unexpectedMessage, text: "not a request")
        }
    }

    private func register(_ bytes: [UInt8], peerKey: Ed25519PublicKey?) async -> DirectoryMessage {
        let descriptor: SignedDescriptor
        do {
            descriptor = try SignedDescriptor(verifying: bytes)
        } catch {
            return .error(.malformed, text: "\(error)")
        }
        do throws(RegistrationRefusal) {
            let revision = try await self.core.register(descriptor, over: self.connection, peerKey: peerKey)
            return .registered(sequence: descriptor.descriptor.sequence, revision: revision)
        } catch {
            // A server that stops ends registrations under way: that is no verdict on the router, which would end at one.
            if Task.isCancelled { return .error(.shuttingDown, text: "the directory server is stopping") }
            guard await self.core.isOpen(self.connection) else { return .error(error.code, text: error.text) }
            let name = descriptor.descriptor.nickname
            let isLogged = await self.core.isLogged(error, of: descriptor.identity)
            self.logger.log(
                level: isLogged ? .info : .debug, "registration refused",
                metadata: [
                    "router.fingerprint": "\(descriptor.identity.base64URL)", "router.nickname": "\(name)",
                    "reason": "\(error)",
                ])
            return .error(error.code, text: error.text)
        }
    }

    /// Answer GetConsensus as soon as there is a newer revision, or with NotModified when none came in time.
    private func answer(
        newerThan revision: UInt64, from stream: AsyncStream<Consensus>, _ outbound: Writer
    ) async throws {
        let limit = self.longPoll
        let newer = await withTaskGroup(of: Consensus?.self) { group in
            group.addTask {
                for await consensus in stream where consensus.revision > revision { return consensus }
                return nil
            }
            group.addTask {
                try? await self.outside.sleep(limit)
                return nil
            }
            let first = await group.next() ?? nil
            group.cancelAll()
            return first
        }
        // Before the answer, because the next request may follow it at once.
        await self.core.unsubscribe(self.connection)
        // Of a task that is cancelled, as behind an Error, nothing is written.
        if let newer {
            try await outbound.write(.consensus(newer.bytes))
        } else {
            try await outbound.write(.notModified(revision: await self.core.newestRevision))
        }
    }
}

extension AsyncStream<Never> {
    /// Has ended.
    fileprivate static var finished: AsyncStream { AsyncStream { $0.finish() } }
}
