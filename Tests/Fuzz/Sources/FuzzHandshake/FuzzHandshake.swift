import OnionCrypto

/// Create and Created. The first byte says what the rest is: bytes as they are, or changes to a true Create or Created:
/// a length to cut it to or to make it, and offsets with the byte that is to stand there. One changed document in 16 is
/// answered, or checked: that takes a thousand times as long as all else.
enum FuzzHandshake {
    /// Returns whether the bytes are of the form of a Create or Created.
    static func feed(_ bytes: [UInt8]) -> Bool {
        guard let mode = bytes.first else { return false }
        let rest = bytes.dropFirst()
        let isComputed = bytes.reduce(0) { $0 &+ Int($1) } % 16 == 0
        switch mode % 4 {
        case 0: return Self.feedCreate(Array(rest), isComputed: isComputed)
        case 1: return Self.feedCreated(Array(rest), isComputed: isComputed)
        case 2: return Self.feedCreate(Self.changed(Self.fixture.client.create, by: rest), isComputed: isComputed)
        default: return Self.feedCreated(Self.changed(Self.fixture.created, by: rest), isComputed: isComputed)
        }
    }

    private static func feedCreate(_ create: [UInt8], isComputed: Bool) -> Bool {
        guard let byteCount = try? CircuitHandshake.createByteCount(prefixOf: create) else { return false }
        precondition(byteCount <= create.count, "a Create is longer than its cell")
        guard isComputed else { return true }
        // A client that sent another Create must not take the answer for its own.
        if let (created, _) = try? Self.fixture.server.respond(to: create) {
            let isBelieved = (try? Self.fixture.client.complete(created: created)) != nil
            precondition(
                isBelieved == (create == Self.fixture.client.create), "another Create's answer is believed")
        } else {
            precondition(create != Self.fixture.client.create, "a true Create is refused")
        }
        return true
    }

    private static func feedCreated(_ created: [UInt8], isComputed: Bool) -> Bool {
        guard let byteCount = try? CircuitHandshake.createdByteCount(prefixOf: created) else { return false }
        precondition(byteCount <= created.count, "a Created is longer than its cell")
        guard isComputed else { return true }
        let isBelieved = (try? Self.fixture.client.complete(created: created)) != nil
        precondition(isBelieved == (created == Self.fixture.created), "a forged Created is believed, or a true one not")
        return true
    }

    /// `document` cut or filled up to a length (u16), with bytes replaced, each: offset u16, byte.
    private static func changed(_ document: [UInt8], by changes: ArraySlice<UInt8>) -> [UInt8] {
        var changes = changes
        func takeInteger() -> Int? {
            guard changes.count >= 2 else { return nil }
            return changes.prefix(2).reduce(0) { $0 << 8 | Int($1) }
        }
        var document = document
        guard let byteCount = takeInteger() else { return document }
        changes.removeFirst(2)
        if byteCount < document.count {
            document.removeLast(document.count - byteCount)
        } else {
            document += [UInt8](repeating: 0, count: min(byteCount, 4096) - min(document.count, 4096))
        }
        while !document.isEmpty, changes.count >= 3, let offset = takeInteger() {
            document[offset % document.count] = changes[changes.startIndex + 2]
            changes.removeFirst(3)
        }
        return document
    }

    /// One OR, and one client that waits for its answer.
    private static let fixture: (server: CircuitHandshake.Server, client: CircuitHandshake.Client, created: [UInt8]) = {
        guard let identity = Ed25519PrivateKey(seed: [UInt8](repeating: 1, count: 32)),
            let onion = X25519PrivateKey(seed: [UInt8](repeating: 2, count: 32))
        else { fatalError("no keys") }
        let server = CircuitHandshake.Server(identity: identity.publicKey, onionKeys: [onion])
        let client = CircuitHandshake.Client(identity: identity.publicKey, onionKey: onion.publicKey)
        guard let (created, _) = try? server.respond(to: client.create) else { fatalError("no answer") }
        return (server, client, created)
    }()

    static var seeds: [[UInt8]] {
        let create = UInt16(CircuitHandshake.createByteCount)
        let created = UInt16(CircuitHandshake.createdByteCount)
        func bytes(_ number: UInt16) -> [UInt8] { [UInt8(number >> 8), UInt8(number & 0xff)] }
        /// Extensions of one value of four bytes, and of none.
        func extensions(_ mode: UInt8, at offset: UInt16, in byteCount: UInt16) -> [UInt8] {
            let changes: [(UInt16, UInt8)] = [
                (1, 12), (3, 9), (4, 0), (5, 4), (11, 8), (12, 0), (13, 0),
            ]
            return [mode] + bytes(byteCount + 12) + changes.flatMap { bytes(offset + $0) + [$1] }
        }
        return [
            [0] + Self.fixture.client.create, [1] + Self.fixture.created, [2] + bytes(create), [3] + bytes(created),
            [2] + bytes(create) + bytes(1281) + [7], [3] + bytes(created) + bytes(40) + [7],
            extensions(2, at: create - 2, in: create), extensions(3, at: created - 34, in: created),
        ]
    }
}
