internal import CMalloc
internal import ServiceLifecycle

/// Gives memory that is free back to the system, every ten seconds.
///
/// The C library keeps what is free below something that is not: after a hundred transfers at once, tens of megabytes
/// that nobody needs. Looking takes it about a millisecond, on a thread that no event loop waits for.
struct MemoryReturn: Service, CustomStringConvertible {
    static let interval = Duration.seconds(10)

    var description: String { "memory return" }

    func run() async throws {
        try? await cancelWhenGracefulShutdown {
            while true {
                try await Task.sleep(for: Self.interval)
                _ = malloc_trim(0)
            }
        }
        // The group takes a service that ends by itself for the end of all.
        try? await gracefulShutdown()
    }
}
