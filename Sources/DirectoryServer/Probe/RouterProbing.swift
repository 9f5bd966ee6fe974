package import OnionDirectory

/// Finds out whether a router answers at the address it advertises, with the keys it names.
package protocol RouterProbing: Sendable {
    /// Connect to exactly the advertised address and complete a circuit handshake.
    ///
    /// Must return within a bounded time, and soon after cancellation.
    ///
    func probe(_ descriptor: RouterDescriptor) async -> ProbeOutcome
}
