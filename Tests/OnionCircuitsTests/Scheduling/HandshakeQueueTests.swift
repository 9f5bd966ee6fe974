import NIOCore
import OnionCircuits
import TestSupport
import Testing

@Suite("Handshake queue")
struct HandshakeQueueTests {
    private typealias Queue = HandshakeQueue<String, Int>
    private func queue(total: Int = 10, perLink: Int = 5) -> Queue {
        Queue(limits: Queue.Limits(total: total, perLink: perLink, patience: .seconds(2)))
    }

    private func drain(_ queue: inout Queue, now: NIODeadline = .start) -> (run: [Int], dropped: [Int]) {
        var run: [Int] = []
        var dropped: [Int] = []
        while let next = queue.next(now: now) {
            switch next {
            case .run(let element): run.append(element)
            case .dropped(let element): dropped.append(element)
            }
        }
        return (run, dropped)
    }

    @Test("links take turns; one link's handshakes keep their order")
    func fair() {
        var queue = self.queue()
        for element in 1...4 { #expect(queue.enqueue(element, from: "a", now: .start) == true) }
        #expect(queue.enqueue(10, from: "b", now: .start) == true)
        #expect(queue.enqueue(20, from: "c", now: .start) == true)
        #expect(self.drain(&queue).run == [1, 10, 20, 2, 3, 4])
        #expect(queue.isEmpty)
    }

    @Test("is full at its limits, for one link and for all")
    func bounded() {
        var queue = self.queue(total: 7, perLink: 5)
        for element in 1...5 { #expect(queue.enqueue(element, from: "a", now: .start) == true) }
        #expect(queue.enqueue(6, from: "a", now: .start) == false)
        #expect(queue.enqueue(7, from: "b", now: .start) == true)
        #expect(queue.enqueue(8, from: "c", now: .start) == true)
        #expect(queue.enqueue(9, from: "d", now: .start) == false)
        #expect(queue.count == 7)
        _ = queue.next(now: .start)
        #expect(queue.enqueue(9, from: "d", now: .start) == true)
    }

    @Test("when all is full, the link with the most makes room for one with less, and for no other")
    func makesRoom() {
        var queue = self.queue(total: 7, perLink: 5)
        for element in 1...5 { #expect(queue.enqueue(element, from: "a", now: .start) == true) }
        #expect(queue.makeRoom(for: "b") == nil)
        for element in 10...11 { #expect(queue.enqueue(element, from: "b", now: .start) == true) }
        #expect(queue.makeRoom(for: "a") == nil)
        #expect(queue.makeRoom(for: "c") == 5)
        #expect(queue.enqueue(20, from: "c", now: .start) == true)
        #expect(queue.makeRoom(for: "b") == 4)
        #expect(queue.enqueue(12, from: "b", now: .start) == true)
        // Three, three and one: another would only change places.
        #expect(queue.makeRoom(for: "b") == nil)
        #expect(queue.count == 7)
        #expect(self.drain(&queue).run == [1, 10, 20, 2, 11, 3, 12])
    }

    @Test("drops what has waited longer than its client does, without using up the link's turn")
    func stale() {
        var queue = self.queue()
        #expect(queue.enqueue(1, from: "a", now: .start) == true)
        #expect(queue.enqueue(2, from: "a", now: .start + .seconds(1)) == true)
        #expect(queue.enqueue(3, from: "b", now: .start + .seconds(1)) == true)
        #expect(self.drain(&queue, now: .start + .seconds(2)).dropped == [])
        #expect(queue.enqueue(1, from: "a", now: .start) == true)
        #expect(queue.enqueue(2, from: "a", now: .start + .seconds(1)) == true)
        #expect(queue.enqueue(3, from: "b", now: .start + .seconds(1)) == true)
        let (run, dropped) = self.drain(&queue, now: .start + .seconds(2) + .nanoseconds(1))
        #expect(dropped == [1])
        #expect(run == [2, 3])
    }

    @Test("a lost link leaves nothing behind")
    func lostLink() {
        var queue = self.queue()
        for element in 1...3 { #expect(queue.enqueue(element, from: "a", now: .start) == true) }
        #expect(queue.enqueue(10, from: "b", now: .start) == true)
        queue.removeAll(from: "a")
        #expect(queue.count == 1)
        #expect(queue.enqueue(4, from: "a", now: .start) == true)
        #expect(self.drain(&queue).run == [10, 4])
    }

    @Test("with n links waiting, nobody waits for more than n - 1 others per handshake", arguments: UInt64(1)...5)
    func fairness(seed: UInt64) {
        print("seed", seed)
        var random = SplitMix64(seed)
        var queue = Queue(limits: Queue.Limits(total: 1000, perLink: 100, patience: .hours(1)))
        let links = ["a", "b", "c", "d"]
        // Elements say which link they are from.
        for _ in 0..<300 {
            let link = Int.random(in: 0..<10, using: &random) < 7 ? 0 : Int.random(in: 1..<4, using: &random)
            _ = queue.enqueue(link, from: links[link], now: .start)
        }
        var left = [0, 0, 0, 0]
        var copy = queue
        for element in self.drain(&copy).run { left[element] += 1 }
        var since = [0, 0, 0, 0]
        for element in self.drain(&queue).run {
            left[element] -= 1
            for link in 0..<4 where left[link] > 0 && link != element { since[link] += 1 }
            since[element] = 0
            #expect(since.allSatisfy { $0 <= 3 })
        }
    }

    @Test("new limits count from when they come, and send nobody away who waits")
    func newLimits() {
        var queue = HandshakeQueue<Int, Int>(limits: .init(total: 4, perLink: 4, patience: .seconds(10)))
        let first = (0..<4).map { queue.enqueue($0, from: 1, now: .start) }
        #expect(first == [true, true, true, true])
        queue.limits = .init(total: 6, perLink: 2, patience: .seconds(1))
        #expect(queue.count == 4)
        let (own, others) = (queue.enqueue(4, from: 1, now: .start), queue.enqueue(5, from: 2, now: .start))
        #expect(!own && others)
        guard case .dropped = queue.next(now: .start + .seconds(2)) else {
            Issue.record("waited longer than the new patience")
            return
        }
    }
}
