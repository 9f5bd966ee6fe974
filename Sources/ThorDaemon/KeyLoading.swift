internal import Foundation
package import OnionCrypto

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// Reads the key files that a command line names.
package enum KeyLoading {
    /// Read a private key, asking for its passphrase on the terminal if it has one.
    package static func privateKey(_ path: String) throws(OperatorError) -> Ed25519PrivateKey {
        do {
            return try KeyFile.readPrivate(path, ownerOnly: !Self.isCredential(path)) {
                try Passphrase.ask("Passphrase of \(path): ")
            }
        } catch {
            throw error.operatorError
        }
    }

    /// Read the password in a file of `--password-file`: its first line.
    package static func password(_ path: String) throws(OperatorError) -> [UInt8] {
        do {
            return try KeyFile.readPassphrase(path, ownerOnly: !Self.isCredential(path))
        } catch {
            throw Self.passwordError(error, path)
        }
    }

    /// Tell what is wrong with a password file: it is no key file, and has no passphrase.
    static func passwordError(_ error: KeyFileError, _ path: String) -> OperatorError {
        let status = error.operatorError.status
        return switch error {
        case .fileNotFound:
            OperatorError(
                "there is no password file \(path)", advice: "Check the path given with --password-file",
                status: status)
        case .malformed:
            OperatorError(
                "the password file \(path) has no password on its first line, or is no small text file",
                advice: "Write the password, alone, into it", status: status)
        case .io(_, _, EACCES):
            OperatorError(
                "the user that this program runs as may not read the password file \(path)",
                advice: "Make that user its owner, with mode 0600", status: status)
        case .readableByOthers, .wrongPassphrase, .passphraseNeeded, .passphraseUnavailable, .exists, .io:
            error.operatorError
        }
    }

    /// Whether systemd has put a file there for this service alone (LoadCredential).
    ///
    /// It can be opened by the service's user only, by an access list; the mode of such a file reads as if a group could.
    static func isCredential(
        _ path: String, environment: [String: String] = ProcessInfo.processInfo.environment
    ) -> Bool {
        guard let directory = environment["CREDENTIALS_DIRECTORY"], directory.hasPrefix("/") else { return false }
        return URL(fileURLWithPath: path).deletingLastPathComponent().standardizedFileURL.path
            == URL(fileURLWithPath: directory).standardizedFileURL.path
    }

    package static func publicKey(_ path: String) throws(OperatorError) -> Ed25519PublicKey {
        do {
            return try KeyFile.readPublic(path)
        } catch {
            throw error.operatorError
        }
    }

    /// Read the key that a daemon keeps for itself at `path`, or make it there.
    package static func ownKey(_ path: String) throws(OperatorError) -> Ed25519PrivateKey {
        do {
            return try KeyFile.readPrivate(path)
        } catch .fileNotFound {
            let key = Ed25519PrivateKey()
            do {
                try KeyFile.writePrivate(key, to: path)
            } catch {
                throw error.operatorError
            }
            return key
        } catch {
            throw Self.ownKeyError(error)
        }
    }

    /// Tell what is wrong with a key that a daemon keeps for itself: it made it, and makes another.
    package static func ownKeyError(_ error: KeyFileError) -> OperatorError {
        switch error {
        case .malformed(let path, _), .wrongPassphrase(let path), .passphraseNeeded(let path),
            .passphraseUnavailable(let path, _):
            OperatorError(
                "the daemon's own key \(path) is damaged", advice: "Move it away: it is made anew",
                status: error.operatorError.status)
        case .readableByOthers(let path, _):
            OperatorError(
                "the daemon's own key \(path) is open to other users",
                advice: "Run: chmod 600 \(path); if others may have read it, move it away: it is made anew",
                status: error.operatorError.status)
        case .fileNotFound, .exists, .io: error.operatorError
        }
    }
}

extension KeyFileError: OperatorFacing {
    package var operatorError: OperatorError {
        switch self {
        case .io(let path, let operation, EACCES):
            OperatorError(
                "could not \(operation) '\(path)': permission denied",
                advice: "Check who owns it, and its directory, and which user this program runs as",
                status: self.exitStatus)
        case .fileNotFound, .readableByOthers, .malformed, .wrongPassphrase, .passphraseNeeded, .passphraseUnavailable,
            .exists, .io:
            // The error's own text says what to do, so there is nothing to add.
            OperatorError("\(self)", advice: "", status: self.exitStatus)
        }
    }

    private var exitStatus: ExitStatus {
        switch self {
        case .fileNotFound: .noInput
        case .readableByOthers, .io(_, _, EACCES): .permission
        case .malformed, .wrongPassphrase, .passphraseNeeded, .passphraseUnavailable: .badData
        case .exists: .cannotCreate
        case .io: .inputOutput
        }
    }
}
