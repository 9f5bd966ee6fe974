import NIOCore
import OnionAddress
import OnionCrypto
import TestSupport
import Testing

@testable import OnionCells

@Suite("Relay messages' data")
struct RelayMessagesTests {
    static let identity = Ed25519PrivateKey().publicKey

    private static func bytes(_ write: (inout ByteBuffer) -> Void) -> [UInt8] {
        var buffer = ByteBuffer()
        write(&buffer)
        return Array(buffer: buffer)
    }

    static let begins: [Begin] = [
        Begin(target: .directory), Begin(target: .host("a", port: 1)),
        Begin(target: .host("bücher.example", port: 65_535)),
        Begin(target: .host(String(repeating: "x", count: 255), port: 443)), Begin(target: .host("[::1]", port: 80)),
    ]

    @Test("Begin reads back", arguments: begins) func begin(begin: Begin) throws {
        let bytes = Self.bytes { begin.write(to: &$0) }
        #expect(try Begin(data: ByteBuffer(bytes: bytes)) == begin)
        #expect(bytes.count <= RelayMessageHeader.maximumDataByteCount)
    }

    @Test("Connected reads back", arguments: [IPAddress.v4(5), .v6(hi: 1, lo: 2)])
    func connected(address: IPAddress) throws {
        let connected = Connected(address: address, ttlSeconds: .max)
        #expect(try Connected(data: ByteBuffer(bytes: Self.bytes { connected.write(to: &$0) })) == connected)
    }

    @Test("Extend reads back")
    func extend() throws {
        for count in [1, 1284, Cell.bodyByteCount] {
            let extend = Extend(identity: Self.identity, create: [UInt8](repeating: 9, count: count))
            #expect(try Extend(data: ByteBuffer(bytes: Self.bytes { extend.write(to: &$0) })) == extend)
        }
    }

    @Test(
        "Resolve reads back",
        arguments: [Resolve.addresses(of: "example.org"), .name(of: .v4(1)), .name(of: .v6(hi: 0, lo: 1))])
    func resolve(query: Resolve) throws {
        #expect(try Resolve(data: ByteBuffer(bytes: Self.bytes { query.write(to: &$0) })) == query)
    }

    static let answers: [Resolved] = [
        .answers([.init(.address(.v4(7)), ttlSeconds: 0)]),
        .answers([.init(.name("a.example"), ttlSeconds: 60), .init(.address(.v6(hi: 3, lo: 4)), ttlSeconds: .max)]),
        .answers((0..<16).map { .init(.address(.v4($0)), ttlSeconds: 1) }),
        .failed(.noSuchName), .failed(.exitPolicy),
    ]

    @Test("Resolved reads back", arguments: answers) func resolved(resolved: Resolved) throws {
        #expect(try Resolved(data: ByteBuffer(bytes: Self.bytes { resolved.write(to: &$0) })) == resolved)
    }

    @Test("Resolved keeps the first answers that fit any cell")
    func resolvedTooMuch() throws {
        let many = Resolved.answers((0..<40).map { .init(.address(.v4($0)), ttlSeconds: 1) })
        guard case .answers(let kept) = try Resolved(data: ByteBuffer(bytes: Self.bytes { many.write(to: &$0) })) else {
            Issue.record("no answers")
            return
        }
        #expect(kept.map(\.value) == (0..<16).map { .address(.v4($0)) })
        let long = Resolved.answers(
            (0..<16).map { _ in .init(.name(String(repeating: "n", count: 255)), ttlSeconds: 1) })
        let bytes = Self.bytes { long.write(to: &$0) }
        #expect(bytes.count <= RelayMessageHeader.maximumDataByteCount - RelayMessageWriter.unguessableTailByteCount)
        #expect(throws: Never.self) { try Resolved(data: ByteBuffer(bytes: bytes)) }
    }

