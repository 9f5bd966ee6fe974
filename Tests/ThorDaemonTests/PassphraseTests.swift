import Foundation
import Glibc
import Testing

@testable import ThorDaemon

@Suite("Passphrase", .serialized, .timeLimit(.minutes(1)))
struct PassphraseTests {
    @Test(
        "is asked for on the terminal and not shown; of more than 1024 bytes the first count",
        arguments: [
            ("correct horse", "correct horse"), ("", ""), (Self.letters(1024), Self.letters(1024)),
            (Self.letters(2000), Self.letters(1024)), ("wrong\u{15}hors\u{C9}\u{7F}e", "horse"),
        ])
    func asked(typed: String, expected: String) async throws {
        #expect(try await self.answer(to: typed + "\n") == Array(expected.utf8))
    }

    @Test(
        "is not given by Ctrl-C and its like, which leave the terminal as it was",
        arguments: ["secr\u{03}", "secr\u{1C}", "\u{04}"])
    func interrupted(typed: String) async throws {
        #expect(try await self.answer(to: typed) == nil)
    }

    @Test("is not given by a terminal that ends") func ended() async throws {
        var terminal: Terminal? = try Terminal()
        let answers = Self.ask(on: try #require(terminal).name)
        while terminal?.shown.hasSuffix("Passphrase: ") == false { try #require(terminal?.read() == true) }
        terminal = nil
        for await answer in answers { #expect(answer == nil) }
    }

    /// Ask on a thread, as it waits.
    private static func ask(on name: String) -> AsyncStream<[UInt8]?> {
        let (answers, continuation) = AsyncStream.makeStream(of: [UInt8]?.self)
        Thread.detachNewThread {
            continuation.yield(try? Passphrase.ask("Passphrase: ", on: name))
            continuation.finish()
        }
        return answers
    }

    /// What somebody is taken to answer who types this.
    private func answer(to typed: String) async throws -> [UInt8]? {
        let terminal = try Terminal()
        let before = terminal.localModes
        let answers = Self.ask(on: terminal.name)
        while !terminal.shown.hasSuffix("Passphrase: ") { try #require(terminal.read()) }
        terminal.type(typed)
        while !terminal.shown.hasSuffix("\r\n") { try #require(terminal.read()) }
        #expect(terminal.shown == "Passphrase: \r\n")
        #expect(terminal.localModes == before)
        return await answers.first { _ in true } ?? nil
    }

    private static func letters(_ count: Int) -> String { String(repeating: "x", count: count) }

    @Test("is not asked for where there is no terminal") func noTerminal() throws {
        let path = "\(NSTemporaryDirectory())/thor-tty-\(UInt64.random(in: 0 ... .max))"
        #expect(throws: Passphrase.Failure.noTerminal) { try Passphrase.ask("?", on: path) }
        try Data("secret\n".utf8).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        #expect(throws: Passphrase.Failure.noTerminal) { try Passphrase.ask("?", on: path) }
    }
}

/// A terminal whose other end is the test.
private final class Terminal {
    struct Failure: Error {}

    let name: String
    private(set) var shown = ""
    private let person: Int32
    /// Kept open, so that what a program has shown is there when that has closed it.
    private let device: Int32

    init() throws {
        self.person = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
        // TIOCSPTLCK and TIOCGPTN, which are not imported: unlock the device, and ask for its number.
        var (isLocked, number): (Int32, Int32) = (0, 0)
        guard ioctl(self.person, 0x4004_5431, &isLocked) == 0, ioctl(self.person, 0x8004_5430, &number) == 0 else {
            throw Failure()
        }
        self.name = "/dev/pts/\(number)"
        self.device = open(self.name, O_RDWR | O_NOCTTY | O_CLOEXEC)
    }

    deinit {
        close(self.device)
        close(self.person)
    }

    /// Whether what is typed is shown, whether Ctrl-C is a signal, and such.
    var localModes: tcflag_t {
        var settings = termios()
        tcgetattr(self.device, &settings)
        return settings.c_lflag
    }

    func type(_ text: String) { _ = write(self.person, text, text.utf8.count) }

    /// Take what is shown next; false if nothing is within 20 s.
    func read() -> Bool {
        var ready = pollfd(fd: self.person, events: Int16(POLLIN), revents: 0)
        guard poll(&ready, 1, 20_000) == 1 else { return false }
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = Glibc.read(self.person, &buffer, buffer.count)
        guard count > 0 else { return false }
        self.shown += String(decoding: buffer[..<count], as: UTF8.self)
        return true
    }
}
