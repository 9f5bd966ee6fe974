import NIOConcurrencyHelpers
import NIOCore
import OnionAddress
import Testing

@testable import OnionRouter

@Suite("Addresses of this machine")
struct OwnAddressesTests {
    private struct NoAnswer: Error {}
    private let old = IPAddress.v4(0x5db8_d822)
    private let new = IPAddress.v4(0x5db8_d823)

    @Test("the system knows loopback")
    func system() throws {
        #expect(try OwnAddresses.ofSystem().contains(.v4(0x7f00_0001)))
    }

    @Test("they are read again after 10 s")
    func again() throws {
        let answer = NIOLockedValueBox(Set([self.old]))
        let start = NIODeadline.now()
        let own = try OwnAddresses(now: start) { answer.withLockedValue { $0 } }
        answer.withLockedValue { $0 = [self.new] }
        #expect(own.contains(self.old, now: start + .milliseconds(9999)))
        #expect(own.contains(self.new, now: start + .seconds(10)))
        #expect(!own.contains(self.old, now: start + .seconds(10)))
    }

    @Test("what was known stays if the system does not answer, but for the first time")
    func noAnswer() throws {
        let fails = NIOLockedValueBox(false)
        let start = NIODeadline.now()
        let read: @Sendable () throws -> Set<IPAddress> = { [old] in
            if fails.withLockedValue({ $0 }) { throw NoAnswer() }
            return [old]
        }
        let own = try OwnAddresses(now: start, read: read)
        fails.withLockedValue { $0 = true }
        #expect(own.contains(self.old, now: start + .seconds(20)))
        #expect(throws: NoAnswer.self) { _ = try OwnAddresses(now: start, read: read) }
    }
}
