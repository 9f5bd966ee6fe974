import OnionCrypto
import ThorDaemon

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

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

    /// No line that a person types is longer.
    private static let usualByteCount = 4096

    /// Read the first line of a file, or of standard input for `-`.
    static func read(file path: String) throws -> [UInt8] {
        guard path == "-" else { return try KeyFile.readPassphrase(path) }
        let line = Self.line(from: STDIN_FILENO)
        guard !line.isEmpty else { throw Failure.empty }
        return line
    }

    /// Read one line and not a byte more, for the next passphrase may follow it.
    ///
    /// - Returns: its bytes, without the newline; of what ends without one, all.
    static func line(from descriptor: Int32) -> [UInt8] {
        var line: [UInt8] = []
        // Growing would leave copies behind.
        line.reserveCapacity(Self.usualByteCount)
        while true {
            var byte: UInt8 = 0
            let count = systemRead(descriptor, &byte, 1)
            if count < 0, errno == EINTR { continue }
            guard count == 1, byte != UInt8(ascii: "\n") else { break }
            line.append(byte)
        }
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        return line
    }

    /// Ask for a new passphrase, twice.
    static func askForNew() throws -> [UInt8] {
        try Self.askForNew { prompt throws(Failure) in try Self.ask(prompt) }
    }

    /// - Parameter ask: puts one question.
    static func askForNew(_ ask: (String) throws(Failure) -> [UInt8]) throws(Failure) -> [UInt8] {
        var first = try ask("New passphrase: ")
        guard !first.isEmpty else { throw Failure.empty }
        var second: [UInt8] = []
        defer { wipe(&second) }
        do throws(Failure) {
            second = try ask("The same again: ")
            guard second == first else { throw .mismatch }
        } catch {
            wipe(&first)
            throw error
        }
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

// Inside Passphrase, `read` is its own.
private func systemRead(_ file: Int32, _ bytes: UnsafeMutableRawPointer?, _ count: Int) -> Int {
    read(file, bytes, count)
}
