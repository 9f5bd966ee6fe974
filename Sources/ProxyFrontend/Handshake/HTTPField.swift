/// Lines of a request's head.
///
/// - Source: RFC 9110 §5.5, §5.6.3
enum HTTPField {
    /// Split a field line into its name, in small letters, and its value, without blanks around it; nil if it is no field.
    static func parts(_ line: [UInt8]) -> (name: String, value: ArraySlice<UInt8>)? {
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { return nil }
        return (String(decoding: line[..<colon], as: UTF8.self).lowercased(), Self.trimmed(line[(colon + 1)...]))
    }

    static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        let isBlank = { (byte: UInt8) in byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
        var bytes = bytes.drop(while: isBlank)
        while let last = bytes.last, isBlank(last) { bytes.removeLast() }
        return bytes
    }
}
