import NIOConcurrencyHelpers

/// Shows how the start goes on, to any number of readers on any thread. The percentage never falls. After the start it shows
/// what stands in the way of circuits.
final class ProgressBoard: Sendable {
    private struct State {
        var progress = ClientProgress(percent: 0, text: "starting")
        /// What the readers were told last.
        var told = ClientProgress(percent: 0, text: "starting")
        var readers: [Int: AsyncStream<ClientProgress>.Continuation] = [:]
        var nextReader = 0
        var isOver = false

        mutating func tell(_ progress: ClientProgress) {
            self.told = progress
            for reader in self.readers.values { reader.yield(progress) }
        }
    }

    private let state = NIOLockedValueBox(State())

    /// How far the start has come.
    var current: ClientProgress { self.state.withLockedValue { $0.progress } }

    /// What there is now, and then every change, until the client ends. A slow reader misses steps, not the last one.
    func updates() -> AsyncStream<ClientProgress> {
        AsyncStream(bufferingPolicy: .bufferingNewest(8)) { continuation in
            let id: Int? = self.state.withLockedValue { state in
                guard !state.isOver else { return nil }
                state.nextReader += 1
                state.readers[state.nextReader] = continuation
                continuation.yield(state.told)
                return state.nextReader
            }
            guard let id else { return continuation.finish() }
            continuation.onTermination = { [weak self] _ in
                self?.state.withLockedValue { _ = $0.readers.removeValue(forKey: id) }
            }
        }
    }

    /// Report a step; one that is behind what has been reached is not news.
    func report(_ percent: Int, _ text: String) {
        self.state.withLockedValue { state in
            let progress = ClientProgress(percent: percent, text: text)
            guard percent >= state.progress.percent, progress != state.progress, !state.progress.isReady else { return }
            state.progress = progress
            state.tell(progress)
        }
    }

    /// Report what stands in the way of a client that was ready, or that nothing does any more.
    func reportAfterStart(_ progress: ClientProgress) {
        self.state.withLockedValue { state in
            if state.progress.isReady, progress != state.told { state.tell(progress) }
        }
    }

    func finish() {
        let readers = self.state.withLockedValue { state in
            defer { state.readers = [:] }
            state.isOver = true
            return Array(state.readers.values)
        }
        for reader in readers { reader.finish() }
    }
}
