package import HostilePeers
package import OnionCrypto
package import OnionDirectory

/// What an attack is played against: a network, and what stands around it.
package struct Arena: Sendable {
    package let network: TargetNetwork
    /// The honest routers as they are listed, at least three.
    package let routers: [ConsensusRouter]
    /// The network's root of trust: for what a dishonest directory can do.
    package let directorySecret: Ed25519PrivateKey
    /// The user whose service must not suffer; nil where there is no proxy.
    package let user: HonestUser?
    /// Starts more daemons; nil where everything is in one process.
    package let daemons: DaemonStarter?
    /// Of the bits of a cell behind its tag, each how-many-th is changed.
    package let payloadStride: Int

    package init(
        network: TargetNetwork, directorySecret: Ed25519PrivateKey, user: HonestUser? = nil,
        daemons: DaemonStarter? = nil, payloadStride: Int = 1
    ) async throws {
        self.network = network
        self.routers = try await network.honest()
        self.directorySecret = directorySecret
        self.user = user
        self.daemons = daemons
        self.payloadStride = payloadStride
    }

    func needDaemons() throws -> DaemonStarter {
        guard let daemons else { throw PeerError.noService("this attack needs daemons of its own") }
        return daemons
    }

    func needUser() throws -> HonestUser {
        guard let user else { throw PeerError.noService("this attack needs a proxy") }
        return user
    }
}

/// Do something `count` times, `width` of them at once; returns what each said was wrong.
func repeatedly(
    _ count: Int, width: Int = 8, _ body: @escaping @Sendable (_ index: Int) async throws -> String?
) async throws -> Trials {
    var trials = Trials()
    try await withThrowingTaskGroup(of: String?.self) { group in
        for index in 0..<count {
            if index >= width, let failure = try await group.next() { trials.add(failure: failure) }
            group.addTask { try await body(index) }
        }
        for try await failure in group { trials.add(failure: failure) }
    }
    return trials
}
