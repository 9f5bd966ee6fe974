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
}
