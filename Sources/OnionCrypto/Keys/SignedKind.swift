/// What a signature is about. Each kind has its own prefix, so that no signature can pass for one of another kind.
///
/// What is signed is `"thor <kind> v1" | 0x00 | bytes`.
///
/// - Source: DESIGN §4.
public enum SignedKind: String, Sendable, CaseIterable {
    /// A router's descriptor, by its identity key.
    case descriptor
    /// The list of routers, by the directory key.
    case consensus
    /// A path ticket, by the directory key.
    case ticket
    /// The directory server's TLS key, by the directory key.
    case link
    /// A sign of life, by a router's identity key.
    case heartbeat

    /// The bytes that come before those of the document.
    var prefix: [UInt8] { Array("thor \(self.rawValue) v1\0".utf8) }
}
