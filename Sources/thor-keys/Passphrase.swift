import OnionCrypto
import ThorDaemon

/// Where a passphrase comes from: a file, standard input, or a person at a terminal.
enum Passphrase {
    enum Failure: Error, Equatable, CustomStringConvertible {
        case noTerminal
        case interrupted
        case empty
        case mismatch

        var description: String {
            switch self {
            case .noTerminal:
                "There is no terminal to ask for a passphrase. Give it with --passphrase-file FILE."
            case .interrupted: "Stopped; nothing was written."
            case .empty: "The passphrase is empty. Give one of at least one character, or leave the option out."
            case .mismatch: "The two passphrases differ; nothing was written. Try again."
            }
        }
    }

    /// Read the first line of a file, or of standard input for `-`.
    static func read(file path: String) throws -> [UInt8] {
        guard path == "-" else { return try KeyFile.readPassphrase(path) }
        guard let line = Swift.readLine(strippingNewline: true), !line.isEmpty else { throw Failure.empty }
        return Array(line.utf8)
    }

    /// Ask for a new passphrase, twice.
    static func askForNew() throws -> [UInt8] {
        let first = try Self.ask("New passphrase: ")
        guard !first.isEmpty else { throw Failure.empty }
        guard try Self.ask("The same again: ") == first else { throw Failure.mismatch }
        return first
    }

    /// Ask on the terminal, without showing what is typed.
    static func ask(_ prompt: String) throws(Failure) -> [UInt8] {
        do {
            return try ThorDaemon.Passphrase.ask(prompt)
        } catch {
            throw switch error {
            case .noTerminal: .noTerminal
            case .interrupted: .interrupted
            }
        }
    }
}
