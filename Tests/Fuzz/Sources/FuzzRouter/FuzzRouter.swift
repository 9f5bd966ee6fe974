import NIOCore
import OnionCells
import OnionCrypto

/// An OR's event loop: links with a proxy and other ORs that say anything, circuits with true handshakes and true ciphers, and
/// cells that are altered on the way. The input is a sequence of events, each with two bytes; what must hold is checked by
/// ``RouterPeer`` and ``WatchedRouter``.
enum FuzzRouter {
    /// Returns whether there was an event.
    static func feed(_ bytes: [UInt8]) -> Bool {
        var script = bytes[...]
        let router = WatchedRouter()
        while let event = script.popFirst(), let first = script.popFirst(), let second = script.popFirst() {
            Self.play(event, first, second, &script, router)
            router.run()
        }
        router.end()
        return bytes.count >= 3
    }

    private static func play(
        _ event: UInt8, _ first: UInt8, _ second: UInt8, _ script: inout ArraySlice<UInt8>, _ router: WatchedRouter
    ) {
        let peer = router.peer(Int(event >> 4))
        let origins = peer.origins.keys.sorted { $0.rawValue < $1.rawValue }
        let origin = origins.isEmpty ? nil : origins[Int(first & 15) % origins.count]
        let nexts = peer.nexts.keys.sorted { $0.rawValue < $1.rawValue }
        let next = nexts.isEmpty ? nil : nexts[Int(first & 15) % nexts.count]
        // Most cells arrive as they were sent.
        let change = first & 0xc0 == 0xc0 ? second : nil
        switch event & 15 {
        case 0, 1: peer.create(Self.create(changed: change))
        case 2: peer.create(Self.create(changed: change), on: CircuitID(rawValue: UInt32(first) << 24 | UInt32(second)))
        case 3, 4: if let origin { Self.extend(origin, first, second, change: change, peer) }
        case 5:
            if let origin {
                let payload = Self.payload(second, &script)
                peer.say(payload, on: origin, toHop: Int(first >> 4 & 1), early: first & 0x20 != 0, change: change)
            }
        case 6, 7: if let next { peer.answer(next, change: change) }
        case 8:
            if let next {
                let command: CellCommand = second & 0x80 == 0 ? .relay : .relayEarly
                peer.reply(Self.payload(second, &script), on: next, command: command, change: change)
            }
        case 9: if let id = first & 16 == 0 ? origin : next { peer.destroy(id, reason: second) }
        // A cell that fits nothing, on a circuit there is or is not.
        case 10:
            let command = CellCommand.allCases[Int(second) % CellCommand.allCases.count]
            let id = first & 16 == 0 ? origin : first & 32 == 0 ? next : CircuitID(rawValue: UInt32(first))
            Self.sayAny(command, id, Array(script.prefix(Int(second >> 4))), peer)
            script = script.dropFirst(Int(second >> 4))
        case 11: peer.setWritable(first & 1 == 0)
        case 12: router.pass(.milliseconds(Int64(first) * 40))
        case 13: router.connect(Int(first & 7))
        case 14: if first & 3 == 0 { peer.channel.close(promise: nil) }
        default: router.see(RouterFixture.shared.views[Int(first & 1)])
        }
    }

    private static func create(changed change: UInt8?) -> [UInt8] {
        var create = RouterFixture.shared.handshakes.create
        if let change { create[Int(change) * 5 % create.count] ^= 1 << (change & 7) }
        return create
    }

    private static func extend(_ id: CircuitID, _ first: UInt8, _ second: UInt8, change: UInt8?, _ peer: RouterPeer) {
        let fixture = RouterFixture.shared
        let neighbour = fixture.neighbours[Int(second & 1)]
        let identity: Ed25519PublicKey
        switch second & 0x30 {
        case 0x30: identity = fixture.identity
        case 0x20: identity = fixture.stranger
        default: identity = neighbour.identity
        }
        var data = ByteBuffer()
        Extend(identity: identity, create: neighbour.handshakes.create).write(to: &data)
        if let origin = peer.origins[id], origin.target == nil { origin.target = neighbour }
        let payload = Self.payload([(.extend, 0, Array(buffer: data))])
        peer.say(payload, on: id, toHop: 0, early: second & 0x40 == 0, change: change)
    }