    @Test("Resolved cuts names to 255 bytes, and takes answers up to the last byte that fits any cell")
    func resolvedLimit() throws {
        let limit = RelayMessageHeader.maximumDataByteCount - RelayMessageWriter.unguessableTailByteCount
        // Names cut to 255 bytes, then one that leaves no room, or one byte too little.
        let fullCount = (limit - 2) / 261
        let last = limit - 2 - fullCount * 261 - 6
        try #require((1..<255).contains(last))
        for (count, kept) in [(last, fullCount + 1), (last + 1, fullCount)] {
            let lengths = Array(repeating: 300, count: fullCount) + [count]
            let names = lengths.map { String(repeating: "n", count: $0) }
            let bytes = Self.bytes { Resolved.answers(names.map { .init(.name($0), ttlSeconds: 1) }).write(to: &$0) }
            let expected = names.prefix(kept).map { Resolved.Answer(.name(String($0.prefix(255))), ttlSeconds: 1) }
            #expect(try Resolved(data: ByteBuffer(bytes: bytes)) == .answers(expected))
            if kept > fullCount { #expect(bytes.count == limit) }
        }
        let short = Resolved.answers((0..<16).map { .init(.name("n\($0)"), ttlSeconds: 1) })
        #expect(try Resolved(data: ByteBuffer(bytes: Self.bytes { short.write(to: &$0) })) == short)
    }

    @Test("Resolved without answers is a failure, and one without a reason too")
    func resolvedNothing() throws {
        #expect(
            try Resolved(data: ByteBuffer(bytes: Self.bytes { Resolved.answers([]).write(to: &$0) }))
                == .failed(.noSuchName))
        #expect(
            try Resolved(data: ByteBuffer(bytes: Self.bytes { Resolved.failed(.unspecified).write(to: &$0) }))
                == .failed(.resolveFailed))
    }
}

@Suite("Relay messages' data that is refused")
struct RelayMessagesRejectionTests {
    private func refuse<T>(_ bytes: [UInt8], _ error: CellError, _ decode: (ByteBuffer) throws(CellError) -> T) {
        #expect(throws: error) { _ = try decode(ByteBuffer(bytes: bytes)) }
    }

    @Test("Begin: flags, ports, hosts")
    func begin() {
        let decode: (ByteBuffer) throws(CellError) -> Begin = { (data) throws(CellError) in try Begin(data: data) }
        self.refuse([], .truncated(need: 1, have: 0), decode)
        self.refuse([0, 0], .truncated(need: 2, have: 1), decode)
        self.refuse([2, 0, 80, 97], .invalidField(.flags), decode)
        self.refuse([3, 0, 0], .invalidField(.flags), decode)
        self.refuse([0, 0, 0, 97], .invalidField(.port), decode)
        self.refuse([1, 0, 1], .invalidField(.port), decode)
        self.refuse([1, 0, 0, 97], .trailingBytes(1), decode)
        self.refuse([0, 0, 80], .invalidField(.host), decode)
        self.refuse([0, 0, 80, 97, 0, 98], .invalidField(.host), decode)
        self.refuse([0, 0, 80, 0xff, 0xfe], .invalidField(.host), decode)
        self.refuse([0, 0, 80] + [UInt8](repeating: 97, count: 256), .invalidField(.host), decode)
    }

