import NIOCore
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
        let addresses = (1...3).map { self.address("203.0.113.\($0)") }
        for address in addresses.prefix(2) { #expect(self.refusal(admission, address) == nil) }
        #expect(self.refusal(admission, addresses[2]) == .circuits)
        admission.circuitEnded(addresses[0])
        #expect(self.refusal(admission, addresses[2]) == nil)
        #expect(self.refusal(admission, addresses[0]) == .circuits)
        let lent = (0..<3).compactMap { _ in admission.takesStream(streamCount: 1) }
        #expect(lent.count == 3 && admission.takesStream(streamCount: 1) == nil)
        admission.streamEnded(lent[0])
        #expect(admission.takesStream(streamCount: 1) == lent[0])
        #expect(admission.takesStream(streamCount: 1) == nil)
    }

    @Test("an address has a thirty-second of all circuits, and its mapped form no others; all without one are one")
    func circuitsPerAddress() throws {
        let admission = try Self.admission("circuits-total=95")
        for text in ["198.51.100.1", nil] {
            let address = text.map { self.address($0) }
            for _ in 0..<2 { #expect(self.refusal(admission, address) == nil) }
            #expect(self.refusal(admission, address) == .circuitsPerAddress)
            admission.circuitEnded(address)
            #expect(self.refusal(admission, address) == nil)
            #expect(self.refusal(admission, address) == .circuitsPerAddress)
        }
        #expect(self.refusal(admission, self.address("::ffff:198.51.100.1")) == .circuitsPerAddress)
        #expect(self.refusal(admission, self.address("198.51.100.2")) == nil)
    }

    @Test("listed routers and the directory have as many circuits as there are, and an eighth of all to themselves")
    func exemptCircuits() throws {
        let admission = try Self.admission(
            "circuits-total=16", nodes: ["198.51.100.7:9001"], directory: "198.51.100.8")
        for number in 1...14 { #expect(self.refusal(admission, self.address("203.0.113.\(number)")) == nil) }
        #expect(self.refusal(admission, self.address("203.0.113.15")) == .circuits)
        #expect(self.refusal(admission, self.address("198.51.100.7")) == nil)
        admission.circuitEnded(self.address("198.51.100.7"))
        #expect(self.refusal(admission, self.address("198.51.100.8")) == nil)
        // From wherever it comes.
        #expect(self.refusal(admission, self.address("203.0.113.1"), isListed: true) == nil)
        #expect(self.refusal(admission, self.address("198.51.100.7")) == .circuits)
    }

    private func refusal(_ admission: RouterAdmission, _ address: IPAddress?, isListed: Bool = false) -> RouterLimit? {
        admission.limitReached(byCircuitFrom: address, isListed: isListed)
    }

    @Test("a refused stream to the directory has no place, and other streams leave those be")
    func directoryStreams() throws {
        let admission = try Self.admission("streams-total=\(RouterAdmission.directoryStreamLimit + 1)")
        let now = NIODeadline.uptimeNanoseconds(1)
        for _ in 0..<RouterAdmission.directoryStreamLimit {
            #expect(admission.takesStream(streamCount: 1, toDirectoryAt: now) != nil)
        }
        let later = now + .hours(1)
        #expect(admission.takesStream(streamCount: 1, toDirectoryAt: later) == nil)
        let other = try #require(admission.takesStream(streamCount: 1))
        #expect(admission.takesStream(streamCount: 1) == nil)
        admission.streamEnded(other, toDirectory: true)
        #expect(admission.takesStream(streamCount: 1) != nil)
        // There is a place again, but no socket.
        #expect(admission.takesStream(streamCount: 1, toDirectoryAt: later) == nil)
        admission.streamEnded(other)
        #expect(admission.takesStream(streamCount: 1, toDirectoryAt: later) != nil)
        #expect(admission.takesStream(streamCount: 1, toDirectoryAt: later) == nil)
    }

    @Test(
        "a client that asks over one hop leaves seven eighths of the streams to the directory, and of their rate, to others"
    )
    func directoryOneHop() throws {
        let admission = try Self.admission()
        let now = NIODeadline.uptimeNanoseconds(1)
        func take(isOneHop: Bool, now: NIODeadline) -> Int? {
            admission.takesStream(streamCount: 1, toDirectoryAt: now, isOneHop: isOneHop)
        }
        let lent = (0..<RouterAdmission.directoryStreamLimit / 8).compactMap { _ in take(isOneHop: true, now: now) }
        #expect(lent.count == RouterAdmission.directoryStreamLimit / 8)
        #expect(take(isOneHop: true, now: now + .minutes(1)) == nil)
        for byteCount in lent { admission.streamEnded(byteCount, toDirectory: true) }
        for _ in lent { #expect(take(isOneHop: true, now: now + .minutes(1)) != nil) }
        for byteCount in lent { admission.streamEnded(byteCount, toDirectory: true) }
        #expect(take(isOneHop: true, now: now + .minutes(1)) == nil)
        #expect(take(isOneHop: false, now: now + .minutes(1)) != nil)
    }

    @Test("however many circuits have as much as they may, the next one has eight streams, and eight look-ups")
    func shares() throws {
        let admission = try Self.admission()
        for (take, circuitCount) in [
            ({ admission.takesStream(streamCount: $0) != nil }, 64), ({ admission.takesLookup(count: $0) }, 16),
        ] as [((Int) -> Bool, Int)] {
            func fill() -> Int { (1...256).prefix { take($0) }.count }
            let counts = (0..<circuitCount).map { _ in fill() }
            #expect(counts[0] > 200 && counts.reduce(0, +) > 1000)
            #expect(fill() >= 8)
        }
    }

    @Test("the same parameters once more let no stream to the directory begin; a test network lets many more")
    func directoryBegins() throws {
        let admission = try Self.admission()
        let now = NIODeadline.uptimeNanoseconds(1)
        func begin() -> Bool {
            guard let byteCount = admission.takesStream(streamCount: 1, toDirectoryAt: now) else { return false }
            admission.streamEnded(byteCount, toDirectory: true)
            return true
        }
        for _ in 0..<RouterAdmission.directoryStreamLimit { #expect(begin()) }
        #expect(!begin())
        admission.update(try TestNetwork.view())
        #expect(!begin())
        admission.update(try TestNetwork.view(allowLoopback: true))
        for _ in 0..<2 * RouterAdmission.directoryStreamLimit { #expect(begin()) }
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
        let addresses = (1...3).map { self.address("203.0.113.\($0)") }
        #expect(self.refusal(admission, addresses[0]) == nil)
        #expect(self.refusal(admission, addresses[1]) == .circuits)
        admission.update(try TestNetwork.view(parameters: try Self.parameters("circuits-total=2")))
        #expect(self.refusal(admission, addresses[1]) == nil)
        #expect(self.refusal(admission, addresses[2]) == .circuits)
    }

    @Test("half of what queues may hold is for links' large buffers, as it is now") func largeBuffers() throws {
        let admission = try Self.admission("process-queue-limit=4194304")
        func isLent(_ number: Int, isRouter: Bool = false) -> Bool {
            admission.lendsLargeBuffers(to: self.address("203.0.113.\(number)"), isRouter: isRouter) != nil
        }
        for number in 0..<4 { #expect(isLent(number)) }
        #expect(!isLent(9, isRouter: true))
        let more = try Self.parameters("process-queue-limit=5242880")
        admission.update(try TestNetwork.view(parameters: more))
        #expect(isLent(9, isRouter: true))
        #expect(!isLent(9, isRouter: true))
    }

    @Test("one address has an eighth of the large buffers, but for an OR's; each once more when it is back")
    func largeBuffersPerAddress() throws {
        // 16 in all.
        let admission = try Self.admission("process-queue-limit=16777216", nodes: ["198.51.100.7:9001"])
        let address = self.address("203.0.113.1")
        func lend(_ address: IPAddress) -> RouterAdmission.LargeBufferLoan? {
            admission.lendsLargeBuffers(to: address, isRouter: false)
        }
        let loans = (0..<3).map { _ in lend(address) }
        #expect(loans.map { $0 != nil } == [true, true, false])
        #expect(lend(self.address("203.0.113.2")) != nil)
        try admission.giveBack(#require(loans[0]))
        #expect((0..<2).map { _ in lend(address) != nil } == [true, false])
        for _ in 0..<3 { #expect(lend(self.address("198.51.100.7")) != nil) }
    }
}
