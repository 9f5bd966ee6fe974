import NIOConcurrencyHelpers
import Testing

@testable import DirectoryServer

@Suite("Probe lanes", .timeLimit(.minutes(1)))
struct ProbeLanesTests {
    @Test("a lane answers so many probes at once, the next as soon as one is done, and all in the end")
    func atOnce() async throws {
        let (lanes, requests) = ProbeLanes.make()
        for number in 1...20 as ClosedRange<UInt64> {
            requests.yield(
                RouterProbe(number: number, descriptor: try TestRouter().descriptor(), isNewcomer: true))
        }
        let counts = NIOLockedValueBox((running: 0, most: 0, done: 0))
        let task = Task {
            await ProbeLanes.answer(lanes.newcomers, atOnce: 3) { _ in
                counts.withLockedValue {
                    $0.running += 1
                    $0.most = max($0.most, $0.running)
                }
                try? await Task.sleep(for: .milliseconds(5))
                counts.withLockedValue {
                    $0.running -= 1
                    $0.done += 1
                }
            }
        }
        while counts.withLockedValue({ $0.done }) < 20 { try await Task.sleep(for: .milliseconds(5)) }
        task.cancel()
        await task.value
        #expect(counts.withLockedValue { $0.most } == 3)
    }

    @Test("known routers have a lane of their own") func lanes() async throws {
        let (lanes, requests) = ProbeLanes.make()
        let descriptor = try TestRouter().descriptor()
        requests.yield(RouterProbe(number: 1, descriptor: descriptor, isNewcomer: true))
        requests.yield(RouterProbe(number: 2, descriptor: descriptor))
        var known = lanes.known.makeAsyncIterator()
        var newcomers = lanes.newcomers.makeAsyncIterator()
        #expect(await known.next()?.number == 2)
        #expect(await newcomers.next()?.number == 1)
    }

    @Test("answers that nobody takes are so many bytes and no more") func answers() {
        let reached = NIOLockedValueBox<[ServerLimit]>([])
        let budget = AnswerBudget(
            limit: 100, metrics: ServerMetrics { limit in reached.withLockedValue { $0.append(limit) } })
        #expect(budget.take(60))
        #expect(budget.take(40))
        #expect(!budget.take(1))
        budget.give(60)
        #expect(budget.take(60))
        #expect(!budget.take(1))
        #expect(reached.withLockedValue { $0 } == [.answerBytes, .answerBytes])
    }

    @Test("an eighth is kept for small answers") func smallAnswers() {
        let small = AnswerBudget.smallByteCount
        let budget = AnswerBudget(limit: 16 * small, metrics: ServerMetrics())
        #expect(budget.take(14 * small))
        #expect(!budget.take(small + 1))
        #expect(budget.take(small))
        #expect(budget.take(small))
        #expect(!budget.take(1))
    }
}
