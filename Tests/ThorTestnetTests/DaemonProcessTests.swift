import Foundation
import Glibc
import Testing

@testable import ThorTestnet

@Suite("A child process of the test network")
struct DaemonProcessTests {
    private enum Event: Equatable, Sendable { case line(String), end(ProcessEnd) }

    /// Run a shell script with `pipe` as its standard input, and hand over what happens.
    private func run(_ script: String, pipe: ThorTestnet.Pipe, log: String = "/dev/null") throws -> (
        DaemonProcess, AsyncStream<Event>
    ) {
        let (events, continuation) = AsyncStream.makeStream(of: Event.self)
        let process = try DaemonProcess(
            executable: "/bin/sh", arguments: ["-c", script], standardInput: pipe.readEnd, logPath: log,
            onLine: { continuation.yield(.line($0)) },
            onExit: {
                continuation.yield(.end($0))
                continuation.finish()
            })
        return (process, events)
    }

    private func collect(_ events: AsyncStream<Event>) async -> [Event] {
        var all: [Event] = []
        for await event in events { all.append(event) }
        return all
    }

    @Test("hands over each line, then the end") func lines() async throws {
        let pipe = try ThorTestnet.Pipe()
        let (_, events) = try self.run("echo one; printf 'two\\nrest'; exit 7", pipe: pipe)
        #expect(await self.collect(events) == [.line("one"), .line("two"), .end(.code(7))])
    }

    @Test("sees the end of standard input when the other end is closed") func parentGone() async throws {
        let pipe = try ThorTestnet.Pipe()
        let (_, events) = try self.run("echo up; cat; echo down", pipe: pipe)
        var all: [Event] = []
        for await event in events {
            all.append(event)
            if event == .line("up") { close(pipe.writeEnd) }
        }
        #expect(all == [.line("up"), .line("down"), .end(.code(0))])
    }

    @Test("has no other descriptor of ours, a session of its own, and no blocked signal") func inheritance()
        async throws
    {
        let inherited = open("/dev/null", O_RDONLY)
        defer { close(inherited) }
        let pipe = try ThorTestnet.Pipe()
        let script = "[ -e /proc/$$/fd/\(inherited) ] && echo kept || echo closed; cut -d' ' -f6 /proc/$$/stat"
        let (process, events) = try self.run(script, pipe: pipe)
        let lines = await self.collect(events)
        #expect(lines == [.line("closed"), .line("\(process.processID)"), .end(.code(0))])
    }

    @Test("tells of a signal") func signal() async throws {
        let pipe = try ThorTestnet.Pipe()
        let (process, events) = try self.run("echo up; cat", pipe: pipe)
        var all: [Event] = []
        for await event in events {
            all.append(event)
            if event == .line("up") { process.signal(SIGTERM) }
        }
        #expect(all.last == .end(.signal(SIGTERM)))
    }

    @Test("throws when there is no such program") func missing() throws {
        let pipe = try ThorTestnet.Pipe()
        #expect(throws: SystemError(call: "posix_spawn", errno: ENOENT)) {
            try DaemonProcess(
                executable: "/nonexistent/program", arguments: [], standardInput: pipe.readEnd, logPath: nil,
                onLine: { _ in }, onExit: { _ in })
        }
    }
}