    @Test("Connected: every length but the right one")
    func connected() {
        for count in 0..<40 where count != 9 {
            var bytes = [UInt8](repeating: 0, count: count)
            if count > 0 { bytes[0] = 4 }
            #expect(throws: CellError.self) { try Connected(data: ByteBuffer(bytes: bytes)) }
        }
        #expect(throws: CellError.invalidField(.address)) {
            try Connected(data: ByteBuffer(bytes: [5, 0, 0, 0, 0, 0, 0, 0, 0]))
        }
    }

    @Test("Extend: no Create, and one longer than a cell")
    func extend() {
        for count in 0...32 {
            #expect(throws: CellError.self) { try Extend(data: ByteBuffer(repeating: 1, count: count)) }
        }
        let identity = Ed25519PrivateKey().publicKey.rawBytes
        #expect(throws: CellError.invalidField(.handshake)) { try Extend(data: ByteBuffer(bytes: identity)) }
        let long = identity + [UInt8](repeating: 0, count: Cell.bodyByteCount + 1)
        #expect(throws: CellError.invalidField(.handshake)) { try Extend(data: ByteBuffer(bytes: long)) }
    }

    @Test("Resolve: types, names, addresses")
    func resolve() {
        let decode: (ByteBuffer) throws(CellError) -> Resolve = { (data) throws(CellError) in try Resolve(data: data) }
        self.refuse([], .truncated(need: 1, have: 0), decode)
        self.refuse([0, 97], .invalidField(.resolveType), decode)
        self.refuse([3, 97], .invalidField(.resolveType), decode)
        self.refuse([1], .invalidField(.host), decode)
        self.refuse([1] + [UInt8](repeating: 97, count: 256), .invalidField(.host), decode)
        self.refuse([2], .invalidField(.address), decode)
        self.refuse([2, 4, 1, 2, 3], .invalidField(.address), decode)
        self.refuse([2, 4, 1, 2, 3, 4, 5], .trailingBytes(1), decode)
    }

    @Test("Resolved: counts, names, what follows")
    func resolved() {
        let decode: (ByteBuffer) throws(CellError) -> Resolved = { (data) throws(CellError) in try Resolved(data: data)
        }
        self.refuse([], .truncated(need: 1, have: 0), decode)
        self.refuse([3, 0], .trailingBytes(1), decode)
        self.refuse([0], .truncated(need: 1, have: 0), decode)
        self.refuse([0, 0], .invalidField(.answerCount), decode)
        self.refuse([0, 17], .invalidField(.answerCount), decode)
        self.refuse([0, 1], .invalidField(.address), decode)
        self.refuse([0, 1, 1], .truncated(need: 1, have: 0), decode)
        self.refuse([0, 1, 1, 0, 0, 0, 0, 0], .invalidField(.host), decode)
        self.refuse([0, 1, 1, 1, 0, 0, 0, 0, 0], .invalidField(.host), decode)
        self.refuse([0, 1, 1, 2, 97], .truncated(need: 2, have: 1), decode)
        self.refuse([0, 1, 4, 1, 2, 3, 4, 0, 0, 0], .truncated(need: 4, have: 3), decode)
        self.refuse([0, 1, 4, 1, 2, 3, 4, 0, 0, 0, 0, 0], .trailingBytes(1), decode)
    }

    @Test("whatever is cut anywhere is refused", arguments: RelayMessagesTests.answers)
    func truncated(resolved: Resolved) {
        var data = ByteBuffer()
        resolved.write(to: &data)
        for count in 0..<data.readableBytes {
            #expect(throws: CellError.self) { try Resolved(data: data.getSlice(at: 0, length: count) ?? ByteBuffer()) }
        }
    }

    @Test("random bytes never trap, and what they decode to reads back", arguments: 0..<40)
    func random(seed: UInt64) throws {
        var random = SplitMix64(seed)
        for _ in 0..<500 {
            var bytes = (0..<Int.random(in: 0...60, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            if !bytes.isEmpty { bytes[0] = UInt8.random(in: 0...6, using: &random) }
            let data = ByteBuffer(bytes: bytes)
            if let begin = try? Begin(data: data) {
                self.again(begin, "\(seed)", { begin.write(to: &$0) }) { try Begin(data: $0) }
            }
            if let found = try? Connected(data: data) {
                self.again(found, "\(seed)", { found.write(to: &$0) }) { try Connected(data: $0) }
            }
            if let found = try? Resolve(data: data) {
                self.again(found, "\(seed)", { found.write(to: &$0) }) { try Resolve(data: $0) }
            }
            if let found = try? Resolved(data: data) {
                self.again(found, "\(seed)", { found.write(to: &$0) }) { try Resolved(data: $0) }
            }
            if let found = try? Extend(data: data) {
                self.again(found, "\(seed)", { found.write(to: &$0) }) { try Extend(data: $0) }
            }
            _ = try? NetInfo(body: data)
        }
    }

    private func again<T: Equatable>(
        _ value: T, _ seed: String, _ write: (inout ByteBuffer) -> Void, _ read: (ByteBuffer) throws -> T
    ) {
        var data = ByteBuffer()
        write(&data)
        #expect((try? read(data)) == value, "seed \(seed)")
    }
}
