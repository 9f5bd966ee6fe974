import Foundation
@_spi(Testing) import OnionCrypto
import TestSupport
import Testing

/// A client and its routers, in both directions.
@Suite("Layer cipher of a circuit")
struct HopCipherTests {
    /// One direction of a circuit: the same keys at the client and at the routers.
    private struct Circuit {
        let client: [HopCipher]
        let routers: [HopCipher]

        init(_ implementation: CipherImplementation, hopCount: Int = 3, _ generator: inout SplitMix64) throws {
            let keys = (0..<hopCount).map { _ in generator.bytes(HopCipher.keyByteCount) }
            self.client = try keys.map { try #require(HopCipher(keyBytes: $0, implementation: implementation)) }
            // The routers run another implementation than the client where there is one.
            self.routers = try keys.map { try #require(HopCipher(keyBytes: $0)) }
        }
    }

    @Test("a client's cells reach the hop that they are for", arguments: CipherImplementation.available, [509, 2043])
    func forward(implementation: CipherImplementation, byteCount: Int) throws {
        var generator = SplitMix64(1)
        let circuit = try Circuit(implementation, &generator)
        for _ in 0..<50 {
            let target = Int.random(in: 0..<3, using: &generator)
            let plain = generator.bytes(byteCount)
            var body = plain
            let sent = body.asBody { ClientCipher.originate(circuit.client, target: target, command: 3, body: &$0) }
            for (index, router) in circuit.routers[...target].enumerated() {
                #expect(Array(body[16...]) != Array(plain[16...]))
                let tag = body.asBody { router.forward(command: 3, body: &$0) }
                #expect(tag == (index == target ? sent : nil))
            }
            #expect(Array(body[16...]) == Array(plain[16...]))
        }
    }

    @Test("a router's cells reach the client, which knows whose they are", arguments: CipherImplementation.available)
    func backward(implementation: CipherImplementation) throws {
        var generator = SplitMix64(2)
        let circuit = try Circuit(implementation, &generator)
        for _ in 0..<50 {
            let origin = Int.random(in: 0..<3, using: &generator)
            let plain = generator.bytes(2043)
            var body = plain
            let sent = body.asBody { circuit.routers[origin].originate(command: 3, body: &$0) }
            for router in circuit.routers[..<origin].reversed() {
                body.asBody { router.backward(command: 3, body: &$0) }
            }
            let received = body.asBody { ClientCipher.backward(circuit.client, command: 3, body: &$0) }
            #expect(received?.hop == origin)
            #expect(received?.tag == sent)
            #expect(Array(body[16...]) == Array(plain[16...]))
        }
    }

    @Test(
        "any flipped bit, or another command, turns the whole cell to noise", arguments: 1...40 as ClosedRange<UInt64>)
    func tampering(seed: UInt64) throws {
        var generator = SplitMix64(seed)
        let implementation = try #require(CipherImplementation.available.randomElement(using: &generator))
        let circuit = try Circuit(implementation, &generator)
        let plain = generator.bytes(2043)
        var body = plain
        _ = body.asBody { ClientCipher.originate(circuit.client, target: 2, command: 3, body: &$0) }

        // Before, between, or after the first two routers; the first bits and the last are tried too.
        let place = Int.random(in: 0..<3, using: &generator)
        let bit =
            switch seed {
            case 1: 0
            case 2: 16 * 8
            case 3: 2043 * 8 - 1
            default: Int.random(in: 0..<2043 * 8, using: &generator)
            }
        let commandIsChanged = seed.isMultiple(of: 10)
        for (index, router) in circuit.routers.enumerated() {
            if index == place, !commandIsChanged { body[bit / 8] ^= 1 << (bit % 8) }
            let command: UInt8 = index == place && commandIsChanged ? 4 : 3
            let tag = body.asBody { router.forward(command: command, body: &$0) }
            #expect(tag == nil, "seed \(seed), bit \(bit)")
        }
        // Of 2027 random bytes about 8 equal those of the plaintext; in no 200 in a row more than 10 do.
        for start in stride(from: 16, to: 2043 - 200, by: 100) {
            let equal = zip(body[start..<start + 200], plain[start..<start + 200]).count { $0 == $1 }
            #expect(equal <= 10, "seed \(seed), bit \(bit), at \(start)")
        }

        // Nor does the circuit recover: the state that made the noise is part of every later cell.
        var next = plain
        _ = next.asBody { ClientCipher.originate(circuit.client, target: 2, command: 3, body: &$0) }
        for router in circuit.routers { #expect(next.asBody { router.forward(command: 3, body: &$0) } == nil) }
    }

    @Test("a tampered cell comes from no hop, as the client sees it")
    func tamperingBackward() throws {
        var generator = SplitMix64(3)
        let circuit = try Circuit(.best, &generator)
        var body = generator.bytes(2043)
        _ = body.asBody { circuit.routers[2].originate(command: 3, body: &$0) }
        body[2042] ^= 0x80
        for router in circuit.routers[..<2].reversed() { body.asBody { router.backward(command: 3, body: &$0) } }
        #expect(body.asBody { ClientCipher.backward(circuit.client, command: 3, body: &$0) } == nil)
    }

    /// A circuit of which all that ever changes is the last tags: no cell is recognised. Setting those to zero makes it new.
    private static func renew(_ hops: [HopCipher]) {
        for hop in hops { hop.setLastTag(CellTag(high: 0, low: 0)) }
    }

    @Test(
        "each single bit of a cell on its way back that is flipped leaves nothing that the client recognises",
        arguments: 0..<3)
    func everyBitBackward(flippedBehind hop: Int) throws {
        var generator = SplitMix64(5)
        let circuit = try Circuit(.best, &generator)
        var sent = generator.bytes(2043)
        _ = sent.asBody { circuit.routers[2].originate(command: 3, body: &$0) }
        for router in circuit.routers[hop..<2].reversed() { sent.asBody { router.backward(command: 3, body: &$0) } }

        func originator(_ body: [UInt8], command: UInt8) -> Int? {
            Self.renew(circuit.client + circuit.routers[..<hop])
            var body = body
            for router in circuit.routers[..<hop].reversed() {
                body.asBody { router.backward(command: command, body: &$0) }
            }
            return body.asBody { ClientCipher.backward(circuit.client, command: command, body: &$0) }?.hop
        }
        var recognised: [Int] = []
        for bit in 0..<8 * sent.count {
            var body = sent
            body[bit / 8] ^= 1 << (bit % 8)
            if originator(body, command: 3) != nil { recognised.append(bit) }
        }
        #expect(recognised == [])
        for bit in 0..<8 { #expect(originator(sent, command: 3 ^ 1 << bit) == nil, "bit \(bit) of the command") }
        // Untouched, and last, since it renews the keys: all that was tried before was tried on the true state.
        #expect(originator(sent, command: 3) == 2)
    }

    @Test("a cell that is replayed, dropped or reordered is not recognised")
    func replay() throws {
        var generator = SplitMix64(4)
        let circuit = try Circuit(.best, hopCount: 1, &generator)
        var cells = (0..<3).map { _ in generator.bytes(2043) }
        for index in cells.indices {
            _ = cells[index].asBody { ClientCipher.originate(circuit.client, target: 0, command: 3, body: &$0) }
        }
        var first = cells[0], again = cells[0], third = cells[2]
        #expect(first.asBody { circuit.routers[0].forward(command: 3, body: &$0) } != nil)
        #expect(again.asBody { circuit.routers[0].forward(command: 3, body: &$0) } == nil)
        #expect(third.asBody { circuit.routers[0].forward(command: 3, body: &$0) } == nil)
    }

    /// In a function of its own: a mirror keeps what it shows alive.
    private static func stateAddress(_ cipher: HopCipher) throws -> UInt {
        UInt(bitPattern: try #require(Mirror(reflecting: cipher).descendant("state") as? OpaquePointer))
    }

    @Test("what is dropped leaves no key behind", arguments: CipherImplementation.available)
    func wiped(_ implementation: CipherImplementation) throws {
        var generator = SplitMix64(7)
        let keys = generator.bytes(HopCipher.keyByteCount)
        // N, which every implementation keeps as it is, far from the ends that the allocator writes over.
        let nonce = Data(keys[64...])
        var cipher = HopCipher(keyBytes: keys, implementation: implementation)
        let address = try Self.stateAddress(#require(cipher))
        let byteCount = 704
        #expect(try ProcessMemory.read(address, byteCount).range(of: nonce) != nil)
        cipher = nil
        #expect(try ProcessMemory.read(address, byteCount).range(of: nonce) == nil)
    }

    @Test("keys of another length are refused")
    func keyLengths() {
        #expect(HopCipher(keyBytes: [UInt8](repeating: 1, count: 79)) == nil)
        #expect(HopCipher(keyBytes: [UInt8](repeating: 1, count: 81)) == nil)
        #expect(HopCipher(keyBytes: []) == nil)
    }

    @Test("a tag keeps its bytes, and takes no other number of them")
    func tags() throws {
        let bytes = Array(UInt8(1)...16)
        let tag = try #require(CellTag(bytes))
        #expect(tag.bytes == bytes)
        #expect(tag.high == 0x0102_0304_0506_0708 && tag.low == 0x090a_0b0c_0d0e_0f10)
        #expect(CellTag(bytes.dropLast()) == nil && CellTag(bytes + [0]) == nil)
        for index in bytes.indices {
            var other = bytes
            other[index] ^= 1
            #expect(CellTag(other) != tag)
        }
    }
}
