@_spi(Testing) @testable import OnionCrypto

/// The layer cipher's fast implementations against the portable one: the same bytes, recognitions and states, and nothing
/// written outside the body. The input is keys, a body, and what is done with it.
///
///     offset  size  field
///     0       1     which of the machine's implementations
///     1       2     length of the body; below 2^15 it is a short one
///     3       1     command
///     4       80    keys
///     84      …     pairs: what to do, and a byte that is first written somewhere into the body
enum FuzzCipher {
    static let headerByteCount = 84
    /// The portable implementation takes its time.
    private static let operationLimit = 8

    /// Returns whether there is something to compare, and the bytes do something.
    static func feed(_ bytes: [UInt8]) -> Bool {
        let others = CipherImplementation.available.dropFirst()
        guard bytes.count > Self.headerByteCount, let portable = CipherImplementation.available.first else {
            return false
        }
        // A machine with the portable one alone compares it with itself.
        let other = others.isEmpty ? portable : others[1 + Int(bytes[0]) % others.count]
        let keys = Array(bytes[4..<Self.headerByteCount])
        guard let expected = HopCipher(keyBytes: keys, implementation: portable),
            let tested = HopCipher(keyBytes: keys, implementation: other)
        else { preconditionFailure("80 bytes are no keys") }
        let script = bytes.dropFirst(Self.headerByteCount)
        let size = Int(bytes[1]) << 8 | Int(bytes[2])
        let least = HopCipher.bodyByteCounts.lowerBound
        let byteCount = least + (size < 0x8000 ? size % 96 : size % (HopCipher.bodyByteCounts.count))
        // Unaligned, as bodies in cells are, and with something around.
        let start = 16 + Int(bytes[0] >> 4)
        var one = Self.frame(start, byteCount, script)
        var two = one
        var operations = script
        for _ in 0..<Self.operationLimit {
            guard let operation = operations.popFirst(), let byte = operations.popFirst() else { break }
            let place = start + Int(operation >> 3) * 67 % byteCount
            one[place] = byte
            two[place] = byte
            let range = start..<start + byteCount
            let oneTag = Self.perform(operation, expected, bytes[3], &one, range)
            let twoTag = Self.perform(operation, tested, bytes[3], &two, range)
            precondition(oneTag == twoTag, "a cell is recognised in another way")
            precondition(one == two, "a body is another")
            precondition(expected.stateBytes == tested.stateBytes, "a state is another")
        }
        let around = Self.frame(start, byteCount, script)
        precondition(one[..<start] == around[..<start], "written before the body")
        precondition(one[(start + byteCount)...] == around[(start + byteCount)...], "written behind the body")
        return script.count >= 2
    }

    private static func frame(_ start: Int, _ byteCount: Int, _ script: ArraySlice<UInt8>) -> [UInt8] {
        let pattern = Array(script)
        let body = (0..<byteCount).map { pattern.isEmpty ? 0 : pattern[$0 % pattern.count] }
        return [UInt8](repeating: 0x5a, count: start) + body + [UInt8](repeating: 0x5a, count: 64)
    }

    private static func perform(
        _ operation: UInt8, _ cipher: HopCipher, _ command: UInt8, _ bytes: inout [UInt8], _ range: Range<Int>
    ) -> CellTag? {
        var span = bytes.mutableSpan
        var raw = span.mutableBytes
        var body = raw._mutatingExtracting(range)
        switch operation % 8 {
        case 0: return cipher.forward(command: command, body: &body)
        case 1: cipher.backward(command: command, body: &body)
        case 2: return cipher.originate(command: command, body: &body)
        case 3: return cipher.originateAtClient(command: command, body: &body)
        case 4: cipher.forwardAtClient(command: command, body: &body)
        case 5: return cipher.backwardAtClient(command: command, body: &body)
        case 6: cipher.encryptBody(command: command, body: &body)
        default: cipher.decryptBody(command: command, body: &body)
        }
        return nil
    }

    static var seeds: [[UInt8]] {
        let keys = (0..<80).map { UInt8(truncatingIfNeeded: $0 * 7 + 1) }
        let operations: [UInt8] = [0, 1, 9, 2, 18, 3, 27, 4, 36, 5, 45, 6, 54, 7, 63, 8]
        let sizes: [(UInt8, UInt8)] = [(0, 0), (0, 80), (0x87, 0xea), (0xff, 0xff), (0x80, 17)]
        return sizes.enumerated().map { index, size in
            [UInt8(index), size.0, size.1, 3] + keys + operations
        }
    }
}
