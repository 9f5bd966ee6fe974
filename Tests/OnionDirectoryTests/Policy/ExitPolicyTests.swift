import NIOCore
import OnionAddress
import Testing

@testable import OnionDirectory

@Suite("Exit policy")
struct ExitPolicyTests {
    @Test(
        "the standard policy rejects hostile targets",
        arguments: [
            "127.0.0.1:80", "127.1.2.3:443", "[::1]:80", "[::]:80", "0.0.0.0:80", "[::ffff:127.0.0.1]:80",
            "[::ffff:7f00:1]:80",
            "[::127.0.0.1]:80", "[64:ff9b::7f00:1]:80", "[2002:7f00:1::]:80", "[2001:0:1:2::3]:80", "10.1.2.3:80",
            "172.16.0.1:80", "192.168.1.1:80", "100.64.0.1:80", "169.254.169.254:80", "[fd00:ec2::254]:80",
            "[fe80::1]:80",
            "[::ffff:169.254.169.254]:80", "168.63.129.16:80", "[::ffff:168.63.129.16]:80", "192.0.0.192:80",
            "224.0.0.1:80",
            "255.255.255.255:80", "240.0.0.1:80", "[ff02::1]:80", "[fc00::1]:80", "[fec0::1]:80", "8.8.8.8:25",
            "[2606:4700::1111]:25", "8.8.8.8:0", "[::ffff:8.8.8.8]:443",
        ])
    func hostile(text: String) {
        #expect(!ExitPolicy.standard.allows(Make.endpoint(text)))
    }

    @Test(
        "the standard policy allows the public Internet",
        arguments: ["8.8.8.8:443", "1.1.1.1:1", "[2606:4700::1111]:65535"])
    func ordinary(text: String) {
        #expect(ExitPolicy.standard.allows(Make.endpoint(text)))
        #expect(!ExitPolicy.rejectAll.allows(Make.endpoint(text)))
    }

    @Test(
        "first match wins, no match rejects, special-purpose addresses open only by name",
        arguments: [
            (["accept *:*"], "8.8.8.8:25", true),
            (["accept *:*"], "127.0.0.1:80", false),
            (["accept 0.0.0.0/0:*"], "127.0.0.1:80", false),
            (["accept [::]/0:*"], "[::1]:80", false),
            (["accept 96.0.0.0/3:*"], "127.0.0.1:80", false),
            (["accept 127.0.0.0/8:*"], "127.0.0.1:80", true),
            (["accept 127.0.0.0/8:*"], "[::ffff:127.0.0.1]:80", false),
            (["accept [::ffff:0:0]/96:*"], "[::ffff:127.0.0.1]:80", false),
            (["accept [::ffff:0:0]/96:*", "accept *:*"], "[::ffff:8.8.8.8]:80", true),
            (["accept [::1]:8000-8080"], "[::1]:8080", true),
            (["accept [::1]:8000-8080"], "[::1]:8081", false),
            (["accept *:443"], "8.8.8.8:443", true),
            (["accept *:443"], "8.8.8.8:80", false),
            (["reject 8.8.0.0/16:*", "accept *:*"], "8.8.8.8:443", false),
            (["reject 8.8.0.0/16:*", "accept *:*"], "8.9.8.8:443", true),
            (["accept 8.8.8.8:443", "reject 8.0.0.0/8:*", "accept *:*"], "8.8.8.8:443", true),
            (["reject [2a00::]/16:*", "accept *:*"], "[2a00:1::1]:443", false),
            (["reject 8.8.8.8:*", "accept [::ffff:8.8.8.8]:*"], "[::ffff:8.8.8.8]:80", false),
            ([], "8.8.8.8:443", false),
        ])
    func matching(rules: [String], target: String, allowed: Bool) throws {
        #expect(try ExitPolicy(parsing: rules).allows(Make.endpoint(target)) == allowed)
    }

