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

    /// Read the passphrase or password in a file.
    package static func passphrase(_ path: String) throws(OperatorError) -> [UInt8] {
        do {
            return try KeyFile.readPassphrase(path, ownerOnly: !Self.isCredential(path))
        } catch {
            throw error.operatorError
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
            throw error.operatorError
        }
    }
}

extension KeyFileError: OperatorFacing {
    package var operatorError: OperatorError {
        // The error's own text says what to do, so there is nothing to add.
        OperatorError("\(self)", advice: "", status: self.exitStatus)
    }

    private var exitStatus: ExitStatus {
        switch self {
        case .fileNotFound: .noInput
        case .readableByOthers: .permission
        case .malformed, .wrongPassphrase, .passphraseNeeded, .passphraseUnavailable: .badData
        case .exists: .cannotCreate
        case .io: .inputOutput
        }
    }
}

/// Asks for a passphrase on the terminal, without showing it.
package enum Passphrase {
    package struct NoTerminal: Error, CustomStringConvertible {
        package var description: String { "there is no terminal to ask on." }
    }

    /// - Returns: what was typed, without the newline; of more than 1024 bytes the first.
    package static func ask(_ prompt: String, on device: String = "/dev/tty") throws -> [UInt8] {
        let terminal = open(device, O_RDWR | O_CLOEXEC | O_NOCTTY)
        defer { close(terminal) }
        var settings = termios()
        guard tcgetattr(terminal, &settings) == 0 else { throw NoTerminal() }
        var silent = settings
        silent.c_lflag &= ~tcflag_t(ECHO)
        tcsetattr(terminal, TCSAFLUSH, &silent)
        defer { tcsetattr(terminal, TCSAFLUSH, &settings) }
        writeWhole(prompt, to: terminal)
        defer { writeWhole("\n", to: terminal) }
        var typed: [UInt8] = []
        // Growing would leave copies behind.
        typed.reserveCapacity(1024)
        var byte: UInt8 = 0
        while typed.count < 1024, read(terminal, &byte, 1) == 1, byte != UInt8(ascii: "\n") { typed.append(byte) }
        return typed
    }
}
