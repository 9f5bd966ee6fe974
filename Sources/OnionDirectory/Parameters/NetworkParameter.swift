/// What the directory sets for the whole network: the one table of names, defaults, ranges and units.
///
/// - Source: DESIGN §7 (limits), §9 (heartbeats, lifetimes), §10 (circuits)
public enum NetworkParameter: String, CaseIterable, Hashable, Sendable {
    // Congestion window and Vegas, DESIGN §7; the constants are those of Tor proposal 324 in 2 KiB cells (a quarter).
    case ccWindowInitial = "cc-window-initial"
    case ccWindowMinimum = "cc-window-minimum"
    case ccWindowMaximum = "cc-window-maximum"
    case ccVegasAlpha = "cc-vegas-alpha"
    case ccVegasBeta = "cc-vegas-beta"
    case ccVegasGamma = "cc-vegas-gamma"
    case ccVegasDelta = "cc-vegas-delta"
    case ccSlowStartCap = "cc-slow-start-cap"
    case ccSlowStartMaximum = "cc-slow-start-maximum"
    case ccQueuePercent = "cc-queue-percent"
    case ccQueueDelay = "cc-queue-delay-us"

    // Limits at an OR
    case streamsTotal = "streams-total"
    case streamsPerCircuit = "streams-per-circuit"
    case beginsPerSecond = "begins-per-second"
    case beginBurst = "begin-burst"
    case resolvesPerCircuit = "resolves-per-circuit"
    case resolvesTotal = "resolves-total"
    case connectionsTotal = "connections-total"
    case connectionsPerAddress = "connections-per-address"
    case halfOpenPerAddress = "half-open-per-address"
    case connectsPerSecond = "connects-per-second"
    case connectBurst = "connect-burst"
    case circuitsTotal = "circuits-total"
    case circuitsPerClientLink = "circuits-per-client-link"
    case circuitsPerRouterLink = "circuits-per-router-link"
    case createsPerSecond = "creates-per-second"
    case createBurst = "create-burst"
    case handshakeQueue = "handshake-queue"
    case handshakeQueuePerLink = "handshake-queue-per-link"
    case handshakeWait = "handshake-wait-ms"

    // Bytes that may be queued
    case optimisticDataLimit = "optimistic-data-limit"
    case streamBufferLimit = "stream-buffer-limit"
    case streamBufferResume = "stream-buffer-resume"
    case linkQueueLimit = "link-queue-limit"
    case processQueueLimit = "process-queue-limit"

    // Times
    case heartbeatInterval = "heartbeat-interval-ms"
    case missedHeartbeats = "missed-heartbeats"
    case registrationBackoffMaximum = "registration-backoff-maximum-ms"
    case consensusFresh = "consensus-fresh-s"
    case consensusValid = "consensus-valid-s"
    case consensusResign = "consensus-resign-s"
    case consensusWait = "consensus-wait-s"
    case ticketLifetime = "ticket-lifetime-s"
    case onionKeyLifetime = "onion-key-lifetime-s"
    case onionKeyOverlap = "onion-key-overlap-s"
    case circuitLifetime = "circuit-lifetime-s"
    case circuitBuildTimeout = "circuit-build-timeout-ms"
    case exitConnectTimeout = "exit-connect-timeout-ms"
    case streamIdle = "stream-idle-s"
    case linkIdle = "link-idle-s"
    case linkPingAfter = "link-ping-after-ms"
    case linkSilence = "link-silence-ms"
    case extendRefreshInterval = "extend-refresh-interval-s"
    case guardSampleSize = "guard-sample-size"

    // What only a test network allows
    case allowLoopback = "allow-loopback"
    case allowSameSubnet = "allow-same-subnet"
    case allowOneHopBegin = "allow-one-hop-begin"

    /// One line of the table.
    public struct Definition: Sendable {
        public let `default`: Int
        public let range: ClosedRange<Int>
        public let unit: String
    }

