import NIOCore
import OnionCrypto
import Testing

@testable import OnionClient

@Suite("Guard sample")
struct GuardSampleTests {
    private let now = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
    private let unixTime: UInt64 = 1_800_000_000

    private func makeSample(_ count: Int) -> GuardSample { someSample(count, unixTime: self.unixTime) }

    @Test("asks for as many as are missing, and for none once it is full")
    func size() {
        var sample = GuardSample()
        #expect(sample.consensusChanged(size: 3, isListed: { _ in true }, unixTime: self.unixTime, now: self.now) == 3)
        sample.add([someKey(), someKey(), someKey()], unixTime: self.unixTime)
        #expect(sample.consensusChanged(size: 3, isListed: { _ in true }, unixTime: self.unixTime, now: self.now) == 0)
    }

    @Test("a guard that fails is passed over, probed later, and preferred again once it is reached")
    func failure() {
        var sample = self.makeSample(3)
        let guards = sample.identities
        sample.failed(guards[0], now: self.now)
        #expect(sample.usable { _ in true } == Array(guards[1...]))
        #expect(sample.probesDue(isListed: { _ in true }, now: self.now + .seconds(14)).isEmpty)
        let later = self.now + GuardSample.firstRetry
        #expect(sample.probesDue(isListed: { _ in true }, now: later) == [guards[0]])
        // Once a failure: the probe is under way.
        #expect(sample.probesDue(isListed: { _ in true }, now: later).isEmpty)
        sample.failed(guards[0], now: later)
        #expect(sample.probesDue(isListed: { _ in true }, now: later + GuardSample.firstRetry).isEmpty)
        #expect(sample.probesDue(isListed: { _ in true }, now: later + GuardSample.firstRetry * 2) == [guards[0]])
        sample.reached(guards[0]) { _ in true }
        #expect(sample.usable { _ in true } == guards)
    }

    @Test("an open link lets a guard be used again, but only a circuit through it makes its next wait short")
    func mute() {
        var sample = self.makeSample(3)
        let guards = sample.identities
        var time = self.now
        for wait in [GuardSample.firstRetry, GuardSample.firstRetry * 2, GuardSample.firstRetry * 4] {
            sample.failed(guards[0], now: time)
            #expect(sample.probesDue(isListed: { _ in true }, now: time + wait - .nanoseconds(1)).isEmpty)
            time = time + wait
            #expect(sample.probesDue(isListed: { _ in true }, now: time) == [guards[0]])
            sample.reached(guards[0]) { _ in true }
            #expect(sample.usable { _ in true } == guards)
        }
        sample.worked(guards[0])
        sample.failed(guards[0], now: time)
        #expect(sample.probesDue(isListed: { _ in true }, now: time + GuardSample.firstRetry) == [guards[0]])
    }

    @Test("failures while none could be reached were the network's, and make no later wait longer")
    func networkBack() {
        var sample = self.makeSample(2)
        let guards = sample.identities
        for _ in 0..<5 { for identity in guards { sample.failed(identity, now: self.now) } }
        sample.reached(guards[1]) { _ in true }
        sample.failed(guards[0], now: self.now)
        #expect(sample.probesDue(isListed: { _ in true }, now: self.now + GuardSample.firstRetry) == [guards[0]])
    }

    @Test("whatever fails however often, nothing is drawn: nobody is walked on")
    func notWalkedOn() {
        var sample = self.makeSample(3)
        let guards = sample.identities
        var time = self.now
        for _ in 0..<1000 {
            for identity in guards { sample.failed(identity, now: time) }
            time = time + .minutes(10)
            let drawn = sample.consensusChanged(
                size: 3, isListed: { _ in true }, unixTime: self.unixTime, now: time)
            #expect(drawn == 0)
        }
        #expect(sample.identities == guards)
    }

    @Test("when none can be reached all are probed soon, and the first success gives all a new chance")
    func networkDown() {
        var sample = self.makeSample(2)
        let guards = sample.identities
        for _ in 0..<5 { for identity in guards { sample.failed(identity, now: self.now) } }
        #expect(sample.isNetworkSuspected { _ in true })
        let soon = self.now + GuardSample.longestRetryWhenNoneWorks
        _ = sample.probesDue(isListed: { _ in true }, now: self.now)
        #expect(sample.probesDue(isListed: { _ in true }, now: soon) == guards)
        sample.reached(guards[1]) { _ in true }
        #expect(sample.usable { _ in true } == guards)
    }

