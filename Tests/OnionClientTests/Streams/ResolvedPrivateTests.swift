import NIOCore
import OnionAddress
import OnionCells
import Testing

@testable import OnionClient

@Suite("Answers that lead back to the user's own network", .timeLimit(.minutes(1)))
struct ResolvedPrivateTests {
    private static func address(_ text: String) throws -> Resolved.Answer {
        Resolved.Answer(.address(try #require(IPAddress(text))), ttlSeconds: 60)
    }

    @Test("a program is told of none, in a network that is no test's")
    func lookUps() async throws {
        let (open, own) = (try Self.address("1.2.3.4"), try ["127.0.0.1", "10.0.0.1", "192.168.1.1"].map(Self.address))
        try await withClient(nil, ["allow-loopback=0"]) { client in
            let names = ["private.test", "mixed.test", "name.test"]
            var resolved: [Resolved] = []
            for name in names { resolved.append(try await client.resolve(name).get()) }
            #expect(resolved == [.failed(.noSuchName), .answers([open]), .answers([open])])
        }
        try await withClient { client in
            let resolved = try await client.resolve("private.test").get()
            #expect(resolved == .answers(own))
        }
    }

    @Test(
        "what is not the public Internet is passed over, in whatever form",
        arguments: [
            "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "::1",
            "fe80::1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1",
        ])
    func special(text: String) throws {
        let special = try Self.address(text)
        let (open, name) = (try Self.address("2600::1"), Resolved.Answer(.name("a.test"), ttlSeconds: 1))
        let resolved = Resolved.answers([special, open, name])
        #expect(resolved.withoutPrivateAddresses(allowsLoopback: false) == .answers([open, name]))
        #expect(resolved.withoutPrivateAddresses(allowsLoopback: true) == resolved)
        #expect(Resolved.answers([special]).withoutPrivateAddresses(allowsLoopback: false) == .failed(.noSuchName))
    }

    @Test("an answer that there is none stays as it is")
    func failed() {
        #expect(
            Resolved.failed(.resolveFailed).withoutPrivateAddresses(allowsLoopback: false) == .failed(.resolveFailed))
    }
}
