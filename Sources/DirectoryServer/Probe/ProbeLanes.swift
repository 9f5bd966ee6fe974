/// Probes that wait for their turn, in two lanes: routers that are known do not wait behind newcomers.
///
/// What can wait is bounded by the registry, which has one probe of a router at a time, and by the rate of registrations.
struct ProbeLanes: Sendable {
    let known: AsyncStream<RouterProbe>
    let newcomers: AsyncStream<RouterProbe>

    /// Where the probes come from.
    struct Requests: Sendable {
        fileprivate let known: AsyncStream<RouterProbe>.Continuation
        fileprivate let newcomers: AsyncStream<RouterProbe>.Continuation

        func yield(_ probe: RouterProbe) { (probe.isNewcomer ? self.newcomers : self.known).yield(probe) }
    }

    static func make() -> (lanes: ProbeLanes, requests: Requests) {
        let (known, knownRequests) = AsyncStream.makeStream(of: RouterProbe.self)
        let (newcomers, newcomerRequests) = AsyncStream.makeStream(of: RouterProbe.self)
        return (
            ProbeLanes(known: known, newcomers: newcomers), Requests(known: knownRequests, newcomers: newcomerRequests)
        )
    }

    /// Answer the probes of a lane until cancelled, `limit` at once.
    static func answer(
        _ lane: AsyncStream<RouterProbe>, atOnce limit: Int, _ answer: @escaping @Sendable (RouterProbe) async -> Void
    ) async {
        await withTaskGroup(of: Void.self) { group in
            var running = 0
            for await probe in lane {
                if running >= limit {
                    await group.next()
                    running -= 1
                }
                group.addTask { await answer(probe) }
                running += 1
            }
            group.cancelAll()
        }
    }
}
