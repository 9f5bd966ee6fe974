import OnionCrypto

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
    static func ask(_ prompt: String) throws -> [UInt8] {
        let terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)
        guard terminal >= 0 else { throw Failure.noTerminal }
        defer { close(terminal) }
        var settings = termios()
        guard tcgetattr(terminal, &settings) == 0 else { throw Failure.noTerminal }
        // Ctrl-C is read as a character here, so that the terminal is always left as it was.
        var quiet = settings
        quiet.c_lflag &= ~tcflag_t(ECHO | ICANON | ISIG)
        guard tcsetattr(terminal, TCSAFLUSH, &quiet) == 0 else { throw Failure.noTerminal }
        defer {
            tcsetattr(terminal, TCSAFLUSH, &settings)
            _ = write(terminal, "\n", 1)
        }
        _ = write(terminal, prompt, prompt.utf8.count)
        return try Self.line(from: terminal)
    }

    private static func line(from terminal: Int32) throws -> [UInt8] {
        var line: [UInt8] = []
        while true {
            var byte: UInt8 = 0
            let count = systemRead(terminal, &byte)
            if count < 0 && errno == EINTR { continue }
            guard count == 1 else { throw Failure.interrupted }
            switch byte {
            case 0x0A, 0x0D: return line
            case 0x03, 0x1C: throw Failure.interrupted  // Ctrl-C, Ctrl-\
            case 0x04 where line.isEmpty: throw Failure.interrupted  // Ctrl-D
            case 0x15: line.removeAll()  // Ctrl-U
            case 0x08, 0x7F: Self.removeLastCharacter(of: &line)
            default: line.append(byte)
            }
        }
    }

    /// Take back one character of UTF-8.
    private static func removeLastCharacter(of line: inout [UInt8]) {
        while let last = line.popLast(), last & 0xC0 == 0x80 {}
    }
}

// Inside Passphrase, `read` is its own.
private func systemRead(_ file: Int32, _ byte: UnsafeMutablePointer<UInt8>) -> Int { read(file, byte, 1) }
