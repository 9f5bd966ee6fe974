import OnionAddress
import OnionCrypto
import OnionDirectory
import Testing

@testable import OnionRouter

@Suite("Exit gate")
struct ExitGateTests {
    static let hostile = [
        // Loopback in all spellings, and this host
        "127.0.0.1", "127.0.0.53", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::127.0.0.1", "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2001:0:5db8::80ff:fffe", "0.0.0.0", "0.1.2.3",
        "::",
        // Private, shared, local, metadata
        "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "169.254.1.1", "169.254.169.254",
        "::ffff:169.254.169.254", "::ffff:10.0.0.1", "2002:a00:1::", "64:ff9b::a9fe:a9fe", "168.63.129.16",
        "192.0.0.192",
        "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1",
        // Multicast, reserved, documentation, benchmarking
        "224.0.0.1", "239.255.255.255", "ff02::1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1",
        "2001:db8::1",
        "100::1", "4000::1",
    ]

    @Test("closes what is not the public Internet", arguments: hostile)
    func closed(address: String) throws {
        let address = try #require(IPAddress(address))
        let view = try TestNetwork.view()
        for policy in [ExitPolicy.standard, try ExitPolicy(parsing: ["accept *:*"])] {
            let gate = ExitGate(policy: policy, isOwn: { _ in false })
            for port in [1, 80, 443, 65_535] as [UInt16] {
                #expect(!gate.allows(Endpoint(address: address, port: port), in: view))
            }
        }
        // Also in a test network, unless its policy says so.
        let gate = ExitGate(policy: .standard, isOwn: { _ in false })
        #expect(try !gate.allows(Endpoint(address: address, port: 80), in: TestNetwork.view(allowLoopback: true)))
    }

    @Test("opens the public Internet, but for mail", arguments: ["93.184.216.34", "8.8.8.8", "2606:4700::1111"])
    func open(address: String) throws {
        let address = try #require(IPAddress(address))
        let gate = ExitGate(policy: .standard, isOwn: { _ in false })
        let view = try TestNetwork.view()
        #expect(gate.allows(Endpoint(address: address, port: 443), in: view))
        #expect(!gate.allows(Endpoint(address: address, port: 25), in: view))
        #expect(!gate.allows(Endpoint(address: address, port: 0), in: view))
    }

    @Test(
        "closes the addresses that mean this machine to its kernel, whatever the rules say",
        arguments: ["0.0.0.0", "::"])
    func unspecified(address: String) throws {
        let address = try #require(IPAddress(address))
        let gate = ExitGate(
            policy: try ExitPolicy(parsing: ["accept 0.0.0.0:*", "accept [::]:*"]), isOwn: { _ in false })
        for allowLoopback in [false, true] {
            let view = try TestNetwork.view(allowLoopback: allowLoopback)
            #expect(gate.policy.allows(Endpoint(address: address, port: 80)))
            #expect(!gate.allows(Endpoint(address: address, port: 80), in: view))
        }
    }

    @Test("closes this machine's own addresses in every form, whatever the rules say")
    func ownAddresses() throws {
        let own = try #require(IPAddress("93.184.216.34"))
        let rules = ["accept 93.184.216.34:*", "accept [::ffff:0:0]/96:*", "accept *:*"]
        let gate = ExitGate(policy: try ExitPolicy(parsing: rules), isOwn: { $0 == own })
        let view = try TestNetwork.view()
        for text in ["93.184.216.34", "::ffff:93.184.216.34"] {
            #expect(!gate.allows(Endpoint(address: try #require(IPAddress(text)), port: 80), in: view), "\(text)")
        }
        #expect(gate.allows(Endpoint(address: try #require(IPAddress("93.184.216.35")), port: 80), in: view))
    }

    @Test("of an OR: its own are its interfaces' addresses and the one that it advertises, at every port")
    func ofRouter() throws {
        let interface = try #require(IPAddress("93.184.216.34"))
        let advertised = try #require(IPAddress("93.184.216.35"))
        var configuration = RouterConfiguration(
            directoryHost: "192.0.2.1", directoryPort: 9030, directoryKey: Ed25519PrivateKey().publicKey,
            identityKey: Ed25519PrivateKey(), listen: Endpoint(address: .v4(0), port: 9001), nickname: "amber",
            exitPolicy: try ExitPolicy(parsing: ["accept *:*"]), stateDirectory: "/nowhere")
        let ownAddresses = try OwnAddresses(read: { [interface] })
        func closed() throws -> [Bool] {
            let gate = ExitGate(configuration, ownAddresses: ownAddresses)
            return try ["93.184.216.34", "93.184.216.35", "::ffff:93.184.216.35", "93.184.216.36"].map { text in
                let address = try #require(IPAddress(text))
                let isClosed = try [80, 9001].map {
                    try !gate.allows(Endpoint(address: address, port: $0), in: TestNetwork.view())
                }
                #expect(isClosed[0] == isClosed[1])
                return isClosed[0]
            }
        }
        #expect(try closed() == [true, false, true, false])
        configuration.advertise = RouterConfiguration.Advertised(address: advertised, port: 9001)
        #expect(try closed() == [true, true, true, false])
    }

    @Test("closes an own address whose form holds another one's that is open")
    func ownEmbedding() throws {
        let own = try #require(IPAddress("2002:5db8:d822::1"))
        let rules = ["accept [2002::]/16:*", "accept *:*"]
        let other = try #require(IPAddress("2002:5db8:d822::2"))
        let gate = ExitGate(policy: try ExitPolicy(parsing: rules), isOwn: { $0 == own })
        let view = try TestNetwork.view()
        #expect(!gate.allows(Endpoint(address: own, port: 80), in: view))
        #expect(gate.allows(Endpoint(address: other, port: 80), in: view))
    }

    @Test("closes the ports at which the network's nodes listen, and no others of theirs")
    func nodes() throws {
        let rules = ["accept [::ffff:0:0]/96:*", "accept *:*"]
        let gate = ExitGate(policy: try ExitPolicy(parsing: rules), isOwn: { _ in false })
        let view = try TestNetwork.view(nodes: ["93.184.216.34:9001"])
        for text in ["93.184.216.34", "::ffff:93.184.216.34"] {
            let address = try #require(IPAddress(text))
            #expect(!gate.allows(Endpoint(address: address, port: 9001), in: view), "\(text)")
        }
        #expect(gate.allows(Endpoint(address: try #require(IPAddress("93.184.216.34")), port: 443), in: view))
    }

    @Test("opens loopback in a test network whose policy says so, and in no other")
    func testNetwork() throws {
        let gate = ExitGate(
            policy: try ExitPolicy(parsing: TestNetwork.loopbackPolicy), isOwn: { $0 == .v4(0x7f00_0001) })
        for text in ["127.0.0.1", "::1"] {
            let destination = Endpoint(address: try #require(IPAddress(text)), port: 80)
            #expect(try gate.allows(destination, in: TestNetwork.view(allowLoopback: true)))
            #expect(try !gate.allows(destination, in: TestNetwork.view()))
        }
        let node = try TestNetwork.view(allowLoopback: true, nodes: ["127.0.0.1:9001"])
        #expect(!gate.allows(Endpoint(address: .v4(0x7f00_0001), port: 9001), in: node))
    }
}
