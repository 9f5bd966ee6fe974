import HostilePeers
import NIOConcurrencyHelpers
import NIOCore

/// How a flood is judged: by an honest user's speed before it and during it, by what a stranger gets during it, and by
/// the daemons' memory. It counts only if it has happened.
extension FloodAttacks {
    /// How fast an honest user was, and is.
    struct Speeds: Equatable {
        /// Bytes a second.
        let before: Double
        let during: Double

        /// Nothing is known where there was no speed.
        var isKept: Bool { self.before > 0 && self.during >= self.before / 2 }

        /// Measured once more. What was fastest before any flood counts: later ones begin in the aftermath of the first.
        func repeated(before: Double, during: Double) -> Speeds {
            Speeds(before: max(self.before, before), during: during)
        }

        var description: String {
            func megabytes(_ speed: Double) -> String { "\((speed / 1e5).rounded() / 10)" }
            return "\(megabytes(self.during)) MB/s of \(megabytes(self.before))"
        }
    }

    /// So many of something.
    struct Amount: Equatable, Sendable, CustomStringConvertible {
        let count: Int
        let things: String

        init(_ count: Int, _ things: String) {
            self.count = count
            self.things = things
        }

        var description: String { "\(self.count) \(self.things)" }
    }

    /// What a flood must have come to before anything is measured.
    struct Needs: Sendable {
        /// What there is all the time.
        var held: Amount?
        /// What goes on, and goes on while it is measured.
        var done: Amount?
    }

    /// What a flood holds open until it is over, and what it has come to.
    final class Hoard: Sendable {
        private struct State {
            var channels: [any Channel] = []
            var heldCount = 0
            var doneCount = 0
        }

        private let state = NIOLockedValueBox(State())

        func keep(_ channel: any Channel) { self.state.withLockedValue { $0.channels.append(channel) } }

        /// How many of what it needs it has at present.
        func holds(_ count: Int) { self.state.withLockedValue { $0.heldCount = count } }

        /// How much it has done, from its beginning.
        func hasDone(_ count: Int) { self.state.withLockedValue { $0.doneCount = count } }

        /// Wait for what a flood needs.
        ///
        /// - Throws: ``PeerError/timedOut(_:)``
        func established(_ needs: Needs, seconds: Double = 10) async throws {
            do {
                try await Wait.until("", seconds: seconds) {
                    self.state.withLockedValue {
                        $0.heldCount >= needs.held?.count ?? 0 && $0.doneCount >= needs.done?.count ?? 0
                    }
                }
            } catch PeerError.timedOut {
                throw PeerError.timedOut("the flood is there; so far \(self.told(needs))")
            }
        }

        /// Measure, and say what the flood was meanwhile.
        ///
        /// - Throws: ``PeerError/timedOut(_:)`` if there was none; what `measure` throws.
        func during<R>(_ needs: Needs, _ measure: () async throws -> R) async throws -> (result: R, told: String) {
            try await self.established(needs)
            let before = self.state.withLockedValue { $0.doneCount }
            let result = try await measure()
            let (held, done) = self.state.withLockedValue { ($0.heldCount, $0.doneCount - before) }
            guard held >= needs.held?.count ?? 0, needs.done == nil || done > 0 else {
                throw PeerError.timedOut("the flood lasts; at the end \(Self.told(needs, held, done))")
            }
            return (result, Self.told(needs, held, done))
        }

        private func told(_ needs: Needs) -> String {
            let (held, done) = self.state.withLockedValue { ($0.heldCount, $0.doneCount) }
            return Self.told(needs, held, done)
        }

        private static func told(_ needs: Needs, _ held: Int, _ done: Int) -> String {
            [needs.held.map { Amount(held, $0.things) }, needs.done.map { Amount(done, $0.things) }]
                .compactMap { $0?.description }.joined(separator: ", ")
        }

        func release() async {
            let channels = self.state.withLockedValue { state in
                defer { state.channels = [] }
                return state.channels
            }
            for channel in channels { channel.close(promise: nil) }
            for channel in channels { try? await channel.closeFuture.get() }
        }
    }

    /// Other programs on the machine disturb a measurement: it may be repeated so often.
    private static let measurementCount = 3
    /// A stranger must have his consensus and his circuits within this, under whatever flood.
    private static let strangerSeconds = 5.0

    static func flood(
        _ name: String, tries: String, needs: Needs,
        flood: @escaping @Sendable (Arena, Hoard) async throws -> Void
    ) -> Attack {
        let expects = "an honest download keeps half of its speed; a stranger is served"
        return Attack("flood-\(name)", tries: tries, expects: expects, needsDaemons: true) { arena in
            let user = try arena.needUser()
            let daemons = try arena.needDaemons()
            var speeds = Speeds(before: 0, during: 0)
            var trials = Trials()
            var stranger: String?
            var peak = (name: "", byteCount: 0)
            var told = ""
            for _ in 0..<Self.measurementCount {
                let before = try await user.speed(seconds: 1)
                let measured = try await Self.whileFlooding(needs, { try await flood(arena, $0) }) {
                    let during = (try? await user.speed(seconds: 1.5)) ?? 0
                    return (during, await Self.strangerFailure(arena.network), daemons.resident)
                }
                let (during, failure, resident) = measured.result
                if let most = resident.max(by: { $0.byteCount < $1.byteCount }), most.byteCount > peak.byteCount {
                    peak = most
                }
                trials.add(failure: MemoryCeiling.failure(resident))
                speeds = speeds.repeated(before: before, during: during)
                stranger = failure
                told = measured.told
                if speeds.isKept, stranger == nil { break }
            }
            trials.expect(speeds.isKept, "only \(speeds.description)")
            trials.add(failure: stranger)
            return trials.outcome(
                "\(told); \(speeds.description); \(peak.name) uses most, \(peak.byteCount >> 20) MiB")
        }
    }

    private static func whileFlooding<R>(
        _ needs: Needs, _ flood: @escaping @Sendable (Hoard) async throws -> Void, _ measure: () async throws -> R
    ) async throws -> (result: R, told: String) {
        let hoard = Hoard()
        let flooding = Task { try await flood(hoard) }
        let measured: Result<(result: R, told: String), any Error>
        do {
            measured = .success(try await hoard.during(needs, measure))
        } catch {
            measured = .failure(error)
        }
        flooding.cancel()
        let result = await flooding.result
        await hoard.release()
        // Why there was no flood, if there was none.
        if case .failure(let error) = result, !(error is CancellationError) { throw error }
        return try measured.get()
    }

    /// Let somebody whom nobody has seen before ask for a consensus and build circuits.
    ///
    /// - Returns: what went wrong.
    private static func strangerFailure(_ network: TargetNetwork) async -> String? {
        do {
            try await Wait.limit("all of it within \(Int(Self.strangerSeconds)) s", seconds: Self.strangerSeconds) {
                try await network.checkService(seconds: Self.strangerSeconds)
            }
            return nil
        } catch {
            return "a stranger is not served: \(error)"
        }
    }
}
