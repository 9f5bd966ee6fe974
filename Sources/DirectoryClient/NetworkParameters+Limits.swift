import NIOCore
package import OnionCircuits
package import OnionDirectory
package import OnionLink
package import OnionStreams

// What the consensus says, in the terms of the layers that it is for. They do not know the directory.

extension CongestionParameters {
    /// A consensus whose values do not fit together is not accepted, so that the defaults are the last resort only.
    package init(_ parameters: NetworkParameters) {
        do {
            try self.init(
                initialWindow: parameters[.ccWindowInitial], minimumWindow: parameters[.ccWindowMinimum],
                maximumWindow: parameters[.ccWindowMaximum], alpha: parameters[.ccVegasAlpha],
                beta: parameters[.ccVegasBeta], gamma: parameters[.ccVegasGamma], delta: parameters[.ccVegasDelta],
                slowStartCap: parameters[.ccSlowStartCap], slowStartMaximum: parameters[.ccSlowStartMaximum],
                queuePercent: parameters[.ccQueuePercent],
                queueDelay: .microseconds(Int64(parameters[.ccQueueDelay])))
        } catch {
            self = .wideRange
        }
    }
}

extension StreamLimits {
    /// What one cell can bring at most: a body of 2043 bytes without its tag of 16.
    private static let payloadByteCount = 2027
    /// Twice what one read of a link can bring.
    private static let leastWaitingStreamCount = 1024

    package init(_ parameters: NetworkParameters) {
        self.init(
            gate: StreamGate.Limits(
                high: parameters[.streamBufferLimit], low: parameters[.streamBufferResume],
                inFlight: (parameters[.ccWindowMaximum] + LinkLimits.slackCellCount) * Self.payloadByteCount,
                whileOpening: parameters[.optimisticDataLimit]),
            halfClosedIdle: .seconds(Int64(parameters[.streamIdle])),
            waitingStreamCount: max(Self.leastWaitingStreamCount, 4 * parameters[.streamsPerCircuit]))
    }
}

extension LinkLimits {
    /// What a circuit's queue may hold beyond the largest window.
    package static let slackCellCount = 64

    package init(_ parameters: NetworkParameters) {
        self.init(
            queuedCellsPerCircuit: parameters[.ccWindowMaximum] + Self.slackCellCount,
            queuedCellsPerLink: parameters[.linkQueueLimit] / 2048,
            unusedAfter: .seconds(Int64(parameters[.linkIdle])),
            pingAfter: .milliseconds(Int64(parameters[.linkPingAfter])),
            frozenAfter: .milliseconds(Int64(parameters[.linkSilence])))
    }
}
