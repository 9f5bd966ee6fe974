import Logging
import NIOCore
import NIOPosix
import OnionCells
import OnionCrypto
import Testing

@testable import OnionClient

@Suite("Client as its user has it", .timeLimit(.minutes(1)))
struct OnionClientTests {
    @Test("what cannot be asked for is refused at once", arguments: [("a.test", 0), ("", 80), ("a\0b", 80)])
    func invalid(host: String, port: UInt16) async throws {
        let world = try TestWorld()
        let client = try OnionClient(
            configuration: OnionClient.Configuration(
                directoryHost: "127.0.0.1", directoryPort: 1, directoryKey: world.directoryKey.publicKey,
                stateDirectory: world.stateDirectory),
            group: MultiThreadedEventLoopGroup.singleton,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let key = IsolationKey(protocolName: "test")
        let request = StreamRequest(host: host, port: port, isolation: key)
        let (opened, traced) = (client.open(request), client.trace(request))
        let resolved = client.resolve(.addresses(of: host), isolation: key)
        // What was taken up all the same hears of the end instead.
        client.withCore { $0.shutDown() }
        await #expect(throws: StreamFailure.invalidRequest) { try await opened.get() }
        let result = try await traced.get().result
        #expect(throws: StreamFailure.invalidRequest) { try result.get() }
        let expected = port == 0 ? StreamFailure.shuttingDown : .invalidRequest
        await #expect(throws: expected) { try await resolved.get() }
    }
}
