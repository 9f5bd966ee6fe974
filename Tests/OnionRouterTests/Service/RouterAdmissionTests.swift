import OnionAddress
import OnionDirectory
import Testing

@testable import OnionRouter

@Suite("Router admission")
struct RouterAdmissionTests {
    private static let metrics = RouterMetrics()

    private static func parameters(_ assignments: String...) throws -> NetworkParameters {
        try NetworkParameters().setting(assignments)
    }

    private static func admission(
        _ assignments: String..., nodes: [String] = [], directory: String? = nil, descriptorCount: Int = .max
    ) throws -> RouterAdmission {
        let view = try TestNetwork.view(nodes: nodes, parameters: try NetworkParameters().setting(assignments))
        let admission = RouterAdmission(
            view: view, directory: directory.flatMap { IPAddress($0) }, descriptorCount: descriptorCount,
            metrics: Self.metrics)
        admission.update(view)
        return admission
    }

    private func address(_ text: String) -> IPAddress { IPAddress(text) ?? .v4(0) }

    @Test("an IPv4 address has its connections, and its mapped form no others") func perAddress() throws {
        let admission = try Self.admission("connections-per-address=2", "half-open-per-address=2")
        #expect(admission.admits(self.address("198.51.100.1")))
        #expect(admission.admits(self.address("::ffff:198.51.100.1")))
        #expect(!admission.admits(self.address("198.51.100.1")))
        #expect(admission.admits(self.address("198.51.100.2")))
        #expect(admission.admits(self.address("::ffff:198.51.100.3")))
        admission.connectionClosed(self.address("::ffff:198.51.100.1"))
        #expect(admission.admits(self.address("198.51.100.1")))
    }

    @Test("a /64 of IPv6 is one address") func prefix() throws {
        let admission = try Self.admission("connections-per-address=2", "half-open-per-address=2")
        #expect(admission.admits(self.address("2001:db8:1:2::1")))
        #expect(admission.admits(self.address("2001:db8:1:2:ffff::9")))
        #expect(!admission.admits(self.address("2001:db8:1:2:3::")))
        #expect(admission.admits(self.address("2001:db8:1:3::1")))
    }

    @Test("what is not an open link is half-open") func halfOpen() throws {
        let admission = try Self.admission("half-open-per-address=1")
        let address = self.address("198.51.100.1")
        #expect(admission.admits(address))
        #expect(!admission.admits(address))
        admission.linkOpened(address)
        #expect(admission.admits(address))
        #expect(!admission.admits(address))
        admission.linkClosed(address)
        admission.connectionClosed(address)
        #expect(!admission.admits(address))
    }

    @Test("listed routers and the directory are exempt, and have an eighth of all connections to themselves")
    func exempt() throws {
        let admission = try Self.admission(
            "connections-total=16", "connections-per-address=1", "half-open-per-address=1",
            nodes: ["198.51.100.7:9001"], directory: "198.51.100.8")
        for number in 1...14 {
            let stranger = self.address("203.0.113.\(number)")
            #expect(admission.admits(stranger))
            #expect(!admission.admits(stranger))
        }
        #expect(!admission.admits(self.address("203.0.113.15")))
        #expect(admission.admits(self.address("198.51.100.7")))
        #expect(admission.admits(self.address("198.51.100.8")))
        #expect(!admission.admits(self.address("198.51.100.7")))
    }

    @Test("Creates of one address come from one bucket") func creates() throws {
        let admission = try Self.admission("create-burst=3", "creates-per-second=1")
        let address = self.address("198.51.100.1")
        for _ in 0..<3 { #expect(admission.takesCreate(from: address)) }
        #expect(!admission.takesCreate(from: address))
        #expect(admission.takesCreate(from: self.address("198.51.100.2")))
    }

    @Test("circuits and streams are so many in all, and one more when one has ended") func totals() throws {
        let admission = try Self.admission("circuits-total=2", "streams-total=3")
        for _ in 0..<2 { #expect(admission.takesCircuit()) }
        #expect(!admission.takesCircuit())
        admission.circuitEnded()
        #expect(admission.takesCircuit())
        #expect(!admission.takesCircuit())
        let lent = (0..<3).compactMap { _ in admission.takesStream(streamCount: 1) }
        #expect(lent.count == 3 && admission.takesStream(streamCount: 1) == nil)
        admission.streamEnded(lent[0])
        #expect(admission.takesStream(streamCount: 1) == lent[0])
        #expect(admission.takesStream(streamCount: 1) == nil)
    }

    @Test("peers and destinations have half each of the descriptors that the OR does not need itself")
    func descriptors() throws {
        let admission = try Self.admission(descriptorCount: RouterAdmission.ownDescriptorCount + 32)
        for _ in 0..<16 { #expect(admission.takesStream(streamCount: 1) != nil) }
        #expect(admission.takesStream(streamCount: 1) == nil)
        for number in 1...14 { #expect(admission.admits(self.address("203.0.113.\(number)"))) }
        #expect(!admission.admits(self.address("203.0.113.15")))
    }

    @Test("one of each is taken however few descriptors there are", arguments: [0, 10, 193])
    func fewDescriptors(count: Int) throws {
        let admission = try Self.admission(descriptorCount: count)
        #expect(admission.takesStream(streamCount: 1) != nil)
        #expect(admission.takesStream(streamCount: 1) == nil)
        #expect(admission.admits(self.address("203.0.113.1")))
        #expect(!admission.admits(self.address("203.0.113.2")))
    }

    @Test("a newer consensus moves the limits") func update() throws {
        let admission = try Self.admission("circuits-total=1")
        #expect(admission.takesCircuit())
        #expect(!admission.takesCircuit())
        admission.update(try TestNetwork.view(parameters: try Self.parameters("circuits-total=2")))
        #expect(admission.takesCircuit())
        #expect(!admission.takesCircuit())
    }
}
