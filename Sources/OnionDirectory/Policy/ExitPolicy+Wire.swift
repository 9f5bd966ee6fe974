import NIOCore
import OnionAddress

extension ExitPolicy {
    func write(to buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt8(truncatingIfNeeded: self.rules.count))
        for rule in self.rules {
            buffer.writeInteger(rule.action.rawValue)
            if let prefix = rule.prefix {
                buffer.writeMultipleIntegers(
                    prefix.address.isIPv4 ? UInt8(4) : UInt8(6), UInt8(truncatingIfNeeded: prefix.bitCount))
                buffer.writeBytes(prefix.address.bytes.prefix((prefix.bitCount + 7) / 8))
            } else {
                buffer.writeInteger(UInt8(0))
            }
            buffer.writeMultipleIntegers(rule.ports.lowerBound, rule.ports.upperBound)
        }
    }

    /// Read a policy, by the table above ``ExitPolicy``.
    init(from buffer: inout ByteBuffer) throws(DirectoryError) {
        var rules: [ExitRule] = []
        for _ in 0..<(try buffer.readCount(.exitPolicy, limit: DirectoryLimits.exitRuleCount)) {
            rules.append(try Self.readRule(from: &buffer))
        }
        guard let policy = ExitPolicy(rules: rules) else { throw .invalidField(.exitPolicy) }
        self = policy
    }

    private static func readRule(from buffer: inout ByteBuffer) throws(DirectoryError) -> ExitRule {
        guard let action = ExitRule.Action(rawValue: try buffer.readField()) else { throw .invalidField(.exitPolicy) }
        let prefix: IPPrefix?
        switch try buffer.readField(UInt8.self) {
        case 0: prefix = nil
        case 4: prefix = try Self.readPrefix(from: &buffer, addressByteCount: 4)
        case 6: prefix = try Self.readPrefix(from: &buffer, addressByteCount: 16)
        default: throw .invalidField(.exitPolicy)
        }
        let low = try buffer.readField(UInt16.self)
        let high = try buffer.readField(UInt16.self)
        guard low <= high, let rule = ExitRule(action, prefix, ports: low...high) else { throw .invalidField(.port) }
        return rule
    }

    private static func readPrefix(
        from buffer: inout ByteBuffer, addressByteCount: Int
    ) throws(DirectoryError) -> IPPrefix {
        let bitCount = Int(try buffer.readField(UInt8.self))
        guard bitCount <= addressByteCount * 8 else { throw .invalidField(.exitPolicy) }
        let first = try buffer.readField(byteCount: (bitCount + 7) / 8)
        let bytes = first + repeatElement(0, count: addressByteCount - first.count)
        guard let address = IPAddress(bytes: bytes), let prefix = IPPrefix(address, bitCount: bitCount) else {
            throw .invalidField(.exitPolicy)
        }
        guard prefix.address == address else { throw .notCanonical(.exitPolicy) }
        return prefix
    }
}