    @Test("a test network's rules in front of the standard ones open loopback alone") func testNetwork() throws {
        let policy = try #require(
            try ExitPolicy(parsing: ["accept 127.0.0.0/8:*", "accept [::1]:*"]).followed(by: .standard))
        #expect(policy.allows(Make.endpoint("127.0.0.1:8080")))
        #expect(policy.allows(Make.endpoint("[::1]:8080")))
        #expect(policy.allows(Make.endpoint("8.8.8.8:443")))
        #expect(!policy.allows(Make.endpoint("10.0.0.1:443")))
        #expect(!policy.allows(Make.endpoint("169.254.169.254:80")))
        #expect(!policy.allows(Make.endpoint("8.8.8.8:0")))
    }

    @Test(
        "says what it may allow at a port",
        arguments: [
            (["accept *:443"], 443, true), (["accept *:443"], 80, false), (["reject *:25", "accept *:*"], 25, false),
            (["reject *:25", "accept *:*"], 26, true), (["reject 8.0.0.0/8:*", "accept *:*"], 80, true),
            (["accept 8.8.8.8:53", "reject *:*"], 53, true), ([], 80, false), (["accept *:*"], 0, false),
        ] as [([String], UInt16, Bool)])
    func mayAllow(rules: [String], port: UInt16, expected: Bool) throws {
        let policy = try ExitPolicy(parsing: rules)
        #expect(policy.mayAllow(port: port) == expected)
        #expect(policy.mayAllowAnything == !rules.isEmpty)
    }

    @Test("a policy whose accepts are all behind rejects allows nothing") func nothing() throws {
        #expect(try !ExitPolicy(parsing: ["reject *:*", "accept *:*"]).mayAllowAnything)
        #expect(try ExitPolicy(parsing: ["reject *:1-65534", "accept *:*"]).mayAllowAnything)
        #expect(try !ExitPolicy(parsing: ["reject *:1-65535", "accept *:9"]).mayAllowAnything)
        #expect(ExitPolicy.standard.mayAllowAnything)
        #expect(!ExitPolicy.rejectAll.mayAllowAnything)
    }

    @Test(
        "rules print as they are written",
        arguments: [
            "accept *:*", "reject *:25", "accept 192.0.2.0/24:80-443", "reject [2001:db8::]/32:*", "accept [::1]:1",
            "reject 10.0.0.1:*", "accept 0.0.0.0/0:65535", "accept [::]/0:*",
        ])
    func text(rule: String) throws {
        #expect(try #require(ExitRule(rule)).description == rule)
    }

    @Test(
        "other text is no rule",
        arguments: [
            "", "accept", "accept *", "accept*:80", "allow *:80", "Accept *:80", "accept *:80 now", "accept :80",
            "accept *:",
            "accept *:0", "accept *:0-10", "accept *:65536", "accept *:10-9", "accept *:1-2-3", "accept *:-5",
            "accept *:5-",
            "accept *:+5", "accept *:08", "accept *:http", "accept 10.0.0.1/8:*", "accept 10.0.0.0/33:*",
            "accept 10.0.0.0/:*",
            "accept 10:*", "accept 127.1:*", "accept ::1:80", "accept 2001:db8::/32:*", "accept [10.0.0.0]/8:*",
            "accept [::1:80", "accept [::1/128]x:80", "accept **:80", "accept localhost:80", "accept [*]:80",
            "accept \u{661}0.0.0.1:80",
        ])
    func badText(rule: String) {
        #expect(ExitRule(rule) == nil)
    }

    @Test("all bad rules are named at once") func errors() throws {
        #expect(throws: ExitPolicyError.malformed(["a", "c"])) { try ExitPolicy(parsing: ["a", "accept *:1", "c"]) }
        let limit = DirectoryLimits.exitRuleCount
        #expect(throws: ExitPolicyError.tooManyRules(limit + 1)) {
            try ExitPolicy(parsing: Array(repeating: "accept *:1", count: limit + 1))
        }
        let full = try ExitPolicy(parsing: Array(repeating: "accept *:1", count: limit))
        #expect(full.followed(by: .standard) == nil)
        #expect(full.followed(by: .rejectAll) == full)
    }

    @Test("goes over the wire") func wire() throws {
        let policy = try ExitPolicy(parsing: [
            "accept 192.0.2.128/25:80-443", "reject [2001:db8::]/33:*", "accept [::1]:22", "reject 0.0.0.0/0:1",
            "accept *:*",
        ])
        var buffer = ByteBuffer()
        policy.write(to: &buffer)
        var copy = buffer
        #expect(try ExitPolicy(from: &copy) == policy)
        for count in 0..<buffer.readableBytes {
            var part = try #require(buffer.getSlice(at: 0, length: count))
            #expect(throws: DirectoryError.self) { try ExitPolicy(from: &part) }
        }
    }

    @Test(
        "other bytes are refused",
        arguments: [
            ([1, 2, 0, 0, 1, 0, 1], .invalidField(.exitPolicy)),  // action
            ([1, 1, 5, 0, 1, 0, 1], .invalidField(.exitPolicy)),  // family
            ([1, 1, 4, 33, 1, 1, 1, 1, 1, 0, 1, 0, 1], .invalidField(.exitPolicy)),  // bits
            ([1, 1, 6, 129] + Array(repeating: 1, count: 17) + [0, 1, 0, 1], .invalidField(.exitPolicy)),
            ([1, 1, 4, 7, 11, 0, 1, 0, 1], .notCanonical(.exitPolicy)),  // a bit after the prefix
            ([1, 1, 0, 0, 0, 0, 1], .invalidField(.port)),  // port 0
            ([1, 1, 0, 0, 2, 0, 1], .invalidField(.port)),  // ports backwards
            ([33], .limitExceeded(.exitPolicy, have: 33, limit: 32)),
        ] as [([UInt8], DirectoryError)])
    func badBytes(bytes: [UInt8], error: DirectoryError) {
        var buffer = ByteBuffer(bytes: bytes)
        #expect(throws: error) { try ExitPolicy(from: &buffer) }
    }
}
