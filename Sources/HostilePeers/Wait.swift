/// Waits for what other threads do.
package enum Wait {
    /// Return as soon as `isDone` says so.
    ///
    /// - Throws: ``PeerError/timedOut(_:)``; what `isDone` throws.
    package static func until(
        _ what: String, seconds: Double = 10, _ isDone: () async throws -> Bool
    ) async throws {
        let end = ContinuousClock.now + .milliseconds(Int64(seconds * 1000))
        while try await !isDone() {
            guard .now < end else { throw PeerError.timedOut(what) }
            try await Task.sleep(for: .milliseconds(2))
        }
    }

    /// Do all of `body` within the time, or give it up.
    ///
    /// - Throws: ``PeerError/timedOut(_:)``; what `body` throws.
    package static func limit(
        _ what: String, seconds: Double, _ body: @escaping @Sendable () async throws -> Void
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask(operation: body)
            group.addTask {
                try await Task.sleep(for: .milliseconds(Int64(seconds * 1000)))
                throw PeerError.timedOut(what)
            }
            defer { group.cancelAll() }
            try await group.next()
        }
    }
}

/// Why a hostile peer could not do what it set out to do. It says nothing about the network under attack.
package enum PeerError: Error, Equatable, CustomStringConvertible {
    case timedOut(String)
    /// A router closed the connection before TLS was up.
    case noLink(String)
    /// A circuit that an honest client would have got was not to be had.
    case circuitFailed(String)
    /// The consensus lacks a router, or a router lacks an address.
    case notListed
    /// An honest request came to nothing.
    case noService(String)

    package var description: String {
        switch self {
        case .timedOut(let what): "waited in vain: \(what)"
        case .noLink(let nickname): "\(nickname) closed a connection before TLS was up"
        case .circuitFailed(let what): "no circuit could be built or used: \(what)"
        case .notListed: "the consensus does not list the router"
        case .noService(let what): "an honest request failed: \(what)"
        }
    }
}
