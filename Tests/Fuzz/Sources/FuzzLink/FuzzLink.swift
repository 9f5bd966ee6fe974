import OnionCells

/// A link between two nodes from the end of its TLS handshake on: NetInfo, cells in pieces of any size, a connection that
/// takes what it wants, a peer that says anything. What must hold is checked by ``WatchedLink``. The first byte says who
/// dialled and who the peer is; then pairs of an event and a value, some of which take bytes more.
enum FuzzLink {
    /// Returns whether the link opened and its peer broke no rule.
    static func feed(_ bytes: [UInt8]) -> Bool {
        var script = bytes[...]
        guard let first = script.popFirst() else { return false }
        let link = WatchedLink(isDialler: first & 1 == 0)
        while let event = script.popFirst() { Self.play(event, script.popFirst() ?? 0, &script, link) }
        return link.end()
    }

    private static func play(_ event: UInt8, _ value: UInt8, _ script: inout ArraySlice<UInt8>, _ link: WatchedLink) {
        let circuit = CircuitID(rawValue: UInt32(value & 7))
        switch event & 15 {
        case 0: link.completeHandshake()
        case 1:
            link.receive(.netInfo, on: .link, body: Array(script.prefix(Int(value & 31))))
            script = script.dropFirst(Int(value & 31))
        case 2:
            let command = CellCommand.allCases[Int(event >> 4) % CellCommand.allCases.count]
            link.receive(command, on: circuit, body: [value])
        case 3: link.receiveRelayCells(count: 1 + Int(value >> 5), on: circuit)
        // Bytes as they come, which may be no cell at all.
        case 4:
            link.receive(bytes: Array(script.prefix(Int(value))))
            script = script.dropFirst(Int(value))
        // The next bytes come in pieces of this size.
        case 5: link.pieceByteCount = value == 0 ? .max : Int(value) * Int(value)
        case 6: link.send(count: 1 + Int(value >> 5), on: circuit)
        case 7: link.sendBatch(count: 1 + Int(value >> 5), firstCircuit: UInt32(value & 7))
        case 8: link.setWritable(value & 1 == 0)
        case 9: link.run()
        case 10: link.pass(milliseconds: Int64(value) * 20)
        case 11: link.dropQueue(of: CircuitID(rawValue: circuit.rawValue + 1))
        case 12: link.circuitCount = Int(value & 7)
        case 13: link.update(queuedCellsPerCircuit: 1 + Int(value & 15), queuedCellsPerLink: 1 + Int(value >> 2))
        case 14: if value & 3 == 0 { link.close() }
        default: if value & 3 == 0 { link.lose() }
        }
        link.check()
    }

    static var seeds: [[UInt8]] {
        let netInfo: [UInt8] = [1, 13, 0, 0, 0, 0, 0x6a, 0, 0, 0, 4, 5, 6, 7, 8]
        let open: [UInt8] = [0, 0] + netInfo
        let ping = UInt8(CellCommand.allCases.firstIndex(of: .ping) ?? 0) << 4 | 2
        let pong = UInt8(CellCommand.allCases.firstIndex(of: .pong) ?? 0) << 4 | 2
        return [
            [0] + open + [3, 1, 5, 9, 3, 17, 5, 0, ping, 0, pong, 0, 9, 0, 10, 10],
            [1] + open + [6, 9, 8, 1, 6, 0xf9, 6, 0xfa, 7, 0xe2, 9, 0, 8, 0, 9, 0, 6, 1, 9, 0],
            [0] + open + [12, 1, 8, 1, 13, 9, 6, 0xe1, 6, 0xe1, 6, 0xe1, 9, 0, 11, 2, 10, 60, 10, 60, 8, 0, 9, 0],
            [1] + open + [12, 2, 10, 60, 10, 10, 3, 2, 10, 40, 14, 0],
            [0] + open + [5, 3, 3, 0xe7, 3, 2, 5, 70, 3, 0xff],
        ]
    }
}
