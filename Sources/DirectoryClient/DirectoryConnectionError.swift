import Foundation
import NIOCore
import NIOSSL
import OnionCrypto
package import OnionDirectory

/// Why a directory connection could not be made or used.
package enum DirectoryConnectionError: Error, Equatable, Sendable {
    /// No TCP connection: no such host, nobody listens, no route, or no answer in time.
    case unreachable(why: String)
    /// Something answers, but it is not a directory server of this version.
    case notADirectory(why: String)
    /// A directory server, but not the one whose public key is configured: or somebody stands between.
    case wrongDirectoryKey
    /// The directory's Hello, or what it sent, is of another time: one of the two clocks is wrong.
    case clockOff(DirectoryError)
    /// The directory sent something that it may not.
    case protocolViolation(DirectoryError)
    /// It sent an answer of a kind that nobody asked for.
    case unexpectedAnswer(DirectoryFrameType)
    /// The directory said no.
    case refused(DirectoryErrorCode, text: String)
    /// No answer in time; the connection was closed.
    case timedOut
    /// The connection is gone.
    case closed
    /// A request of this kind is under way on this connection: the caller's fault.
    case alreadyAsked(DirectoryFrameType)

    /// What a caller does about it.
    package enum Recovery: Equatable, Sendable {
        /// Connect again after a while.
        case tryAgain
        /// A person has to act; the text says how.
        case fixConfiguration(String)
    }

    package var recovery: Recovery {
        switch self {
        case .unreachable, .protocolViolation, .unexpectedAnswer, .timedOut, .closed, .alreadyAsked: .tryAgain
        case .notADirectory: .fixConfiguration("check the directory's address and port")
        case .wrongDirectoryKey:
            .fixConfiguration("check the directory's address, and that the public key file is the one of its operator")
        case .clockOff: .fixConfiguration("set this machine's clock (timedatectl shows it)")
        case .refused(let code, let text): code.isWorthRetrying ? .tryAgain : .fixConfiguration(text)
        }
    }

    /// Sort what was found wrong with a Hello or another document of the directory.
    init(document error: DirectoryError) {
        switch error {
        case .badSignature(.link), .badSignature(.consensus), .badSignature(.ticket), .wrongLinkKey:
            self = .wrongDirectoryKey
        case .expired, .fromFuture: self = .clockOff(error)
        case .truncated, .trailingBytes, .unsupportedVersion, .invalidField, .notCanonical, .limitExceeded,
            .badSignature, .badParameter, .older, .equivocation, .frameTooLong, .unknownFrame, .unexpectedFrame:
            self = .protocolViolation(error)
        }
    }
}

extension DirectoryConnectionError {
    /// Say a library's error in words for the operator, without its insides.
    static func words(_ error: any Error) -> String {
        switch error {
        case let error as IOError: String(cString: strerror(error.errnoCode))
        case ChannelError.connectTimeout: "no answer in time"
        // What BoringSSL calls bytes that are no TLS record.
        case NIOSSLError.handshakeFailed(let reason) where "\(reason)".contains("WRONG_VERSION_NUMBER"):
            "it does not speak TLS"
        case NIOSSLError.uncleanShutdown: "it closed the connection during the TLS handshake"
        case is NIOSSLError, is BoringSSLError: "the TLS handshake failed"
        default: "\(error)"
        }
    }
}

extension DirectoryConnectionError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .unreachable(let why): "the directory server cannot be reached: \(why)"
        case .notADirectory(let why): "what answers is not a directory server: \(why)"
        case .wrongDirectoryKey: "the directory server does not hold the key that is configured here"
        case .clockOff(let error): "the directory's clock and this machine's do not agree: \(error)"
        case .protocolViolation(let error): "the directory server breaks the protocol: \(error)"
        case .unexpectedAnswer(let type): "the directory server sent a \(type) frame that nobody asked for"
        case .refused(_, let text): "the directory server refuses: \(text)"
        case .timedOut: "the directory server did not answer in time"
        case .closed: "the connection to the directory server is closed"
        case .alreadyAsked(let type): "a \(type) request is under way"
        }
    }
}
