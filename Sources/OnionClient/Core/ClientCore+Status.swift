import NIOCore
import OnionAddress
import OnionCrypto
import OnionDirectory

extension ClientCore {
    /// What the client is doing, for its user's eyes.
    func status() -> ClientStatus {
        let circuits = self.pool.circuitKeys.compactMap { self.circuits[$0] }
        return ClientStatus(
            progress: self.progress,
            exits: (self.consensus?.routers ?? []).filter { $0.flags.contains(.exit) }.map(ClientStatus.Hop.init),
            routers: (self.consensus?.routers ?? []).map {
                var router = ClientStatus.Hop($0)
                router.software = $0.descriptor.descriptor.software
                return router
            },
            consensus: self.consensus.map {
                ClientStatus.Consensus(
                    revision: $0.revision, routerCount: $0.routers.count, validUntil: $0.validUntil)
            },
            guard: self.guardInUse.map(ClientStatus.Hop.init),
            circuits: circuits.map(self.describe),
            builtCircuitCount: self.builtCount, failedCircuitCount: self.failedCount,
            openStreamCount: circuits.reduce(0) { $0 + $1.streamCount },
            usualBuildSeconds: self.buildTimes.usual?.seconds,
            buildLimitSeconds: self.settings.buildTimeLimit.seconds)
    }

    /// How the start goes on; after it, what stands in the way of every circuit, if anything does.
    var progress: ClientProgress {
        guard self.board.current.isReady else { return self.board.current }
        if let obstacle {
            let step = self.isExpired || self.isNetworkTooSmall ? ClientStep.loadingRouters : .connectingToGuard
            return ClientProgress(step, because: obstacle)
        }
        return self.buildingObstacle.map { ClientProgress(.buildingCircuit, because: $0) } ?? self.board.current
    }

    /// Why there is no circuit although all is there that one needs; nil while there is one, or may soon be.
    var buildingObstacle: String? {
        guard self.pool.openCircuitCount == 0, self.failuresInARow >= CircuitPool.failuresWithoutPause else {
            return nil
        }
        return "the last \(self.failuresInARow) failed; trying again"
    }

    /// A circuit as the user sees it; nil if it is gone.
    func describe(_ key: CircuitPool.CircuitKey) -> ClientStatus.Circuit? { self.circuits[key].map(self.describe) }

    private func describe(_ circuit: ClientCircuit) -> ClientStatus.Circuit {
        var hops = circuit.path.map(ClientStatus.Hop.init)
        var before = circuit.startedAt
        for (index, exchange) in circuit.exchanges.enumerated() where hops.indices.contains(index) {
            guard let answeredAt = exchange.answeredAt else { break }
            hops[index].buildSeconds = (answeredAt - before).seconds
            hops[index].roundTripSeconds = (answeredAt - exchange.askedAt).seconds
            before = answeredAt
        }
        if let last = hops.indices.last, let measured = circuit.smoothedRTT {
            hops[last].roundTripSeconds = measured.seconds
        }
        return ClientStatus.Circuit(
            state: self.state(of: circuit), hops: hops, ageSeconds: (self.eventLoop.now - circuit.startedAt).seconds,
            buildSeconds: circuit.isReady ? (before - circuit.startedAt).seconds : nil,
            roundTripSeconds: hops.last?.roundTripSeconds, streamCount: circuit.streamCount,
            carriedStreamCount: circuit.carriedStreamCount,
            destinations: self.configuration.revealsDestinations ? self.destinations(on: circuit.key) : nil)
    }

    private func state(of circuit: ClientCircuit) -> ClientStatus.Circuit.State {
        switch self.pool.phase(of: circuit.key) {
        case .building: .building
        case .open: .open
        case .retiring, nil: .retiring
        }
    }
}

extension ClientStatus.Hop {
    init(_ router: ConsensusRouter) {
        self.init(
            fingerprint: router.identity.base64URL, nickname: router.nickname,
            address: router.addresses.first?.description ?? "", country: router.country)
    }
}
