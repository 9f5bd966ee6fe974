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
        register.ended(self.id, peerEnded: true, cellCount: 1)
        #expect(throws: CircuitError.streamIDReused(self.id)) { try register.begin(self.id) }
        #expect(throws: CircuitError.streamIDReused(self.id)) {
            try register.lateMessage(.begin, on: self.id, cellCount: 1)
        }
    }

    @Test("messages for a stream that never was are refused", arguments: RelayCommand.allCases)
    func unknown(command: RelayCommand) {
        var register = StreamRegister()
        #expect(throws: CircuitError.streamUnknown(self.id)) {
            try register.lateMessage(command, on: self.id, cellCount: 1)
        }
        #expect(throws: CircuitError.streamUnknown(self.id)) { try register.lateEnd(.reset, on: self.id) }
    }

    @Test("Data for a stream that only we ended is dropped; for one that the peer ended it is refused")
    func late() throws {
        var register = StreamRegister()
        try register.begin(self.id)
        register.ended(self.id, peerEnded: false, cellCount: 1)
        for command in [RelayCommand.data, .connected, .resolved, .xOff, .xOn] {
            try register.lateMessage(command, on: self.id, cellCount: 1)
        }
        let other = StreamID(rawValue: 8)
        try register.begin(other)
        register.ended(other, peerEnded: true, cellCount: 1)
        for command in [RelayCommand.xOff, .xOn] { try register.lateMessage(command, on: other, cellCount: 1) }
        for command in [RelayCommand.data, .connected, .resolved] {
            #expect(throws: CircuitError.messageAfterEnd(command)) {
                try register.lateMessage(command, on: other, cellCount: 1)
            }
        }
    }

    @Test("a Finished and then another End may cross ours, each once, and nothing comes behind them")
    func lateEnds() throws {
        var register = StreamRegister()
        try register.begin(self.id)
        register.ended(self.id, peerEnded: false, cellCount: 1)
        for reason in [EndReason.finished, .reset] {
            try register.lateEnd(reason, on: self.id)
            for again in [EndReason.finished, reason] {
                #expect(throws: CircuitError.messageAfterEnd(.end)) { try register.lateEnd(again, on: self.id) }
            }
            #expect(throws: CircuitError.messageAfterEnd(.data)) {
                try register.lateMessage(.data, on: self.id, cellCount: 1)
            }
        }
        let other = StreamID(rawValue: 8)
        try register.begin(other)
        register.ended(other, peerEnded: true, cellCount: 1)
        #expect(throws: CircuitError.messageAfterEnd(.end)) { try register.lateEnd(.finished, on: other) }
        try register.lateEnd(.reset, on: other)
        #expect(throws: CircuitError.messageAfterEnd(.end)) { try register.lateEnd(.timedOut, on: other) }
    }

    @Test("what was in flight comes in so many cells, from when the last stream that ended has said so")
    func lateCells() throws {
        var register = StreamRegister()
        for id in [self.id, StreamID(rawValue: 8)] { try register.begin(id) }
        let limit = StreamRegister.lateCellLimit
        register.ended(self.id, peerEnded: false, cellCount: 10)
        try register.lateMessage(.data, on: self.id, cellCount: 10 + limit)
        #expect(throws: CircuitError.messageAfterEnd(.data)) {
            try register.lateMessage(.data, on: self.id, cellCount: 11 + limit)
        }
        register.ended(StreamID(rawValue: 8), peerEnded: false, isWaiting: true, cellCount: 20)
        try register.lateMessage(.connected, on: self.id, cellCount: 100 * limit)
        register.saidAll(cellCount: 100 * limit)
        try register.lateMessage(.resolved, on: self.id, cellCount: 101 * limit)
        #expect(throws: CircuitError.messageAfterEnd(.resolved)) {
            try register.lateMessage(.resolved, on: self.id, cellCount: 101 * limit + 1)
        }
    }

    @Test("each stream that ends may leave so much flow control behind it, and a circuit so much in all")
    func lateFlowControl() throws {
        var register = StreamRegister()
        func take(_ count: Int) throws {
            for number in 0..<count {
                try register.lateMessage(number.isMultiple(of: 2) ? .xOff : .xOn, on: self.id, cellCount: 1)
            }
            for command in [RelayCommand.xOff, .xOn] {
                #expect(throws: CircuitError.xOffStorm) {
                    try register.lateMessage(command, on: self.id, cellCount: 1)
                }
            }
        }
        try register.begin(self.id)
        for _ in 0..<3 { register.ended(self.id, peerEnded: true, cellCount: 1) }
        try take(3 * StreamRegister.lateFlowControlLimit)
        for _ in 0..<1000 { register.ended(self.id, peerEnded: true, cellCount: 1) }
        try take(StreamRegister.lateFlowControlLimitInAll)
    }

    @Test("the memory of ids is in proportion to their number, whatever they are")
    func memory() throws {
        var register = StreamRegister()
        let last = StreamID(rawValue: .max)
        try register.begin(last)
        register.ended(last, peerEnded: false, cellCount: 1)
        #expect(register.wordCount == 2)
        for raw in 1..<6400 as Range<UInt16> {
            try register.begin(StreamID(rawValue: raw))
            register.ended(StreamID(rawValue: raw), peerEnded: raw.isMultiple(of: 2), cellCount: 1)
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
