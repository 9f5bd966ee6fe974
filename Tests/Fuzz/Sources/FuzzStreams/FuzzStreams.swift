import NIOCore
import OnionCells
import OnionCircuits

/// The life of a stream and its flow control at both ends. The first byte says which of three plays follows:
///
/// - two honest ends with a wire between them that keeps the order: whatever their sockets do, neither may ever find a
///   fault in the other, and no byte is lost;
/// - one end, and a peer that says anything;
/// - a circuit's register of its streams against two sets.
enum FuzzStreams {
    /// Returns whether nobody broke a rule.
    static func feed(_ bytes: [UInt8]) -> Bool {
        var script = bytes[...]
        guard let first = script.popFirst(), !script.isEmpty else { return false }
        switch first % 3 {
        case 0:
            var pair = HonestStream()
            while let event = script.popFirst() { pair.play(event, amount: script.popFirst() ?? 0) }
            pair.finish()
            return true
        case 1: return Self.playHostile(isClient: first & 4 == 0, &script)
        default: return Self.playRegister(&script)
        }
    }

    // MARK: One end and a hostile peer

    private static func playHostile(isClient: Bool, _ script: inout ArraySlice<UInt8>) -> Bool {
        var end = StreamEnd(role: isClient ? .client : .exit)
        var now = NIODeadline.uptimeNanoseconds(1_000_000_000)
        while let event = script.popFirst() {
            let amount = script.popFirst() ?? 0
            do throws(CircuitError) {
                switch event & 7 {
                case 0: _ = try end.receive(.connected, now: now)
                case 1: _ = try end.receive(.data(Int(amount) * 16), now: now)
                case 2: _ = try end.receive(.end(EndReason(rawValue: amount) ?? .finished), now: now)
                case 3: _ = try end.receive(.xOff, now: now)
                case 4: _ = try end.receive(.xOn(UInt32(amount)), now: now)
                case 5: _ = end.drain(Int(amount) * 16, now: now)
                case 6: now = now + .milliseconds(Int64(amount))
                default: _ = end.local(amount, now: now)
                }
            } catch {
                precondition(error.scope == .circuit, "a peer's message ends more than its circuit")
                return false
            }
            _ = end.timePassed(now: now)
            let limits = end.gate.limits
            precondition(
                end.gate.bufferedByteCount <= limits.high + limits.inFlight + 2 * 255 * 16 + end.unboundedByteCount,
                "a stream holds more than its limits allow")
        }
        return true
    }

    // MARK: The register

    private static func playRegister(_ script: inout ArraySlice<UInt8>) -> Bool {
        var register = StreamRegister()
        var used: Set<UInt16> = []
        var endedByPeer: Set<UInt16> = []
        var isClient: Bool?
        while let event = script.popFirst() {
            let value = UInt16(script.popFirst() ?? 0) | UInt16(event >> 4) << 8
            let id = StreamID(rawValue: value)
            switch event & 3 {
            case 0 where isClient != false:
                isClient = true
                guard let allocated = register.allocate() else { continue }
                precondition(used.insert(allocated.rawValue).inserted, "a stream's id is given twice")
                precondition(allocated.rawValue != 0, "a stream has the circuit's id")
            case 1 where isClient != true:
                isClient = false
                let isNew = used.insert(value).inserted
                precondition(((try? register.begin(id)) != nil) == isNew, "a stream's id is used twice, or refused")
            case 2 where used.contains(value):
                let peerEnded = event & 4 != 0
                // A stream leaves the table once; that it ended at the peer stays so.
                if peerEnded, !endedByPeer.contains(value) { endedByPeer.insert(value) }
                guard peerEnded || !endedByPeer.contains(value) else { continue }
                register.ended(id, peerEnded: peerEnded, cellCount: 0)
                if !peerEnded { used.insert(value) }
                Self.checkLate(register, id, isKnown: true)
            default: Self.checkLate(register, id, isKnown: used.contains(value))
            }
            precondition(register.usedCount == used.count, "ids are counted wrongly")
        }
        return true
    }

    private static func checkLate(_ register: StreamRegister, _ id: StreamID, isKnown: Bool) {
        for command in RelayCommand.allCases {
            var copy = register
            let isDropped = (try? copy.lateMessage(command, on: id, cellCount: 0)) != nil
            precondition(!isDropped || isKnown, "a message for a stream that never was is dropped")
            switch command {
            case .begin, .resolve, .end, .sendMe, .extend, .extended, .truncated, .drop:
                precondition(!isDropped, "a \(command) is taken for a late message")
            case .data, .connected, .resolved, .xOff, .xOn: break
            }
        }
        var copy = register
        let isDropped = (0..<2).map { _ in (try? copy.lateEnd(.reset, on: id)) != nil }
        precondition(isDropped == [isKnown, false], "a late End is a fault, or a second one is not")
    }

    static var seeds: [[UInt8]] {
        [
            // Connect, data both ways, finish both ways.
            [0, 0, 0, 8, 1, 1, 200, 8, 0, 2, 100, 9, 0, 3, 255, 4, 255, 5, 0, 8, 3, 6, 0, 9, 3, 3, 255, 4, 255],
            // A slow reader: XOff, and XOn once it drains.
            [0, 0, 0, 9, 3, 2, 255, 2, 255, 2, 255, 9, 9, 8, 9, 10, 60, 4, 255, 4, 255, 10, 60, 8, 9, 9, 9, 4, 255],
            // Resets at either end, and a connection that fails.
            [0, 0, 0, 9, 3, 7, 1, 8, 9, 2, 3, 9, 9], [0, 1, 4, 7, 1, 9, 9], [0, 0, 1, 8, 9],
            [1, 0, 0, 1, 9, 2, 0, 5, 9, 7, 0], [4, 1, 200, 7, 0, 3, 0, 6, 60, 4, 9, 2, 1],
            [2, 0, 0, 0, 0, 6, 1, 3, 1, 3, 9], [2, 1, 7, 1, 8, 2, 7, 3, 7, 1, 7],
        ]
    }
}
