import NIOCore
import OnionCrypto
import Testing

@testable import OnionClient

@Suite("Refusal memory")
struct RefusalMemoryTests {
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
    private let one = someKey()
    private let other = someKey()

    private func place(_ host: String, port: UInt16 = 443, user: String = "") -> RefusalMemory.Place {
        RefusalMemory.Place(
            host: host, port: port, isolation: IsolationKey(protocolName: "test", username: Array(user.utf8)))
    }

    @Test("keeps exits by destination and isolation, until they connect or time is over")
    func keeps() {
        var memory = RefusalMemory(age: .minutes(10), limit: 8)
        let place = self.place("A.test")
        memory.refused(place, by: self.one, now: self.start)
        memory.refused(place, by: self.other, now: self.start + .minutes(5))
        let late = self.start + .minutes(10) - .nanoseconds(1)
        #expect(memory.exits(for: self.place("a.TEST"), now: late) == [self.one, self.other])
        #expect(memory.exits(for: self.place("a.test", port: 80), now: late).isEmpty)
        #expect(memory.exits(for: self.place("a.test", user: "bob"), now: late).isEmpty)
        #expect(memory.exits(for: place, now: self.start + .minutes(10)).isEmpty)
        memory.connected(place, by: self.one)
        #expect(memory.exits(for: place, now: late) == [self.other])
        memory.forget(place)
        #expect(memory.placeCount == 0)
    }

    @Test("destinations that are forgiven, or old enough, take no room")
    func room() {
        var memory = RefusalMemory(age: .minutes(10), limit: 8)
        memory.refused(self.place("a"), by: self.one, now: self.start)
        memory.connected(self.place("a"), by: self.one)
        #expect(memory.placeCount == 0)
        memory.refused(self.place("a"), by: self.one, now: self.start)
        memory.refused(self.place("b"), by: self.one, now: self.start + .minutes(10) - .nanoseconds(1))
        #expect(memory.placeCount == 2)
        memory.refused(self.place("c"), by: self.one, now: self.start + .minutes(10))
        #expect(memory.placeCount == 2)
    }

    @Test("the oldest destination makes way; never more than the limit")
    func limit() {
        var memory = RefusalMemory(age: .minutes(10), limit: 3)
        for number in 0..<4 {
            memory.refused(
                self.place("\(number)"), by: self.one, now: self.start + .seconds(Int64(number)))
        }
        #expect(memory.placeCount == 3)
        #expect(memory.exits(for: self.place("0"), now: self.start + .seconds(4)).isEmpty)
        #expect(memory.exits(for: self.place("3"), now: self.start + .seconds(4)) == [self.one])
    }
}