    public var definition: Definition {
        func row(_ value: Int, _ range: ClosedRange<Int>, _ unit: String) -> Definition {
            Definition(default: value, range: range, unit: unit)
        }
        let window = NetworkParameters.windowRange
        return switch self {
        case .ccWindowInitial: row(256, window, "cells")
        case .ccWindowMinimum: row(32, window, "cells")
        case .ccWindowMaximum: row(16_384, window, "cells")
        case .ccVegasAlpha: row(46, 1...16_384, "cells")
        case .ccVegasBeta: row(62, 1...16_384, "cells")
        case .ccVegasGamma: row(100, 1...16_384, "cells")
        case .ccVegasDelta: row(100, 1...16_384, "cells")
        case .ccSlowStartCap: row(16_384, 32...16_384, "cells")
        case .ccSlowStartMaximum: row(16_384, 32...16_384, "cells")
        case .ccQueuePercent: row(12, 0...100, "% of the path")
        case .ccQueueDelay: row(3_000, 0...1_000_000, "µs")

        case .streamsTotal: row(16_384, 1...1_000_000, "streams")
        case .streamsPerCircuit: row(256, 1...65_535, "streams")
        case .beginsPerSecond: row(100, 1...1_000_000, "a second and circuit")
        case .beginBurst: row(300, 1...1_000_000, "streams")
        case .resolvesPerCircuit: row(256, 1...65_535, "look-ups at once")
        case .resolvesTotal: row(4_096, 1...1_000_000, "look-ups at once")
        case .connectionsTotal: row(8_192, 16...1_000_000, "connections")
        case .connectionsPerAddress: row(128, 1...1_000_000, "connections")
        case .halfOpenPerAddress: row(64, 1...1_000_000, "connections")
        case .connectsPerSecond: row(10, 1...1_000_000, "a second and address")
        case .connectBurst: row(128, 1...1_000_000, "connections")
        case .circuitsTotal: row(32_768, 1...1_000_000, "circuits")
        case .circuitsPerClientLink: row(256, 1...1_000_000, "circuits")
        case .circuitsPerRouterLink: row(16_384, 1...1_000_000, "circuits")
        case .createsPerSecond: row(30, 1...1_000_000, "a second and client address")
        case .createBurst: row(300, 1...1_000_000, "circuits")
        case .handshakeQueue: row(1_024, 1...1_000_000, "handshakes")
        case .handshakeQueuePerLink: row(64, 1...1_000_000, "handshakes")
        case .handshakeWait: row(1_500, 10...60_000, "ms")

        case .optimisticDataLimit: row(65_536, 0...16_777_216, "bytes a stream")
        case .streamBufferLimit: row(524_288, 16_384...67_108_864, "bytes")
        case .streamBufferResume: row(131_072, 0...67_108_864, "bytes")
        case .linkQueueLimit: row(67_108_864, 1_048_576...1 << 40, "bytes")
        case .processQueueLimit: row(268_435_456, 4_194_304...1 << 40, "bytes")

        case .heartbeatInterval: row(2_000, 50...600_000, "ms")
        case .missedHeartbeats: row(3, 1...100, "heartbeats")
        case .registrationBackoffMaximum: row(4_000, 50...600_000, "ms")
        case .consensusFresh: row(3_600, 2...1_000_000, "s")
        case .consensusValid: row(10_800, 10...1_000_000, "s")
        case .consensusResign: row(1_800, 1...1_000_000, "s")
        case .consensusWait: row(30, 1...300, "s")
        case .ticketLifetime: row(86_400, 60...10_000_000, "s")
        case .onionKeyLifetime: row(604_800, 60...100_000_000, "s")
        case .onionKeyOverlap: row(86_400, 10...100_000_000, "s")
        case .circuitLifetime: row(600, 1...1_000_000, "s")
        case .circuitBuildTimeout: row(10_000, 100...600_000, "ms")
        case .exitConnectTimeout: row(10_000, 100...600_000, "ms")
        case .streamIdle: row(7_200, 10...1_000_000, "s")
        case .linkIdle: row(60, 1...1_000_000, "s")
        case .linkPingAfter: row(1_000, 10...600_000, "ms")
        case .linkSilence: row(2_500, 20...600_000, "ms")
        case .extendRefreshInterval: row(10, 1...3_600, "s")
        case .guardSampleSize: row(5, 1...100, "routers")

        case .allowLoopback: row(0, 0...1, "0 or 1")
        case .allowSameSubnet: row(0, 0...1, "0 or 1")
        case .allowOneHopBegin: row(0, 0...1, "0 or 1")
        }
    }
}
