import NIOCore
public import OnionAddress

/// Where an exit is willing to connect to: rules in order, the first match wins, and what matches none is rejected.
///
/// Apply it to the *resolved* address, and connect to that very address.
///
///     offset  size  field
///     0       1     number of rules, at most 32
///     1       …     rules, each:
///                     1  action: 0 reject, 1 accept
///                     1  family: 0 any, 4, 6
///                     1  bits of the prefix; only for 4 and 6
///                     …  the prefix's first ceil(bits / 8) bytes, bits after the prefix zero; only for 4 and 6
///                     2  first port, at least 1
///                     2  last port
///
/// - Source: DESIGN §11, §12
public struct ExitPolicy: Hashable, Sendable {
    public let rules: [ExitRule]

    /// Nothing is allowed: the OR is no exit.
    public static let rejectAll = ExitPolicy(checked: [])
    /// The public Internet except port 25. Special-purpose addresses stay closed, see ``ExitRule``.
    public static let standard = ExitPolicy(checked: [
        ExitRule(.reject, nil, checked: 25...25), ExitRule(.accept, nil, checked: ExitRule.allPorts),
    ])

    /// Make a policy; nil when there are more than ``DirectoryLimits/exitRuleCount`` rules.
    public init?(rules: [ExitRule]) {
        guard rules.count <= DirectoryLimits.exitRuleCount else { return nil }
        self.init(checked: rules)
    }

    private init(checked rules: [ExitRule]) { self.rules = rules }

    /// Parse rules, as given one by one on the command line. They replace the standard policy; use ``followed(by:)`` to keep it.
    ///
    /// - Throws: ``ExitPolicyError`` with every rule that is wrong.
    public init(parsing texts: [String]) throws(ExitPolicyError) {
        var rules: [ExitRule] = []
        var malformed: [String] = []
        for text in texts {
            if let rule = ExitRule(text) { rules.append(rule) } else { malformed.append(text) }
        }
        guard malformed.isEmpty else { throw .malformed(malformed) }
        guard rules.count <= DirectoryLimits.exitRuleCount else { throw .tooManyRules(rules.count) }
        self.init(checked: rules)
    }

    /// Return this policy's rules with those of `other` behind them; nil when that is too many.
    public func followed(by other: ExitPolicy) -> ExitPolicy? { ExitPolicy(rules: self.rules + other.rules) }

    /// Decide about a resolved destination. An IPv6 address that embeds an IPv4 one is allowed only if both are.
    public func allows(_ endpoint: Endpoint) -> Bool {
        guard self.accepts(endpoint.address, port: endpoint.port) else { return false }
        guard let inner = endpoint.address.embeddedIPv4 else { return true }
        return self.accepts(inner, port: endpoint.port)
    }

    private func accepts(_ address: IPAddress, port: UInt16) -> Bool {
        self.rules.first { $0.matches(address, port: port) }?.action == .accept
    }

    /// Whether some address may be allowed at `port`; what a client knows before the name is resolved.
    public func mayAllow(port: UInt16) -> Bool {
        for rule in self.rules where rule.ports.contains(port) {
            switch rule.action {
            case .accept: return true
            case .reject: if rule.prefix == nil { return false }
            }
        }
        return false
    }

    /// Ports between which the policy's answer for one address does not change: that for any port is that for the highest of
    /// these that is not above it.
    package var decisivePorts: Set<UInt16> {
        Set([1] + self.rules.flatMap { [$0.ports.lowerBound, $0.ports.upperBound &+ 1] }).subtracting([0])
    }

    /// Whether any destination at all may be allowed.
    public var mayAllowAnything: Bool {
        // What is allowed changes only where a rule's ports begin, or just after they end.
        self.rules.contains { rule in
            self.mayAllow(port: rule.ports.lowerBound) || self.mayAllow(port: rule.ports.upperBound &+ 1)
        }
    }
}

extension ExitPolicy: CustomStringConvertible {
    public var description: String {
        self.rules.isEmpty ? "reject *:*" : self.rules.map(\.description).joined(separator: ", ")
    }
}

/// Why rules are no exit policy.
public enum ExitPolicyError: Error, Equatable, Sendable, CustomStringConvertible {
    /// Each of these texts is no rule.
    case malformed([String])
    case tooManyRules(Int)

    public var description: String {
        switch self {
        case .malformed(let texts):
            texts.map { "exit policy rule \"\($0)\"" }.joined(separator: ", ")
                + ": write accept|reject ADDRESS[/BITS]|*:PORT[-PORT]|*, for example \"accept *:443\" or \"reject [2001:db8::]/32:*\""
        case .tooManyRules(let count):
            "\(count) exit policy rules, and the limit is \(DirectoryLimits.exitRuleCount); merge some of them"
        }
    }
}
