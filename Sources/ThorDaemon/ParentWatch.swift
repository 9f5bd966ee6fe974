internal import Foundation
internal import ServiceLifecycle

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// Ends when standard input reaches its end: whoever started this daemon and held the other end of the pipe is gone,
/// however it went.
///
/// As a service whose return shuts the group down, it ends the daemon cleanly.
package struct ParentWatch: Service, CustomStringConvertible {
    private let descriptor: Int32

    package init() { self.init(descriptor: STDIN_FILENO) }

    init(descriptor: Int32) { self.descriptor = descriptor }

    package var description: String { "parent watch" }

    package func run() async throws {
        let (ends, continuation) = AsyncStream.makeStream(of: Never.self)
        let descriptor = self.descriptor
        // A blocking read on a thread of its own works for pipes, terminals and files alike. The thread is not joined:
        // a read on standard input cannot be called off, and the process ends soon after this service does.
        Thread.detachNewThread {
            Self.readToEnd(descriptor)
            continuation.finish()
        }
        await withTaskCancellationOrGracefulShutdownHandler {
            for await _ in ends {}
        } onCancelOrGracefulShutdown: {
            continuation.finish()
        }
    }

    private static func readToEnd(_ descriptor: Int32) {
        var scratch = [UInt8](repeating: 0, count: 256)
        while true {
            let count = read(descriptor, &scratch, scratch.count)
            if count == 0 || (count < 0 && errno != EINTR) { return }
        }
    }
}
