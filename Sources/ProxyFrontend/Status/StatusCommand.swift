internal import OnionCells
internal import OnionClient

/// A line that comes in on the ``StatusSocket``.
///
///     status
///     newnym
///     trace PORT HOST [WISH]        WISH is a user name, such as country-se
enum StatusCommand: Equatable, Sendable {
    case status
    case newIdentity
    case trace(host: String, port: UInt16, exit: ExitWish)

    private static let traceWord = "trace"

    /// Read a line; nil if it is none of the three.
    init?(line: String) {
        let words = line.split(separator: " ", omittingEmptySubsequences: false)
        switch (words.first, words.count) {
        case ("status", 1): self = .status
        case ("newnym", 1): self = .newIdentity
        case ("trace", 3), ("trace", 4):
            let host = String(words[2])
            guard let port = UInt16(words[1]), port != 0, Begin.isValidHost(host),
                let exit = try? ExitWish(userName: words.dropFirst(3).joined().utf8)
            else { return nil }
            self = .trace(host: host, port: port, exit: exit)
        default: return nil
        }
    }

    static let statusLine = "status"
    static let newIdentityLine = "newnym"

    /// The line that asks for a trace; nil where a word holds what would end it.
    static func traceLine(host: String, port: UInt16, wish: String?) -> String? {
        let words = [Self.traceWord, "\(port)", host] + (wish.map { [$0] } ?? [])
        guard words.allSatisfy({ word in !word.isEmpty && !word.contains(where: { $0 == " " || $0.isNewline }) })
        else { return nil }
        return words.joined(separator: " ")
    }
}
