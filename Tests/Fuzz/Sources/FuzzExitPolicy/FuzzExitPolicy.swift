import OnionAddress
import OnionDirectory

/// Exit rules, network parameters and addresses as people write them, one a line. What is accepted prints as itself.
enum FuzzExitPolicy {
    /// Lines that are looked at: more than a policy can have.
    private static let lineLimit = DirectoryLimits.exitRuleCount + 2

    /// Returns whether the text is a policy, or every line of it an address or parameter.
    static func feed(_ bytes: [UInt8]) -> Bool {
        let text = String(decoding: bytes, as: UTF8.self)
        let lines = text.split(separator: "\n", maxSplits: Self.lineLimit).prefix(Self.lineLimit).map(String.init)
        guard !lines.isEmpty else { return false }
        let policy = try? ExitPolicy(parsing: lines)
        if let policy { Self.examine(policy) }

        var parameters = NetworkParameters()
        var refusedCount = 0
        for line in lines {
            let address = IPAddress(line)
            let endpoint = Endpoint(line)
            let prefix = IPPrefix(line)
            if let address {
                precondition(IPAddress("\(address)") == address, "an address prints as another")
                _ = SpecialPurpose.isPublicInternet(address)
            }
            if let endpoint {
                precondition(Endpoint("\(endpoint)") == endpoint, "an endpoint prints as another")
            }
            if let prefix { precondition(IPPrefix("\(prefix)") == prefix, "a prefix prints as another") }
            // A refusal names all parameters, which takes longer than all else: one will do.
            var isSet = false
            if refusedCount == 0 {
                isSet = (try? parameters.set(parsing: line)) != nil
            }
            if !isSet, address == nil, endpoint == nil, prefix == nil { refusedCount += 1 }
        }
        for parameter in NetworkParameter.allCases where parameters != NetworkParameters() {
            precondition(
                parameter.definition.range.contains(parameters[parameter]), "a parameter is out of its range")
        }
        return policy != nil || refusedCount == 0
    }

    private static func examine(_ policy: ExitPolicy) {
        precondition(policy.rules.count <= DirectoryLimits.exitRuleCount, "a policy has too many rules")
        let again = try? ExitPolicy(parsing: policy.rules.map(\.description))
        precondition(again == policy, "a policy prints as another")
        for endpoint in Self.endpoints where policy.allows(endpoint) {
            precondition(policy.mayAllow(port: endpoint.port), "a policy allows what it may not")
            precondition(policy.mayAllowAnything, "a policy that allows nothing allows something")
        }
    }

    private static let endpoints = ["5.6.7.8:443", "127.0.0.1:80", "[2a00:1::1]:25", "[::ffff:10.0.0.1]:65535"]
        .compactMap { Endpoint($0) }

    static var seeds: [[UInt8]] {
        [
            "accept *:443", "reject *:25\naccept *:*", "reject 192.0.2.0/24:*\naccept [2001:db8::]/32:80-443",
            "accept 127.0.0.0/8:1-65535\nreject [::1]:*\naccept 0.0.0.0/0:*\naccept [::]/0:*",
            "1.2.3.4\n2001:db8::1\n::ffff:1.2.3.4\n1:2:3:4:5:6:7:8\n::\n1::", "1.2.3.4:443\n[2001:db8::1]:9001",
            "10.0.0.0/8\nfe80::/10\n0.0.0.0/0\n::/0", "cc-window-initial=512\nallow-loopback=1\nstream-idle-s=10",
            "link-queue-limit=67108864\n1.1.1.1\ncc-vegas-alpha=1",
        ].map { Array($0.utf8) }
    }
}
