import NIOCore
import OnionCircuits
import TestSupport
import Testing

@Suite("Token bucket")
struct TokenBucketTests {
    @Test("lets a burst through, and then the rate")
    func burstThenRate() {
        var bucket = TokenBucket(ratePerSecond: 100, burst: 300, now: .start)
        for _ in 0..<300 { #expect(bucket.take(now: .start) == true) }
        #expect(bucket.take(now: .start) == false)
        #expect(bucket.deadline(now: .start) == .start + .milliseconds(10))
        #expect(bucket.take(now: .start + .nanoseconds(9_999_999)) == false)
        #expect(bucket.take(now: .start + .milliseconds(10)) == true)
        #expect(bucket.take(now: .start + .milliseconds(10)) == false)
    }

    @Test("never holds more than the burst, after however long")
    func full() {
        var bucket = TokenBucket(ratePerSecond: .max, burst: 5, now: .start)
        #expect(bucket.take(5, now: .start) == true)
        #expect(bucket.available(now: .start + .hours(100_000)) == 5)
        #expect(bucket.take(6, now: .start + .hours(100_000)) == false)
        #expect(bucket.deadline(for: 6, now: .start) == nil)
    }

    @Test("a clock that goes back gives nothing and takes nothing")
    func back() {
        var bucket = TokenBucket(ratePerSecond: 1, burst: 2, now: .start)
        #expect(bucket.take(now: .start) == true)
        #expect(bucket.available(now: .uptimeNanoseconds(0)) == 1)
        #expect(bucket.available(now: .start + .seconds(1)) == 2)
    }

    @Test("strange rates and bursts are moved into their range")
    func range() {
        let least = TokenBucket(ratePerSecond: -1, burst: 0, now: .start)
        #expect((least.ratePerSecond, least.burst) == (0, 1))
        let most = TokenBucket(ratePerSecond: .max, burst: .max, now: .start)
        #expect((most.ratePerSecond, most.burst) == (TokenBucket.largest, TokenBucket.largest))
    }

    @Test("strange counts are taken for none, or for too many")
    func counts() {
        var bucket = TokenBucket(ratePerSecond: 2, burst: 2, now: .start)
        #expect(bucket.take(.max, now: .start) == false)
        #expect(bucket.take(2, now: .start) == true)
        #expect(bucket.take(-5, now: .start) == true)
        #expect(bucket.take(.min, now: .start) == true)
        #expect(bucket.take(now: .start) == false)
        #expect(bucket.deadline(for: .min, now: .start) == .start)
        #expect(bucket.deadline(for: .max, now: .start) == nil)
        #expect(bucket.deadline(for: 2, now: .start) == .start + .seconds(1))
        // What is there is there now.
        #expect(bucket.deadline(now: .start + .milliseconds(500)) == .start + .milliseconds(500))
    }

    @Test("a product that overflows fills the bucket")
    func overflow() {
        var bucket = TokenBucket(ratePerSecond: 1_000_000_000, burst: 5, now: .start)
        #expect(bucket.take(5, now: .start) == true)
        // Times the rate this is a multiple of 2^64.
        #expect(bucket.available(now: .start + .nanoseconds(1 << 55)) == 5)
    }

    @Test("a rate of 0 never fills")
    func zero() {
        var bucket = TokenBucket(ratePerSecond: 0, burst: 1, now: .start)
        #expect(bucket.take(now: .start) == true)
        #expect(bucket.take(now: .start + .hours(1)) == false)
        #expect(bucket.deadline(now: .start) == nil)
    }

    @Test("grants at most burst + rate · time, whatever the steps", arguments: UInt64(1)...10)
    func bound(seed: UInt64) {
        print("seed", seed)
        var random = SplitMix64(seed)
        let rate = Int.random(in: 1...1000, using: &random)
        let burst = Int.random(in: 1...100, using: &random)
        var bucket = TokenBucket(ratePerSecond: rate, burst: burst, now: .start)
        var now = NIODeadline.start
        var granted = 0
        for _ in 0..<10_000 {
            now = now + .nanoseconds(Int64.random(in: 0...5_000_000, using: &random))
            if bucket.take(now: now) { granted += 1 }
        }
        let nanoseconds = Double((now - .start).nanoseconds)
        #expect(Double(granted) <= Double(burst) + Double(rate) * nanoseconds / 1e9)
    }
}
