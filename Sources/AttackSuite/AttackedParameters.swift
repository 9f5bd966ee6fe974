package import OnionDirectory

/// The parameters of the network that is attacked: those of a real one, but for what one machine makes necessary.
package enum AttackedParameters {
    /// What a test network raises so that one user can load it, and an attacker must not find raised.
    private static let real: [NetworkParameter] = [
        .allowOneHopBegin, .streamsTotal, .streamsPerCircuit, .beginsPerSecond, .beginBurst, .resolvesPerCircuit,
        .resolvesTotal,
        .circuitsPerClientLink, .createsPerSecond, .createBurst, .handshakeQueuePerLink, .connectionsPerAddress,
        .halfOpenPerAddress, .connectsPerSecond, .connectBurst,
    ]

    /// As `NAME=VALUE`, over those of a test network.
    static let assignments = real.map { "\($0.rawValue)=\($0.definition.default)" }

    package static let all: NetworkParameters = {
        do {
            return try NetworkParameters.testNetwork.setting(assignments)
        } catch {
            preconditionFailure("the table of parameters refuses its own defaults: \(error)")
        }
    }()
}
