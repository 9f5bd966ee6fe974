import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import OnionCircuits
import OnionCrypto
import OnionDirectory

/// Answers circuit handshakes off the event loops, on whatever its executor is: a bounded queue, fair between links, that
/// drops what has waited too long.
///
/// - Source: DESIGN §6.1
final class HandshakeService: Sendable {
    typealias Answer = (created: [UInt8], keys: CircuitKeys)
    /// Why there is no answer: of a handshake that is bad nothing more is said.
    enum Refusal: Error { case bad, busy }
    typealias Completion = @Sendable (Result<Answer, Refusal>) -> Void

    fileprivate struct Job: Sendable {
        let create: [UInt8]
        /// An OR's link carries many users' circuits.
        let isRouter: Bool
        let completion: Completion
    }

    /// What is said to a Create; nil if it is bad.
    typealias Responder = @Sendable (_ create: [UInt8]) -> Answer?

    private struct State {
        var queue: HandshakeQueue<ObjectIdentifier, Job>
        var respond: Responder
    }

    private let state: NIOLockedValueBox<State>
    private let metrics: RouterMetrics
    private let run: Executor

    /// Runs work where it holds nobody up.
    typealias Executor = @Sendable (@escaping @Sendable () -> Void) -> Void

    convenience init(
        identity: Ed25519PublicKey, onionKeys: [X25519PrivateKey], limits: QueueLimits,
        metrics: RouterMetrics = RouterMetrics(), executor: @escaping Executor
    ) {
        self.init(
            limits: limits, metrics: metrics, executor: executor,
            respond: Self.responder(identity: identity, onionKeys: onionKeys))
    }

    init(
        limits: QueueLimits, metrics: RouterMetrics, executor: @escaping Executor, respond: @escaping Responder
    ) {
        self.metrics = metrics
        self.run = executor
        self.state = NIOLockedValueBox(State(queue: HandshakeQueue(limits: limits.queue), respond: respond))
    }

    private static func responder(identity: Ed25519PublicKey, onionKeys: [X25519PrivateKey]) -> Responder {
        let server = CircuitHandshake.Server(identity: identity, onionKeys: onionKeys)
        return { try? server.respond(to: $0) }
    }

    struct QueueLimits: Sendable {
        var total: Int
        var perLink: Int
        var patience: TimeAmount

        init(total: Int, perLink: Int, patience: TimeAmount) {
            self.total = total
            self.perLink = perLink
            self.patience = patience
        }

        init(_ parameters: NetworkParameters) {
            self.init(
                total: parameters[.handshakeQueue], perLink: parameters[.handshakeQueuePerLink],
                patience: .milliseconds(Int64(parameters[.handshakeWait])))
        }

        fileprivate var queue: HandshakeQueue<ObjectIdentifier, Job>.Limits {
            .init(total: self.total, perLink: self.perLink, patience: self.patience)
        }
    }

    /// The network's limits have changed: they count for what waits, too.
    func update(_ limits: QueueLimits) { self.state.withLockedValue { $0.queue.limits = limits.queue } }

    /// Accept these keys from now on: the current one and, for a while, the one before.
    func rotate(identity: Ed25519PublicKey, onionKeys: [X25519PrivateKey]) {
        let respond = Self.responder(identity: identity, onionKeys: onionKeys)
        self.state.withLockedValue { $0.respond = respond }
    }

    /// Answer `create`; `completion` is called on some thread, once.
    ///
    /// - Parameter isRouter: whether it came over an OR's link.
    func answer(
        _ create: [UInt8], from link: ObjectIdentifier, isRouter: Bool, completion: @escaping Completion
    ) {
        let job = Job(create: create, isRouter: isRouter, completion: completion)
        let (displaced, isQueued) = self.state.withLockedValue {
            // A client with many links and many waiting on each keeps nobody out who has one.
            ($0.queue.makeRoom(for: link, where: { !$0.isRouter }), $0.queue.enqueue(job, from: link, now: .now()))
        }
        if let displaced {
            self.metrics.reached(.handshakeQueue)
            displaced.completion(.failure(.busy))
        }
        guard isQueued else {
            self.metrics.reached(.handshakeQueue)
            return completion(.failure(.busy))
        }
        self.run { self.runNext() }
    }

    /// Forget what a lost link has waiting.
    func removeAll(from link: ObjectIdentifier) {
        self.state.withLockedValue { $0.queue.removeAll(from: link) }
    }

    /// Take one job in turn. Each that was enqueued has brought one call; a dropped one lets the next be tried.
    private func runNext() {
        while true {
            let (next, respond) = self.state.withLockedValue { ($0.queue.next(now: .now()), $0.respond) }
            switch next {
            case nil: return
            case .dropped(let job):
                self.metrics.reached(.handshakeAge)
                job.completion(.failure(.busy))
            case .run(let job): return job.completion(respond(job.create).map(Result.success) ?? .failure(.bad))
            }
        }
    }
}
