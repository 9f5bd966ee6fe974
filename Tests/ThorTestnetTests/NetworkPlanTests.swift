import OnionDirectory
import Testing

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
}
