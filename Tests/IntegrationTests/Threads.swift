import Foundation

/// Threads for blocking sockets, so that they do not take those of the concurrency runtime.
enum Threads {
    static func detach(_ body: @escaping @Sendable () -> Void) { Thread.detachNewThread(body) }

    /// Run blocking code on a thread of its own.
    static func run<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
        try await withCheckedThrowingContinuation { continuation in
            Self.detach { continuation.resume(with: Result { try body() }) }
        }
    }
}
