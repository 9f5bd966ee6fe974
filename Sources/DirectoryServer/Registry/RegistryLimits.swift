package import NIOCore
import OnionAddress
package import OnionDirectory

/// The registry's numbers: some are network parameters, the others the server's own.
package struct RegistryLimits: Equatable, Sendable {
    package var heartbeatInterval: TimeAmount = .seconds(2)
    package var missedHeartbeats = 3
    /// The longest that a router waits before it tries again to register.
    package var longestBackoff: TimeAmount = .seconds(4)
    /// A test network on one machine allows loopback addresses.
    package var allowsLoopback = false
    /// Routers known at once, listed or not.
    package var routerCount = DirectoryLimits.routerCount
    /// Routers that are probed at once without ever having been proved.
    package var newcomerCount = 256
    /// Of these from one address.
    package var newcomersPerAddress = 16
    /// At least this long between two probes that a router's heartbeats cause.
    package var probeSpacing: TimeAmount = .seconds(1)
    /// A descriptor may be this much ahead of the server's clock, or behind it.
    package var clockToleranceSeconds = DirectoryLimits.clockSkewSeconds
    package var forgetAfterSeconds: UInt64 = 30 * 24 * 3600
    /// A consensus is signed anew at least this often.
    package var resignSeconds: UInt64 = 1800
    package var freshSeconds: UInt64 = 3600
    package var validSeconds: UInt64 = 3 * 3600
    /// At least this long between two revisions, so that many changes at once make few of them.
    package var publicationSpacing: TimeAmount = .milliseconds(200)
    /// Changes of one router that are published at once; after these one in so long, or it would make everybody fetch the list
    /// again and again.
    package var changeBurst = 8
    package var changeSpacing: TimeAmount = .seconds(10)

    /// Take those that are network parameters from there, and the defaults for the rest.
    package init(_ parameters: NetworkParameters = NetworkParameters()) {
        self.heartbeatInterval = .milliseconds(Int64(parameters[.heartbeatInterval]))
        self.missedHeartbeats = parameters[.missedHeartbeats]
        self.longestBackoff = .milliseconds(Int64(parameters[.registrationBackoffMaximum]))
        self.allowsLoopback = parameters.allows(.allowLoopback)
        if self.allowsLoopback { self.newcomersPerAddress = self.newcomerCount }
        self.resignSeconds = UInt64(clamping: parameters[.consensusResign])
        self.freshSeconds = UInt64(clamping: parameters[.consensusFresh])
        self.validSeconds = UInt64(clamping: parameters[.consensusValid])
    }

    /// After so long without a sign of life a router is out: the missed beats, and a quarter of one for the way.
    package var silenceAllowed: TimeAmount {
        self.heartbeatInterval * self.missedHeartbeats + .nanoseconds(self.heartbeatInterval.nanoseconds / 4)
    }

    /// How long routers are held when the fault is likely the server's own.
    package var grace: TimeAmount { self.heartbeatInterval * 3 + self.longestBackoff }

    func allowsAddress(_ address: IPAddress) -> Bool {
        SpecialPurpose.isPublicInternet(address) || (self.allowsLoopback && SpecialPurpose.isLoopback(address))
    }
}
