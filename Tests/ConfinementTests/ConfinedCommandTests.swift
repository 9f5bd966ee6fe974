import Foundation
import NIOCore
import NIOPosix
import Testing

@testable import Confinement

@Suite("Commands", .serialized, .timeLimit(.minutes(1)))
struct ConfinedCommandTests {
    private func run(
        _ arguments: [String], environment: [String: String] = ["PATH": "/usr/bin:/bin"]
    ) async throws -> Int32 {
        try await ConfinedCommand(
            arguments, environment: environment, isolatedPort: nil, keeping: ConfinedCommand.openDescriptors()
        ).wait()
    }

    @Test(
        "ends as the command does",
        arguments: [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143)] as [(String, Int32)])
    func status(script: String, code: Int32) async throws {
        // As a task of the pool, whose threads block signals.
        #expect(try await Task.detached { try await self.run(["sh", "-c", script]) }.value == code)
    }

    @Test("the command has the environment that it is given, and no other")
    func environment() async throws {
        let script = #"[ "$A" = "b c" ] && [ -z "$HOME" ]"#
        #expect(try await self.run(["/bin/sh", "-c", script], environment: ["A": "b c"]) == 0)
    }

    @Test("of the descriptors that this process has, the command gets those that it is to have")
    func descriptors() async throws {
        let (kept, own) = (open("/dev/null", O_RDONLY), open("/dev/null", O_RDONLY))
        defer {
            close(kept)
            close(own)
        }
        let command = try ConfinedCommand(
            ["sh", "-c", "[ -e /proc/self/fd/\(kept) ] && [ ! -e /proc/self/fd/\(own) ]"],
            environment: ["PATH": "/usr/bin:/bin"], isolatedPort: nil,
            keeping: ConfinedCommand.openDescriptors().subtracting([own]))
        #expect(await command.wait() == 0)
    }

    @Test("says why a command cannot be executed")
    func missing() async {
        await #expect(throws: ConfinedCommand.Failure.notExecuted(errno: ENOENT)) {
            try await self.run(["/nowhere/nothing"])
        }
        await #expect(throws: ConfinedCommand.Failure.notExecuted(errno: EACCES)) {
            try await self.run(["/etc/passwd"])
        }
    }

    @Test("signals go to the command")
    func signals() async throws {
        // What comes when the command has ended is to end nothing else.
        signal(SIGUSR1) { _ in }
        let command = try ConfinedCommand(
            ["sh", "-c", "trap 'exit 9' USR1; while :; do sleep 0.05; done"], environment: ["PATH": "/usr/bin:/bin"],
            isolatedPort: nil, keeping: ConfinedCommand.openDescriptors())
        let sender = Task {
            while !Task.isCancelled {
                try? await Task.sleep(for: .milliseconds(300))
                kill(getpid(), SIGUSR1)
            }
        }
        #expect(await command.wait() == 9)
        sender.cancel()
    }

    @Test("the descriptors that are open are counted, and not the one that counts them")
    func openDescriptors() {
        // Other tests close some at any time, but not at every one of so many.
        let isRight = (0..<50).contains { _ in
            ConfinedCommand.openDescriptors().allSatisfy { fcntl($0, F_GETFD) != -1 }
        }
        #expect(isRight)
        let pipe = Pipe()
        #expect(ConfinedCommand.openDescriptors().contains(pipe.fileHandleForReading.fileDescriptor))
        withExtendedLifetime(pipe) {}
    }

    /// Whether namespaces may be made where the tests run.
    static let canIsolate: Bool = {
        guard
            let command = try? ConfinedCommand(
                ["true"], environment: ["PATH": "/usr/bin:/bin"], isolatedPort: 9, keeping: [])
        else { return false }
        if let listener = command.listener { close(listener) }
        return command.waitHere() == 0
    }()

    @Test(
        "an isolated command has loopback with one port, which leads outside, and no other network",
        .enabled(if: canIsolate))
    func isolated() async throws {
        // The proxy's stand-in says hello and closes.
        let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.writeAndFlush(ByteBuffer(string: "hello\n")).whenComplete { _ in channel.close(promise: nil) }
                return channel.eventLoop.makeSucceededVoidFuture()
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let port = UInt16(server.localAddress?.port ?? 0)
        let script = """
            [ "$(grep -c : /proc/net/dev)" = 1 ] || exit 2
            exec 3<>/dev/tcp/127.0.0.1/\(port) || exit 3
            read line <&3; [ "$line" = hello ] || exit 4
            (exec 4<>/dev/tcp/127.0.0.1/1) 2>/dev/null && exit 5
            (exec 4<>/dev/tcp/192.0.2.1/80) 2>/dev/null && exit 6
            [ "$(id -u)" = \(getuid()) ] || exit 7
            for name in nscd systemd/resolve avahi-daemon systemd/machine samba/winbindd nslcd; do
                [ -z "$(ls -A /run/$name /var/run/$name 2>/dev/null | grep -v '^/')" ] || exit 8
            done
            [ -z "$(ls -A /var/lib/sss/pipes 2>/dev/null)" ] || exit 9
            exit 0
            """
        let command = try ConfinedCommand(
            ["bash", "-c", script], environment: ["PATH": "/usr/bin:/bin"], isolatedPort: port,
            keeping: ConfinedCommand.openDescriptors())
        let forwarder = try await PortForwarder.serve(
            try #require(command.listener), to: .loopback(port: port))
        #expect(await command.wait() == 0)
        await forwarder.stop()
        try await server.close()
    }
}