    /// A cell that holds what `kind` says, or the bytes that follow in the script.
    private static func payload(_ kind: UInt8, _ script: inout ArraySlice<UInt8>) -> [UInt8] {
        let id = UInt16(kind >> 4 & 3)
        var data = ByteBuffer()
        switch kind & 15 {
        case 0: return Self.payload([(.drop, 0, [])])
        case 1:
            Begin(target: .host("5.6.7.8", port: 80)).write(to: &data)
            return Self.payload([(.begin, id, Array(buffer: data)), (.data, id, [1, 2, 3])])
        case 2:
            Begin(target: .directory).write(to: &data)
            return Self.payload([(.begin, id, Array(buffer: data))])
        case 3:
            Resolve.addresses(of: "name.example").write(to: &data)
            return Self.payload([(.resolve, id, Array(buffer: data))])
        case 4: return Self.payload([(.end, id, [1]), (.xOff, id, [])])
        case 5: return Self.payload([(.sendMe, 0, [UInt8](repeating: kind, count: 16))])
        default:
            let count = Int(kind >> 2)
            defer { script = script.dropFirst(count) }
            let bytes = Array(script.prefix(count))
            return bytes + [UInt8](repeating: 0, count: Cell.payloadByteCount - bytes.count)
        }
    }

    private static func payload(_ messages: [(RelayCommand, UInt16, [UInt8])]) -> [UInt8] {
        var payload = [UInt8](repeating: 0, count: Cell.payloadByteCount)
        do {
            var span = payload.mutableSpan
            var bytes = span.mutableBytes
            var writer = RelayMessageWriter(leavesUnguessableTail: false)
            for (command, id, data) in messages {
                writer.append(command, streamID: StreamID(rawValue: id), data: data.span.bytes, into: &bytes)
            }
            _ = writer.finish(&bytes)
        }
        return payload
    }

    /// A cell outside of what the peer's own account of its circuits knows: they count as altered, or as left.
    private static func sayAny(_ command: CellCommand, _ id: CircuitID?, _ body: [UInt8], _ peer: RouterPeer) {
        guard let id else { return }
        switch command {
        case .create: return peer.create(body, on: id)
        case .destroy: return peer.destroy(id, reason: body.first ?? 0)
        case .relay, .relayEarly:
            peer.origins[id]?.isTainted = true
            peer.nexts[id]?.isTainted = true
        case .created: peer.forgeAnswer()
        case .padding, .netInfo, .ping, .pong: break
        }
        peer.send(command, on: id, body: body)
    }

    static var seeds: [[UInt8]] {
        // Peer 0 is a proxy, peer 1 an OR that has dialled.
        let create: [UInt8] = [0, 0, 0]
        let extend: [UInt8] = [3, 0, 0]
        let answer: [UInt8] = [0x16, 0, 0]
        let twoHops = create + extend + answer
        let talk: [UInt8] = [5, 0x10, 0, 5, 0x10, 1, 0x18, 0, 0, 0x18, 0, 1]
        return [
            twoHops + talk + [9, 0, 6], twoHops + talk + [0x19, 0x10, 3], twoHops + [0x1e, 0, 0] + talk,
            twoHops + [5, 0xd0, 9] + talk, twoHops + [0x18, 0xc0, 9] + talk,
            create + [5, 0, 2, 5, 0, 1, 5, 0, 3, 5, 0, 4],
            create + [3, 0, 1, 12, 100, 0, 12, 100, 0],
            twoHops + [11, 1, 0] + talk + talk + [11, 0, 0, 15, 1, 0, 15, 0, 0],
            [0x10, 0, 0, 0x15, 0, 1, 0x15, 0, 3, 0x13, 0, 1, 13, 2, 0], create + [3, 0, 0x30], create + [3, 0, 0x40],
            twoHops + [0x0a, 0, 2, 0x1a, 0x10, 0x43, 1, 2, 3, 4],
        ]
    }
}
