/// Counts open connections, in all and by address, so that nobody takes them all.
struct ConnectionLedger: Sendable {
    private let limits: ConnectionLimits
    private var total = 0
    private var byAddress: [String: Int] = [:]

    init(limits: ConnectionLimits) { self.limits = limits }

    /// Count one more, or say that there are too many already.
    mutating func admit(_ address: String) -> Bool {
        let fromThere = self.byAddress[address, default: 0]
        guard self.total < self.limits.total, fromThere < self.limits.perAddress else { return false }
        self.total += 1
        self.byAddress[address] = fromThere + 1
        return true
    }

    mutating func release(_ address: String) {
        guard let count = self.byAddress[address] else { return }
        self.total -= 1
        self.byAddress[address] = count > 1 ? count - 1 : nil
    }
}

/// What one server bears. Exits bring the connections of many proxies from one address.
package struct ConnectionLimits: Equatable, Sendable {
    package var total = 2048
    package var perAddress = 512
    /// Requests a second and connection, and how many at once.
    package var requestsPerSecond = 10
    package var requestBurst = 40
    package var helloSeconds: UInt64 = 24 * 3600

    package init() {}
}
