import NIOCore
import NIOEmbedded
import OnionAddress
import OnionCells
import OnionCircuits
import OnionCrypto

@testable import OnionStreams

/// One end of a circuit, with a peer that says anything at any time and sockets that do what sockets may. The input is a
/// sequence of events; what must hold whatever their order is checked by ``WatchedCircuit`` and ``WatchedSocket``.
enum FuzzCircuit {
    /// Returns whether the peer broke no rule.
    static func feed(_ bytes: [UInt8]) -> Bool {
        var script = Script(bytes: bytes[...])
        guard let first = script.next() else { return false }
        let circuit = WatchedCircuit(role: first & 1 == 0 ? .client : .exit)
        while circuit.failure == nil, let event = script.next() { Self.play(event, &script, circuit) }
        let isWellBehaved = circuit.failure == nil
        circuit.end()
        return isWellBehaved
    }

    private static func play(_ event: UInt8, _ script: inout Script, _ circuit: WatchedCircuit) {
        // The upper half is for streams: most of what happens.
        let place = Int(event >> 4)
        switch event & 0xf {
        case 0: Self.sayMessages(1 + place % 4, &script, circuit)
        case 1: circuit.receive(Array(script.take(place * 8)))
        case 2: circuit.receiveData(on: UInt16(place), cellCount: Int(script.next() ?? 0) % 64)
        case 3: circuit.acknowledge(atMost: place + 1)
        case 4: circuit.loop.run()
        case 5: circuit.loop.advanceTime(by: .milliseconds(Int64(1 + place * 10)))
        case 6:
            circuit.loop.advanceTime(by: .seconds(31))
            circuit.endpoint?.tick(now: circuit.loop.now)
        case 7: circuit.setRoom(place & 1 == 0)
        case 8: circuit.open(isLookup: place & 3 == 0)
        case 9: circuit.answer(place, failing: (script.next() ?? 0) & 7 == 0)
        case 10: circuit.attach(place)
        case 11: circuit.socket(place)?.send(byteCount: 1 << (Int(script.next() ?? 0) & 0xf))
        case 12: circuit.socket(place)?.finish()
        case 13: circuit.socket(place)?.drain(byteCount: 1 << (Int(script.next() ?? 0) & 0x1f))
        case 14: circuit.socket(place)?.close()
        default: circuit.breakOff(place)
        }
        circuit.checkTraffic()
    }

    /// One cell of messages that have the right form, mostly.
    private static func sayMessages(_ count: Int, _ script: inout Script, _ circuit: WatchedCircuit) {
        var messages: [(RelayCommand, UInt16, [UInt8])] = []
        for _ in 0..<count {
            guard let kind = script.next(), let place = script.next() else { break }
            let command = RelayCommand.allCases[Int(kind & 0x7f) % RelayCommand.allCases.count]
            let isForged = kind & 0x80 != 0
            let id = command.isAboutCircuit && !isForged ? 0 : UInt16(place & 0xf)
            let data = isForged ? Array(script.take(Int(place >> 4))) : circuit.data(of: command, place >> 4)
            messages.append((command, id, data))
        }
        var payload = [UInt8](repeating: 0, count: Cell.payloadByteCount)
        do {
            var span = payload.mutableSpan
            var bytes = span.mutableBytes
            var writer = RelayMessageWriter(leavesUnguessableTail: false)
            for (command, id, data) in messages where data.count <= writer.room {
                writer.append(command, streamID: StreamID(rawValue: id), data: data.span.bytes, into: &bytes)
            }
            _ = writer.finish(&bytes)
        }
        circuit.receive(payload)
    }

    private struct Script {
        var bytes: ArraySlice<UInt8>

        mutating func next() -> UInt8? { self.bytes.popFirst() }

        mutating func take(_ count: Int) -> ArraySlice<UInt8> {
            defer { self.bytes = self.bytes.dropFirst(count) }
            return self.bytes.prefix(count)
        }
    }

    static var seeds: [[UInt8]] {
        func event(_ kind: UInt8, _ place: UInt8 = 0) -> UInt8 { place << 4 | kind }
        /// A message as `sayMessages` reads it.
        func message(_ command: RelayCommand, _ place: UInt8, _ value: UInt8 = 0) -> [UInt8] {
            [UInt8(RelayCommand.allCases.firstIndex(of: command) ?? 0), value << 4 | place]
        }
        func cell(_ messages: [UInt8]...) -> [UInt8] { [event(0, UInt8(messages.count - 1))] + messages.joined() }
        let run = event(4)
        let client: [UInt8] =
            [0, event(8, 1), event(10, 1), run] + cell(message(.connected, 1)) + [event(11, 1), 12, run]
            + cell(message(.data, 1, 9), message(.end, 1, 1)) + [event(13, 1), 31, event(12, 1), run]
        let exit: [UInt8] =
            [1] + cell(message(.begin, 1), message(.data, 1, 3)) + [event(9, 1), 1, event(10, 1), run]
            + [event(11, 1), 15, run, event(2, 1), 40, event(13, 1), 31, event(5, 15), run, event(3, 3)]
            + cell(message(.end, 1, 1)) + [event(12, 1), run]
        let slow: [UInt8] =
            [1] + cell(message(.begin, 2)) + [event(9, 2), 1, event(10, 2), event(2, 2), 63, run, event(5, 15)]
            + cell(message(.xOff, 2)) + [event(11, 2), 15, run] + cell(message(.xOn, 2)) + [run, event(13, 2), 31]
            + [event(5, 15), event(7, 1), event(11, 2), 15, run, event(7, 0), event(14, 2), run]
        let lookups: [UInt8] =
            [0, event(8, 0), event(8, 4), run] + cell(message(.resolved, 1), message(.end, 2, 3))
            + [event(8, 1), run, event(6), event(15, 3), run]
        return [client, exit, slow, lookups]
    }
}
