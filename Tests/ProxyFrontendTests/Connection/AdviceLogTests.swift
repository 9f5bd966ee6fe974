import Logging
import NIOConcurrencyHelpers
import NIOCore
import OnionClient
import TestSupport
import Testing

@testable import ProxyFrontend

@Suite("Advice in the log")
struct AdviceLogTests {
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
    private let lines = NIOLockedValueBox(0)

    private func wish(_ number: Int) -> StreamFailure {
        let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ".map { "A\($0)" }
        return .noExitMeets(ExitWish(countries: .only([letters[number]])))
    }

    private func makeAdvice() -> AdviceLog {
        let lines = self.lines
        return AdviceLog(logger: Logger(label: "test") { _ in EventLog { _ in lines.withLockedValue { $0 += 1 } } })
    }

    @Test("the same is said once a minute", arguments: [StreamFailure.addressRefused, .tooManyCircuits])
    func once(failure: StreamFailure) {
        let advice = self.makeAdvice()
        let last = self.start + AdviceLog.interval - .nanoseconds(1)
        for now in [self.start, self.start + .seconds(1), last] { advice.failed(failure, now: now) }
        #expect(self.lines.withLockedValue { $0 } == 1)
        advice.failed(failure, now: self.start + AdviceLog.interval)
        #expect(self.lines.withLockedValue { $0 } == 2)
    }

    @Test("programs cannot make it say more than so many things in a minute")
    func limit() {
        let advice = self.makeAdvice()
        for number in 0..<AdviceLog.limit { advice.failed(self.wish(number), now: self.start) }
        #expect(self.lines.withLockedValue { $0 } == AdviceLog.limit)
        advice.failed(self.wish(AdviceLog.limit), now: self.start)
        #expect(self.lines.withLockedValue { $0 } == AdviceLog.limit)
        advice.failed(self.wish(AdviceLog.limit), now: self.start + AdviceLog.interval)
        #expect(self.lines.withLockedValue { $0 } == AdviceLog.limit + 1)
    }
}
