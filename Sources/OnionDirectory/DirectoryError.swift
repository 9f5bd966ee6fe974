public import OnionCrypto

/// Why a directory document, frame or consensus is refused.
public enum DirectoryError: Error, Equatable, Sendable {
    /// The bytes end before the field that is read.
    case truncated(need: Int, have: Int)
    /// There is more than the document has fields for.
    case trailingBytes(Int)
    /// A document of a version that this program does not know.
    case unsupportedVersion(UInt8)
    /// A value that the field may not have.
    case invalidField(DirectoryField)
    /// The value is fine, but there is another way to write it, and only that one is allowed: sorted, once each, no bits astray.
    case notCanonical(DirectoryField)
    /// More of something than its named limit in ``DirectoryLimits``.
    case limitExceeded(DirectoryField, have: Int, limit: Int)
    /// The signature is not by the key that must have signed.
    case badSignature(SignedKind)
    /// The directory server's Hello vouches for another link key than the TLS peer's.
    case wrongLinkKey
    /// A network parameter that is no number in its range, or does not fit with another.
    case badParameter(name: String, problem: String)
    /// A Hello, ticket or consensus whose time is over.
    case expired(validUntil: UInt64, now: UInt64)
    /// A consensus of a lower revision than the one there is.
    case older(revision: UInt64, have: UInt64)
    /// Two consensuses of one revision, both signed by the directory: evidence to keep and report.
    case equivocation(revision: UInt64, have: Bytes32, received: Bytes32)
    /// A consensus that begins more than five minutes from now: one of the two clocks is wrong.
    case fromFuture(validAfter: UInt64, now: UInt64)
    /// A frame longer than its type allows.
    case frameTooLong(type: UInt8, byteCount: Int, limit: Int)
    /// A frame of a type that nobody knows.
    case unknownFrame(UInt8)
    /// A frame that this side is never sent.
    case unexpectedFrame(DirectoryFrameType)

    /// What a caller does about it.
    public enum Recovery: Equatable, Sendable {
        /// Close the connection that it came over.
        case closeConnection
        /// Keep what there is, and ask again later.
        case keepPrevious
        /// Keep both documents as evidence, tell the operator, keep using the first.
        case reportDirectory
        /// A person has to act; the text says how.
        case fixConfiguration(String)
    }

    public var recovery: Recovery {
        switch self {
        case .truncated, .trailingBytes, .unsupportedVersion, .invalidField, .notCanonical, .limitExceeded,
            .frameTooLong, .unknownFrame, .unexpectedFrame:
            .closeConnection
        case .badSignature(.consensus), .badSignature(.link), .wrongLinkKey:
            .fixConfiguration(
                "compare the directory's public key file with the one that the directory's operator publishes")
        case .badSignature(.ticket), .badSignature(.descriptor), .badSignature(.heartbeat): .closeConnection
        case .badParameter(let name, let problem): .fixConfiguration("\(name): \(problem)")
        case .expired, .older: .keepPrevious
        case .equivocation: .reportDirectory
        case .fromFuture: .fixConfiguration("set this machine's clock, or the directory's (timedatectl shows it)")
        }
    }
}

/// The fields that an error can name.
public enum DirectoryField: String, Equatable, Sendable {
    case addresses, contact, country, descriptor, errorText = "error text", exitPolicy = "exit policy", family, flags,
        identity
    case networkParameters = "network parameters"
    case nickname, port, protocolVersions = "protocol versions", revision, routers, software, times, weight
    case consensus, frame
}

extension DirectoryError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .truncated(let need, let have): "the document is cut off: \(need) bytes needed, \(have) there"
        case .trailingBytes(let count): "\(count) bytes after the document's end"
        case .unsupportedVersion(let version): "document version \(version) is not known here; update this program"
        case .invalidField(let field): "invalid value in \(field.rawValue)"
        case .notCanonical(let field): "not the canonical encoding of \(field.rawValue)"
        case .limitExceeded(let field, let have, let limit): "\(field.rawValue): \(have), and the limit is \(limit)"
        case .badSignature(.consensus), .badSignature(.link):
            "not signed by the directory key that is configured here; check the directory's address and public key file"
        case .badSignature(let kind): "the signature of a \(kind.rawValue) is wrong"
        case .wrongLinkKey: "the peer is not the directory server: its TLS key is not the one that the directory signed"
        case .badParameter(let name, let problem): "network parameter \(name): \(problem)"
        case .expired(let validUntil, let now):
            "valid until \(UTCTime(validUntil)), and this machine's clock says \(UTCTime(now)); if it is new, check the clock"
        case .older(let revision, let have): "revision \(revision) is older than \(have), which is here"
        case .equivocation(let revision, _, _):
            "the directory has signed two different consensuses of revision \(revision)"
        case .fromFuture(let validAfter, let now):
            "valid from \(UTCTime(validAfter)), but this machine's clock says \(UTCTime(now)); set the clock"
        case .frameTooLong(let type, let byteCount, let limit):
            "a frame of type \(type) with \(byteCount) bytes, and the limit is \(limit)"
        case .unknownFrame(let type): "a frame of unknown type \(type)"
        case .unexpectedFrame(let type): "a \(type) frame, which this side is never sent"
        }
    }
}
