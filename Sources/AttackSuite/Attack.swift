/// One attack: what is tried, what should happen, and the doing of it.
package struct Attack: Sendable {
    /// Lower case, words joined by "-", the family first: `cell-flipped-bit-guard`.
    package let name: String
    package let tries: String
    package let expects: String
    /// Whether it needs daemons of its own, so that only `thor-testnet attack` can play it.
    package let needsDaemons: Bool
    /// It may take so long; then nothing is known.
    let timeLimit: Duration
    package let play: @Sendable (Arena) async throws -> Outcome

    init(
        _ name: String, tries: String, expects: String, needsDaemons: Bool = false,
        timeLimit: Duration = .seconds(90), play: @escaping @Sendable (Arena) async throws -> Outcome
    ) {
        self.name = name
        self.tries = tries
        self.expects = expects
        self.needsDaemons = needsDaemons
        self.timeLimit = timeLimit
        self.play = play
    }
}

/// What became of an attack.
package struct Outcome: Equatable, Sendable {
    package enum Verdict: String, Codable, Sendable {
        /// What should happen did.
        case held
        /// Something else happened: the attack got somewhere.
        case broken
        /// The attack could not be made, so that nothing is known.
        case unplayed
    }

    package var verdict: Verdict
    /// What did happen, in a few words.
    package var observed: String

    package init(_ verdict: Verdict, _ observed: String) {
        self.verdict = verdict
        self.observed = observed
    }
}

/// Counts what an attack tried, and keeps what did not come out as it should.
struct Trials: Sendable, Equatable {
    /// So many failures are told; of the others the number.
    static let toldCount = 3

    private(set) var count = 0
    private(set) var failures: [String] = []

    /// One more trial; `failure` says what was wrong with it.
    mutating func add(failure: String?) {
        self.count += 1
        if let failure { self.failures.append(failure) }
    }

    mutating func expect(_ isTrue: Bool, _ failure: @autoclosure () -> String) {
        self.add(failure: isTrue ? nil : failure())
    }

    /// - Parameter observed: what is true of the trials if none failed.
    func outcome(_ observed: String) -> Outcome {
        guard self.count > 0 else { return Outcome(.unplayed, "nothing was tried") }
        guard !self.failures.isEmpty else { return Outcome(.held, "\(self.count) tried: \(observed)") }
        var told = self.failures.prefix(Self.toldCount).joined(separator: "; ")
        if self.failures.count > Self.toldCount { told += "; …" }
        return Outcome(.broken, "\(self.failures.count) of \(self.count): \(told)")
    }
}
