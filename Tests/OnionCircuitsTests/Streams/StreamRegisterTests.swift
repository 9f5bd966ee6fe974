import OnionCells
import TestSupport
import Testing

@testable import OnionCircuits

@Suite("Stream register")
struct StreamRegisterTests {
    private let id = StreamID(rawValue: 7)

    @Test("a client gets each id once, and then none")
    func allocation() {
        var register = StreamRegister()
        var last: UInt16 = 0
        while let id = register.allocate() {
            #expect(id.rawValue == last + 1)
            last = id.rawValue
        }
        #expect(last == 65_535)
        #expect(register.usedCount == 65_535)
        #expect(register.allocate() == nil)
    }

    @Test("an id that was used is refused, even long after its stream has gone")
    func reuse() throws {
        var register = StreamRegister()
        try register.begin(self.id)
        register.ended(self.id, peerEnded: true)
        #expect(throws: CircuitError.streamIDReused(self.id)) { try register.begin(self.id) }
        #expect(throws: CircuitError.streamIDReused(self.id)) { try register.lateMessage(.begin, on: self.id) }
    }

    @Test("messages for a stream that never was are refused", arguments: RelayCommand.allCases)
    func unknown(command: RelayCommand) {
        #expect(throws: CircuitError.streamUnknown(self.id)) {
            try StreamRegister().lateMessage(command, on: self.id)
        }
    }

    @Test("Data for a stream that only we ended is dropped; for one that the peer ended it is refused")
    func late() throws {
        var register = StreamRegister()
        try register.begin(self.id)
        register.ended(self.id, peerEnded: false)
        for command in [RelayCommand.data, .connected, .resolved, .end, .xOff, .xOn] {
            try register.lateMessage(command, on: self.id)
        }
        let other = StreamID(rawValue: 8)
        try register.begin(other)
        register.ended(other, peerEnded: true)
        for command in [RelayCommand.end, .xOff, .xOn] { try register.lateMessage(command, on: other) }
        for command in [RelayCommand.data, .connected, .resolved] {
            #expect(throws: CircuitError.messageAfterEnd(command)) { try register.lateMessage(command, on: other) }
        }
    }

    @Test("the memory of ids is in proportion to their number, whatever they are")
    func memory() throws {
        var register = StreamRegister()
        let last = StreamID(rawValue: .max)
        try register.begin(last)
        register.ended(last, peerEnded: false)
        #expect(register.wordCount == 2)
        for raw in 1..<6400 as Range<UInt16> {
            try register.begin(StreamID(rawValue: raw))
            register.ended(StreamID(rawValue: raw), peerEnded: raw.isMultiple(of: 2))
        }
        #expect(register.wordCount == 2 + 2 * 100)
    }

    @Test("a client may strew its ids as wide as the limit, and no wider")
    func strewn() throws {
        var register = StreamRegister()
        // Of as many ids in a row a word would be full: it is not spare.
        for number in 0...UInt16(StreamRegister.spareWordLimit) {
            try register.begin(StreamID(rawValue: 64 * number))
        }
        // A neighbour costs nothing.
        try register.begin(StreamID(rawValue: 1))
        #expect(throws: CircuitError.messageNotAllowed(.begin)) { try register.begin(StreamID(rawValue: 60_000)) }
    }
}

@Suite("Stream id set")
struct StreamIDSetTests {
    @Test("agrees with a Set", arguments: UInt64(1)...5)
    func model(seed: UInt64) {
        print("seed", seed)
        var random = SplitMix64(seed)
        var set = StreamIDSet()
        var model: Set<UInt16> = []
        for _ in 0..<5000 {
            let raw = UInt16.random(in: .min ... .max, using: &random) & 0x83ff
            let id = StreamID(rawValue: raw)
            if Bool.random(using: &random) {
                #expect(set.insert(id) == model.insert(raw).inserted)
            } else {
                #expect(set.remove(id) == (model.remove(raw) != nil))
            }
        }
        #expect(set.count == model.count)
        #expect((0...UInt16.max).allSatisfy { set.contains(StreamID(rawValue: $0)) == model.contains($0) })
        #expect(set.wordCount == Set(model.map { $0 / 64 }).count)
    }
}
