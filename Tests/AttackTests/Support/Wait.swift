/// Waits for what other threads do.
enum Wait {
    struct TimedOut: Error { let what: String }

    /// Return as soon as `isDone` says so.
    static func until(_ what: String, seconds: Double = 10, _ isDone: () async throws -> Bool) async throws {
        let end = ContinuousClock.now + .milliseconds(Int(seconds * 1000))
        while try await !isDone() {
            guard .now < end else { throw TimedOut(what: what) }
            try await Task.sleep(for: .milliseconds(3))
        }
    }
}
