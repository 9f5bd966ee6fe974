import Foundation
package import Glibc

/// A child process that ends with us: its standard input is the read end of a pipe that this process holds open, its
/// standard output comes back line by line, its standard error goes to a log file. It runs in a session of its own, so
/// that Ctrl-C in a terminal reaches thor-testnet alone, which then stops everybody in order.
///
/// Thread-safe: it is immutable; two threads of its own read its output and wait for its end.
package struct DaemonProcess: Sendable {
    package let processID: pid_t

    /// Start `executable`.
    ///
    /// - Parameters:
    ///   - standardInput: the pipe end that becomes the child's standard input; stays open here.
    ///   - logPath: file to which standard error is appended; nil throws away output and error both.
    ///   - onLine, onExit: called from other threads; `onExit` once, and nothing after it.
    /// - Throws: the error number of the call that failed.
    package init(
        executable: String, arguments: [String], standardInput: Int32, logPath: String?,
        onLine: @escaping @Sendable (String) -> Void, onExit: @escaping @Sendable (ProcessEnd) -> Void
    ) throws(SystemError) {
        let output = try Pipe()
        defer { close(output.writeEnd) }

        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, standardInput, STDIN_FILENO)
        if let logPath {
            posix_spawn_file_actions_adddup2(&actions, output.writeEnd, STDOUT_FILENO)
            posix_spawn_file_actions_addopen(
                &actions, STDERR_FILENO, logPath, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        } else {
            posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)
            posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
        }
        // Whatever else this process has open (inherited ones too) is no business of the child. Closing one that has
        // meanwhile gone is no error.
        for descriptor in Self.openDescriptors() where descriptor > STDERR_FILENO {
            posix_spawn_file_actions_addclose(&actions, descriptor)
        }

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGQUIT] { sigaddset(&signals, signal) }
        posix_spawnattr_setsigdefault(&attributes, &signals)
        posix_spawnattr_setflags(
            &attributes, Int16(Int32(POSIX_SPAWN_SETSIGMASK) | Int32(POSIX_SPAWN_SETSIGDEF) | Self.spawnSetSession))

        var argumentPointers = ([executable] + arguments).map { strdup($0) }
        argumentPointers.append(nil)
        defer { argumentPointers.forEach { free($0) } }
        var spawned = pid_t()
        let error = posix_spawn(&spawned, executable, &actions, &attributes, argumentPointers, environ)
        guard error == 0 else {
            close(output.readEnd)
            throw SystemError(call: "posix_spawn", errno: error)
        }
        let processID = spawned
        self.processID = processID

        // The reader is joined before the end is told, so that no line comes after it. A grandchild could hold the
        // output open for ever, hence the reader is told to stop by the end of the process, at most a second later.
        let readEnd = output.readEnd
        let finished = DispatchSemaphore(value: 0)
        Thread.detachNewThread {
            Self.readLines(from: readEnd, onLine)
            close(readEnd)
            finished.signal()
        }
        Thread.detachNewThread {
            var status: Int32 = 0
            while waitpid(processID, &status, 0) == -1 && errno == EINTR {}
            _ = finished.wait(timeout: .now() + 1)
            onExit(ProcessEnd(waitStatus: status))
        }
    }

    /// Send a signal. To a process that is gone it does nothing; it is not reaped before `onExit`, which drops it.
    package func signal(_ number: Int32) {
        kill(self.processID, number)
    }

    /// POSIX_SPAWN_SETSID, which glibc's header shows only to GNU source.
    private static let spawnSetSession: Int32 = 0x80

    private static func openDescriptors() -> [Int32] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
        return names.compactMap { Int32($0) }
    }

    private static func readLines(from descriptor: Int32, _ onLine: (String) -> Void) {
        let maximumLineByteCount = 4096
        var line: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = read(descriptor, &chunk, chunk.count)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return }
            for byte in chunk[..<count] {
                if byte == UInt8(ascii: "\n") {
                    onLine(String(decoding: line, as: UTF8.self))
                    line.removeAll(keepingCapacity: true)
                } else if line.count < maximumLineByteCount {
                    line.append(byte)
                }
            }
        }
    }
}

/// A system call that failed.
package struct SystemError: Error, Equatable, Sendable, CustomStringConvertible {
    package let call: String
    package let errno: Int32
    package var description: String { "\(self.call): \(String(cString: strerror(self.errno)))" }
}

/// The two ends of a pipe, closed in programs that this one starts.
package struct Pipe: Sendable {
    package let readEnd: Int32
    package let writeEnd: Int32

    package init() throws(SystemError) {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw SystemError(call: "pipe", errno: errno) }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        self.readEnd = ends[0]
        self.writeEnd = ends[1]
    }
}
