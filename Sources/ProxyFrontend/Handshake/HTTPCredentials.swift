internal import Foundation

/// The credentials in a Proxy-Authorization field.
///
/// - Source: RFC 9110 §11.7; RFC 7617
enum HTTPCredentials {
    private static let fieldName = "proxy-authorization"

    /// Return what a line of a request's head says, or nil if it is another field.
    ///
    /// `Basic` is decoded into name and password. Any other scheme, or a value that does not decode, counts as a user
    /// name, whole: it still tells applications apart.
    static func credentials(fieldLine line: [UInt8]) -> ProxyCredentials? {
        guard let (name, value) = HTTPField.parts(line), name == Self.fieldName else { return nil }
        let words = value.split(separator: UInt8(ascii: " "), maxSplits: 1, omittingEmptySubsequences: true)
        guard words.count == 2, String(decoding: words[0], as: UTF8.self).lowercased() == "basic",
            let decoded = Data(base64Encoded: Data(HTTPField.trimmed(words[1])))
        else { return ProxyCredentials(username: Array(value), password: nil) }
        guard let separator = decoded.firstIndex(of: UInt8(ascii: ":")) else {
            return ProxyCredentials(username: Array(decoded), password: nil)
        }
        return ProxyCredentials(
            username: Array(decoded[..<separator]), password: Array(decoded[decoded.index(after: separator)...]))
    }
}