    @Test("guards that leave the consensus are kept for weeks, and replaced only slowly")
    func unlisted() {
        var sample = self.makeSample(2)
        func vacancies(_ time: NIODeadline, _ unixTime: UInt64) -> Int {
            sample.consensusChanged(size: 2, isListed: { _ in false }, unixTime: unixTime, now: time)
        }
        #expect(vacancies(self.now, self.unixTime) == 0)
        #expect(vacancies(self.now + .minutes(14), self.unixTime) == 0)
        #expect(vacancies(self.now + .minutes(15), self.unixTime) == 2)
        #expect(sample.members.count == 2)
        _ = vacancies(self.now, self.unixTime + 20 * 86_400 - 1)
        #expect(sample.members.count == 2)
        _ = vacancies(self.now, self.unixTime + 20 * 86_400)
        #expect(sample.members.isEmpty)
    }

    @Test("of the time when a member was added the day alone is kept")
    func day() {
        let times = [UInt64(1_799_971_199), 1_799_971_200, 1_800_057_599].map {
            someSample(1, unixTime: $0).members[0].addedAt
        }
        #expect(times == [1_799_884_800, 1_799_971_200, 1_799_971_200])
    }

    @Test("a smaller sample asks for none; one out of the consensus grows by its size at most, and to twice that")
    func growth() {
        for (count, size, listed, vacancies) in [
            (3, 1, true, 0), (1, 2, false, 2), (3, 2, false, 1), (4, 2, false, 0), (5, 2, false, 0),
        ] {
            var sample = self.makeSample(count)
            var asked = 0
            for time in [self.now, self.now + GuardSample.allUnlistedPatience] {
                asked = sample.consensusChanged(
                    size: size, isListed: { _ in listed }, unixTime: self.unixTime, now: time)
            }
            #expect(asked == vacancies, "\(count) of \(size)")
        }
    }

    @Test("a member that the consensus does not have is not begun at")
    func notListed() {
        let sample = self.makeSample(2)
        let listed = sample.identities[1]
        #expect(sample.usable { $0 == listed } == [listed])
    }

    @Test("however often a guard has failed, it is probed again within its longest wait")
    func longestRetry() {
        var sample = self.makeSample(2)
        let identity = sample.identities[0]
        for _ in 0..<20 { sample.failed(identity, now: self.now) }
        let due = self.now + GuardSample.longestRetry
        #expect(sample.probesDue(isListed: { _ in true }, now: due - .nanoseconds(1)).isEmpty)
        #expect(sample.probesDue(isListed: { _ in true }, now: due) == [identity])
    }

    @Test("a clock that was put back drives no guard out")
    func clockPutBack() {
        var sample = self.makeSample(1)
        for unixTime in [self.unixTime, self.unixTime - GuardSample.unlistedSeconds] {
            _ = sample.consensusChanged(size: 1, isListed: { _ in false }, unixTime: unixTime, now: self.now)
        }
        #expect(sample.members.count == 1)
    }

    @Test("one that left the sample and is drawn again begins without its failures of then")
    func drawnAgain() {
        var sample = self.makeSample(2)
        let identity = sample.identities[0]
        for _ in 0..<5 { sample.failed(identity, now: self.now) }
        for unixTime in [self.unixTime, self.unixTime + GuardSample.unlistedSeconds] {
            _ = sample.consensusChanged(
                size: 2, isListed: { $0 != identity }, unixTime: unixTime, now: self.now)
        }
        sample.add([identity], unixTime: self.unixTime)
        #expect(sample.usable { _ in true }.last == identity)
        sample.failed(identity, now: self.now)
        #expect(sample.probesDue(isListed: { _ in true }, now: self.now + GuardSample.firstRetry) == [identity])
    }

    @Test("a failure of one that is no member is not remembered against it")
    func stranger() {
        var sample = self.makeSample(1)
        let stranger = someKey()
        sample.failed(stranger, now: self.now)
        sample.add([stranger], unixTime: self.unixTime)
        #expect(sample.usable { _ in true }.contains(stranger))
    }
}
