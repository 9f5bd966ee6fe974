package import NIOCore
package import OnionCrypto
package import OnionDirectory

/// One open connection to the directory server.
///
/// Requests of different kinds may be under way at once: answers are told apart by their type. A second request of a kind
/// that waits already fails with ``DirectoryConnectionError/alreadyAsked(_:)``. A request that is cancelled or gets no
/// answer in time closes the connection. Any thread may ask; everything happens on the channel's event loop.
package final class DirectoryConnection: Sendable {
    /// How long an answer may take that the directory need not wait for.
    package static let answerTimeLimit = TimeAmount.seconds(10)

    private let channel: any Channel
    private let directoryKey: Ed25519PublicKey
    /// Kept from the first question on: a closed channel has no handlers, and this one knows why it was closed.
    private let handler: NIOLoopBoundBox<DirectoryClientHandler?>

    init(channel: any Channel, directoryKey: Ed25519PublicKey) {
        self.channel = channel
        self.directoryKey = directoryKey
        self.handler = .makeEmptyBox(valueType: DirectoryClientHandler.self, eventLoop: channel.eventLoop)
    }

    /// Completes when the connection is gone, for whatever reason.
    package var closeFuture: EventLoopFuture<Void> { self.channel.closeFuture }

    package func close() async { try? await self.channel.close().get() }

    /// Register a router; returns once the directory has probed it and listed it.
    ///
    /// - Returns: the revision from which on the router is listed.
    /// - Throws: ``DirectoryConnectionError``, with ``DirectoryConnectionError/refused(_:text:)`` when the directory says
    ///   no; it closes the connection then.
    package func register(_ descriptor: SignedDescriptor) async throws -> UInt64 {
        let answer = try await self.ask(.register, .register(descriptor.bytes), timeLimit: .seconds(20))
        guard case .registered(let sequence, let revision) = answer, sequence == descriptor.descriptor.sequence else {
            throw await self.failed(.unexpectedAnswer(answer.frameType))
        }
        return revision
    }

    /// Send a sign of life.
    ///
    /// - Parameter counter: greater than in every heartbeat before on this connection.
    /// - Returns: the newest revision.
    package func heartbeat(
        counter: UInt64, load: RouterLoad, timeLimit: TimeAmount = DirectoryConnection.answerTimeLimit
    ) async throws -> UInt64 {
        let answer = try await self.ask(.heartbeat, .heartbeat(counter: counter, load: load), timeLimit: timeLimit)
        guard case .heartbeatAck(counter, let revision) = answer else {
            throw await self.failed(.unexpectedAnswer(answer.frameType))
        }
        return revision
    }

    /// Ask for a consensus, and wait for one that is newer.
    ///
    /// - Parameters:
    ///   - revision: what one has; 0 for any.
    ///   - wait: how long the directory may hold the answer back (network parameter `consensus-wait-s`).
    /// - Returns: a consensus signed by the directory, which may still be unacceptable at this time: see
    ///   `Consensus.acceptance`; or nil when there was nothing newer.
    package func consensus(newerThan revision: UInt64, wait: TimeAmount = .seconds(30)) async throws -> Consensus? {
        let answer = try await self.ask(
            .consensus, .getConsensus(haveRevision: revision), timeLimit: wait + Self.answerTimeLimit)
        guard case .consensus(let bytes) = answer else { return nil }
        do throws(DirectoryError) {
            return try Consensus(verifying: bytes, directoryKey: self.directoryKey)
        } catch {
            throw await self.failed(DirectoryConnectionError(document: error))
        }
    }

    /// Ask for a ticket.
    ///
    /// - Returns: a ticket signed by the directory for this commitment.
    package func ticket(commitment: Bytes32) async throws -> PathTicket {
        let answer = try await self.ask(.ticket, .getTicket(commitment: commitment), timeLimit: Self.answerTimeLimit)
        guard case .ticket(let bytes) = answer else { throw await self.failed(.unexpectedAnswer(answer.frameType)) }
        do throws(DirectoryError) {
            let ticket = try PathTicket(verifying: bytes, directoryKey: self.directoryKey)
            guard ticket.commitment == commitment else { throw .invalidField(.identity) }
            return ticket
        } catch {
            throw await self.failed(DirectoryConnectionError(document: error))
        }
    }

    private func ask(
        _ question: DirectoryExchange.Question, _ message: DirectoryMessage, timeLimit: TimeAmount
    ) async throws -> DirectoryMessage {
        let channel = self.channel
        let answer = channel.eventLoop.flatSubmit { () -> EventLoopFuture<DirectoryMessage> in
            let promise = channel.eventLoop.makePromise(of: DirectoryMessage.self)
            do {
                let handler =
                    try self.handler.value
                    ?? channel.pipeline.syncOperations.handler(type: DirectoryClientHandler.self)
                self.handler.value = handler
                handler.ask(question, message, timeLimit: timeLimit, promise: promise)
            } catch {
                promise.fail(DirectoryConnectionError.closed)
            }
            return promise.futureResult
        }
        return try await withTaskCancellationHandler {
            try await answer.get()
        } onCancel: {
            channel.close(promise: nil)
        }
    }

    private func failed(_ error: DirectoryConnectionError) async -> DirectoryConnectionError {
        await self.close()
        return error
    }
}
