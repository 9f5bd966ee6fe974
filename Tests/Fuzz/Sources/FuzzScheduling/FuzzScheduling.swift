/// What decides who is served next, and who has to go: the circuit scheduler, the handshake queue, the ledger of queues and
/// the token bucket, each against a plain model. The first byte says which; then pairs of an event and a value.
enum FuzzScheduling {
    /// Returns whether anything happened.
    static func feed(_ bytes: [UInt8]) -> Bool {
        var script = bytes[...]
        guard let first = script.popFirst(), script.count >= 2 else { return false }
        switch first & 3 {
        case 0: self.play(&script, WatchedScheduler())
        case 1: self.play(&script, WatchedHandshakes(limits: first))
        case 2: self.play(&script, WatchedLedger(ceiling: Int(first) * 16))
        default: self.play(&script, WatchedBucket(ratePerSecond: Int(first) * 8, burst: Int(first >> 2)))
        }
        return true
    }

    private static func play(_ script: inout ArraySlice<UInt8>, _ watched: consuming some WatchedMachine) {
        while let event = script.popFirst() { watched.play(event, Int(script.popFirst() ?? 0)) }
    }

    static var seeds: [[UInt8]] {
        [
            // Three circuits wait, are served in turn, one goes; time passes, and they wait again.
            [0, 0, 1, 0, 2, 0, 3, 1, 1, 1, 1, 2, 0, 3, 2, 4, 100, 0, 2, 2, 0, 2, 0, 5, 0],
            [0, 0, 1, 1, 200, 4, 255, 4, 255, 0, 2, 1, 9, 2, 0, 2, 0],
            // Two links ask, one is lost, some wait too long.
            [0xf1, 0, 1, 0, 1, 0, 2, 1, 0, 1, 0, 2, 1, 0, 2, 3, 255, 1, 0],
            [0x51, 0, 1, 0, 1, 0, 1, 0, 1, 0, 2, 3, 10, 1, 0, 1, 0, 1, 0],
            // Queues grow past the ceiling and are given up.
            [0x12, 0, 1, 0, 0x11, 3, 9, 0, 0xf2, 2, 0, 1, 1, 0, 0xf3, 2, 0, 1, 3],
            // A bucket is emptied and filled.
            [0x13, 0, 4, 0, 200, 1, 9, 0, 1, 2, 3, 3, 255, 0, 9],
        ]
    }
}

/// A machine beside its model; every event is done to both, and both must agree.
protocol WatchedMachine {
    mutating func play(_ event: UInt8, _ value: Int)
}
