import ArgumentParser
import OnionAddress
import OnionDirectory
import Testing
import ThorDaemon

@testable import thor_router

@Suite("What a router opens")
struct ExitOptionTests {
    private static func policy(_ options: [String]) throws -> ExitPolicy {
        let arguments = ["ds.example.org", "directory.pub", "router.key", "--nickname", "amber"]
        return try ThorRouter.parse(arguments + options).policy()
    }

    @Test(
        "an operator's rules come before the usual ones, and --no-exit opens nothing",
        arguments: [
            ([], "8.8.8.8:443", true), ([], "8.8.8.8:25", false), ([], "10.0.0.1:443", false),
            (["--no-exit"], "8.8.8.8:443", false),
            (["--exit-policy", "reject 8.8.8.0/24:*"], "8.8.8.8:443", false),
            (["--exit-policy", "reject 8.8.8.0/24:*"], "8.8.4.4:443", true),
            (["--exit-policy", "accept *:25"], "8.8.8.8:25", true),
            (["--exit-policy", "reject *:*", "--exit-policy", "accept *:443"], "8.8.8.8:443", false),
        ] as [([String], String, Bool)])
    func policies(options: [String], destination: String, isOpen: Bool) throws {
        #expect(try Self.policy(options).allows(try #require(Endpoint(destination))) == isOpen)
    }

    @Test("--no-exit and rules exclude each other") func both() {
        #expect(throws: OperatorError.self) { try Self.policy(["--no-exit", "--exit-policy", "accept *:443"]) }
    }
}
