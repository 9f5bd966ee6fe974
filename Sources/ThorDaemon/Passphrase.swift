#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// Asks for a passphrase on the terminal, without showing it.
package enum Passphrase {
    package enum Failure: Error, CustomStringConvertible {
        case noTerminal
        /// By Ctrl-C and its like, or by the end of the terminal.
        case interrupted

        package var description: String {
            switch self {
            case .noTerminal: "there is no terminal to ask on."
            case .interrupted: "it was not given."
            }
        }
    }

    private static let maximumByteCount = 1024

    /// - Returns: what was typed, without the newline; of more than 1024 bytes the first.
    package static func ask(_ prompt: String, on device: String = "/dev/tty") throws(Failure) -> [UInt8] {
        let terminal = open(device, O_RDWR | O_CLOEXEC | O_NOCTTY)
        defer { close(terminal) }
        var settings = termios()
        guard tcgetattr(terminal, &settings) == 0 else { throw .noTerminal }
        // Ctrl-C is read as a character here, so that the terminal is always left as it was.
        var quiet = settings
        quiet.c_lflag &= ~tcflag_t(ECHO | ICANON | ISIG)
        guard tcsetattr(terminal, TCSAFLUSH, &quiet) == 0 else { throw .noTerminal }
        defer {
            tcsetattr(terminal, TCSAFLUSH, &settings)
            writeWhole("\n", to: terminal)
        }
        writeWhole(prompt, to: terminal)
        return try Self.line(from: terminal)
    }

    private static func line(from terminal: Int32) throws(Failure) -> [UInt8] {
        var line: [UInt8] = []
        // Growing would leave copies behind.
        line.reserveCapacity(Self.maximumByteCount)
        while true {
            var byte: UInt8 = 0
            let count = read(terminal, &byte, 1)
            if count < 0, errno == EINTR { continue }
            switch byte {
            case 0x0A, 0x0D: return line
            case _ where count != 1, 0x03, 0x1C,  // Ctrl-C, Ctrl-\
                0x04 where line.isEmpty:  // Ctrl-D
                Self.remove(line.count, from: &line)
                throw .interrupted
            case 0x15: Self.remove(line.count, from: &line)  // Ctrl-U
            case 0x08, 0x7F: Self.removeLastCharacter(of: &line)
            default: if line.count < Self.maximumByteCount { line.append(byte) }
            }
        }
    }

    /// Take back one character of UTF-8.
    private static func removeLastCharacter(of line: inout [UInt8]) {
        let isContinued = { (byte: UInt8) in byte & 0xC0 == 0x80 }
        Self.remove(min(line.count, line.reversed().prefix(while: isContinued).count + 1), from: &line)
    }

    /// Take the last bytes back, and leave nothing of them in memory.
    private static func remove(_ count: Int, from line: inout [UInt8]) {
        for index in line.indices.suffix(count) { line[index] = 0 }
        line.removeLast(count)
    }
}
