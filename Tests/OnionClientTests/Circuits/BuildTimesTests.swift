import NIOCore
import Testing

@testable import OnionClient

@Suite("Learned build times")
struct BuildTimesTests {
    private let network = TimeAmount.seconds(10)
    private let initial = TimeAmount.milliseconds(1200)

    private func times(_ milliseconds: Int64, count: Int) -> BuildTimes {
        var times = BuildTimes()
        for _ in 0..<count { times.built(in: .milliseconds(milliseconds)) }
        return times
    }

    @Test("knows nothing before it has seen enough")
    func few() {
        let times = self.times(50, count: BuildTimes.enough - 1)
        #expect(times.usual == nil)
        #expect(times.limit(network: self.network) == self.network)
        #expect(times.slow(initial: self.initial, network: self.network) == self.initial)
        #expect(times.slow(initial: self.initial, network: .milliseconds(500)) == .milliseconds(500))
    }

    @Test(
        "follows the network, within bounds",
        arguments: [(5, 300, 1500), (200, 400, 1500), (400, 800, 2400), (1200, 2400, 7200), (9000, 10_000, 10_000)]
            as [(Int64, Int64, Int64)])
    func learned(usual: Int64, slow: Int64, limit: Int64) {
        let times = self.times(usual, count: BuildTimes.enough)
        #expect(times.slow(initial: self.initial, network: self.network) == .milliseconds(slow))
        #expect(times.limit(network: self.network) == .milliseconds(limit))
    }

    @Test("a fifth of outliers changes nothing, and old builds are forgotten")
    func outliers() {
        var times = self.times(400, count: 80)
        for _ in 0..<19 { times.built(in: .seconds(9)) }
        #expect(times.usual == .milliseconds(400))
        for _ in 0..<BuildTimes.capacity { times.built(in: .milliseconds(100)) }
        #expect(times.usual == .milliseconds(100))
    }

    @Test("as many builds are remembered as there is room for, and the oldest makes way")
    func capacity() {
        var times = self.times(100, count: BuildTimes.capacity * 4 / 5 + 1)
        for _ in 0..<(BuildTimes.capacity / 5 - 1) { times.built(in: .milliseconds(400)) }
        #expect(times.usual == .milliseconds(100))
        times.built(in: .milliseconds(400))
        #expect(times.usual == .milliseconds(400))
    }

    @Test("time-outs in a row make it begin anew; one build in between does not")
    func change() {
        var times = self.times(50, count: 50)
        for _ in 1..<BuildTimes.timeOutLimit { times.timedOut() }
        #expect(times.usual != nil)
        times.built(in: .milliseconds(50))
        for _ in 1..<BuildTimes.timeOutLimit { times.timedOut() }
        #expect(times.usual != nil)
        times.timedOut()
        #expect(times == BuildTimes())
    }
}
