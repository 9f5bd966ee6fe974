import Foundation
import Logging
import NIOCore
import NIOPosix
import OnionAddress
import OnionCrypto
import Testing

@testable import OnionRouter

@Suite("A router as a whole", .timeLimit(.minutes(1)))
struct OnionRouterTests {
    @Test("one that listens everywhere names the lowest of its public addresses of that family, and stays with it")
    func publicAddress() throws {
        let texts = ["127.0.0.1", "10.0.0.1", "93.184.216.34", "93.184.216.35", "::1", "fe80::1", "2606:4700::1111"]
        let own = Set(texts.compactMap { IPAddress($0) })
        func address(isIPv4: Bool, registered: String? = nil) -> IPAddress? {
            OnionRouter.publicAddress(
                among: own, isIPv4: isIPv4, registered: registered.flatMap { IPAddress($0) })
        }
        #expect(address(isIPv4: true) == IPAddress("93.184.216.34"))
        #expect(address(isIPv4: false) == IPAddress("2606:4700::1111"))
        // What was registered stays, unless it has gone.
        #expect(address(isIPv4: true, registered: "93.184.216.35") == IPAddress("93.184.216.35"))
        #expect(address(isIPv4: true, registered: "93.184.216.33") == IPAddress("93.184.216.34"))
        let inside = Set(texts.filter { $0 != "2606:4700::1111" }.compactMap { IPAddress($0) })
        #expect(OnionRouter.publicAddress(among: inside, isIPv4: false, registered: nil) == nil)
        let last = IPAddress("2606:4700::1111")
        #expect(OnionRouter.publicAddress(among: inside, isIPv4: false, registered: last) == nil)
    }

    @Test("what keeps one from registering is in words, in the log and in its status")
    func errors() {
        let standing = RouterStanding.disconnected(why: "\(RouterError.noPublicAddress)")
        #expect(
            "\(standing)" == "not registered, and trying again: this machine has no public address of its own, so "
                + "others cannot be told where the router is")
        #expect(
            "\(RouterError.cannotListen(ListedRouter.heron.endpoint, errno: 98))"
                == "cannot listen on \(ListedRouter.heron.endpoint): error 98")
        #expect("\(RouterError.noListeningAddress)" == "the system does not say where the router listens")
    }

    @Test("one that cannot register when it begins ends, and says why")
    func noDirectory() async throws {
        let state = FileManager.default.temporaryDirectory.appendingPathComponent("thor-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(
            atPath: state, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        defer { try? FileManager.default.removeItem(atPath: state) }
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(host: "127.0.0.1", port: 0).get()
        let port = UInt16(listener.localAddress?.port ?? 0)
        try await listener.close()
        let router = OnionRouter(
            configuration: RouterConfiguration(
                directoryHost: "127.0.0.1", directoryPort: port, directoryKey: ListedRouter.directoryKey.publicKey,
                identityKey: ListedRouter.heron.identity, listen: Endpoint(address: .v4(0x7f00_0001), port: 0),
                nickname: "heron", stateDirectory: state),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        await #expect(throws: (any Error).self) { try await router.run() }
    }
}
