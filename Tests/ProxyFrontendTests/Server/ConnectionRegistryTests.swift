import NIOEmbedded
import Testing

@testable import ProxyFrontend

@Suite("Connection registry")
struct ConnectionRegistryTests {
    @Test("takes as many as the limit, and one more when one has gone")
    func limit() {
        var registry = ConnectionRegistry()
        let channels = (0..<3).map { _ in EmbeddedChannel() }
        #expect(registry.add(channels[0], limit: 2) == true)
        #expect(registry.add(channels[1], limit: 2) == true)
        #expect(registry.add(channels[2], limit: 2) == false)
        registry.remove(channels[0])
        #expect(registry.add(channels[2], limit: 2) == true)
    }
}
