internal import Logging
internal import NIOConcurrencyHelpers
internal import NIOCore
internal import OnionClient

/// Tells the user in the log what to do about failures that a program's reply cannot explain: each once a minute, and
/// without destinations.
final class AdviceLog: Sendable {
    static let interval = TimeAmount.minutes(1)
    /// What programs can make it say in that time.
    static let limit = 16

    private let logger: Logger
    private let told = NIOLockedValueBox<[String: NIODeadline]>([:])

    init(logger: Logger) { self.logger = logger }

    /// A request came to nothing.
    func failed(_ failure: StreamFailure, now: NIODeadline = .now()) {
        switch failure {
        case .noExitMeets(let wish):
            self.tell(
                "no exit is as asked for; the stream was refused", about: "\(wish)",
                "ask for another country or exit, or for none; 'thor-proxy status --exits' lists what there is", now)
        case .wishNotUnderstood:
            self.tell(
                "a wish for an exit cannot be read; the stream was refused", about: "user name or Thor- field",
                "write country-se, country-not-us or exit-FINGERPRINT; what follows a + is free", now)
        case .addressRefused:
            self.tell(
                "a program named its destination by address; the stream was refused", about: "--refuse-addresses",
                "let the program leave names to the proxy (socks5h://, --socks5-hostname, SOCKS4a)", now)
        case .tooManyCircuits:
            self.tell(
                "all circuits that there may be, in all or of one user, are in use or waited for; streams were refused",
                about: "circuits",
                "use fewer SOCKS users at once, close idle connections, or leave out --isolate-destination", now)
        case .ended, .noCircuit, .invalidRequest, .noExitAllows, .notReady, .shuttingDown: break
        }
    }

    private func tell(_ message: Logger.Message, about wish: String, _ advice: String, _ now: NIODeadline) {
        let isNews = self.told.withLockedValue { told in
            told = told.filter { now - $0.value < Self.interval }
            guard told["\(message)\(wish)"] == nil, told.count < Self.limit else { return false }
            told["\(message)\(wish)"] = now
            return true
        }
        guard isNews else { return }
        self.logger.notice(message, metadata: ["exit.wish": "\(wish)", "advice": "\(advice)"])
    }
}
