import NIOCore
import OnionAddress
import OnionCrypto
import OnionDirectory

extension ClientCore {
    /// What the client is doing, for its user's eyes.
    func status() -> ClientStatus {
        let now = NIODeadline.now()
        let circuits = self.pool.circuitKeys.compactMap { self.circuits[$0] }
        return ClientStatus(
            progress: self.board.current,
            exits: (self.consensus?.routers ?? []).filter { $0.flags.contains(.exit) }.map(ClientStatus.Hop.init),
            consensus: self.consensus.map {
                ClientStatus.Consensus(
                    revision: $0.revision, routerCount: $0.routers.count, validUntil: $0.validUntil)
            },
            guard: self.guardInUse.map(ClientStatus.Hop.init),
            circuits: circuits.map { circuit in
                ClientStatus.Circuit(
                    state: self.state(of: circuit), hops: circuit.path.map(ClientStatus.Hop.init),
                    ageSeconds: Double((now - circuit.startedAt).nanoseconds) / 1e9, streamCount: circuit.streamCount)
            },
            builtCircuitCount: self.builtCount, failedCircuitCount: self.failedCount,
            openStreamCount: circuits.reduce(0) { $0 + $1.streamCount })
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
