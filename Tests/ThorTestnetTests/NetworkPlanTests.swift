import OnionDirectory
import Testing
import ThorDaemon

@testable import ThorTestnet

@Suite("Plan of a test network")
struct NetworkPlanTests {
    @Test("gives every router a nickname of its own") func nicknames() {
        #expect(Set((0..<100).map(NetworkPlan.nickname)).count == 100)
        #expect((0..<100).map(NetworkPlan.nickname).allSatisfy(RouterDescriptor.isValidNickname))
    }

    @Test("gives every router a loopback source address of its own") func sources() {
        let sources = (0..<100).map(NetworkPlan.exitSource)
        #expect(Set(sources).count == 100 && !sources.contains("127.0.0.1"))
    }

    @Test("puts the first twenty routers in different countries") func countries() {
        #expect(Set((0..<20).map(NetworkPlan.country)).count == 20)
        #expect((0..<100).allSatisfy { RouterDescriptor.isValidCountry(NetworkPlan.country($0)) })
    }

    @Test("sets the network parameters that it is given, over those of a test network") func parameters() throws {
        let arguments = try self.plan(["heartbeat-interval-ms=500", "allow-loopback=0"]).directoryArguments()
        #expect(arguments.contains("heartbeat-interval-ms=500"))
        #expect(arguments.contains("allow-loopback=0"))
        #expect(arguments.contains("allow-same-subnet=1"))
    }

    @Test("refuses a parameter that does not exist, is out of range, or does not fit with another")
    func parameterRefused() {
        for text in ["nonsense=1", "heartbeat-interval-ms=0", "cc-window-minimum=4096"] {
            #expect(throws: OperatorError.self) { try self.plan([text]) }
        }
    }

    @Test(
        "refuses to listen where others can connect, and advises nothing that thor-testnet does not have",
        arguments: ["0.0.0.0:0", "[::]:0", "192.0.2.1:1080", "9030"])
    func listen(text: String) throws {
        let place = try #require(HostPort(argument: text))
        let error = try #require(throws: OperatorError.self) { try self.plan([], listen: place) }
        #expect(error.status == .usage && !error.advice.contains("--") && error.advice.contains("127.0.0.1"))
        _ = try self.plan([], listen: HostPort(host: "::1", port: 0))
    }

    private func plan(_ parameters: [String], listen: HostPort = HostPort(host: "127.0.0.1", port: 0)) throws
        -> NetworkPlan
    {
        let directory = try NetworkDirectory(path: nil)
        defer { directory.remove() }
        return try NetworkPlan(
            routerCount: 3, proxyListen: listen, logLevel: "info", parameters: parameters, directory: directory)
    }
}
