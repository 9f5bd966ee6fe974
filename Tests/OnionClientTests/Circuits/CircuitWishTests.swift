import OnionDirectory
import Testing

@testable import OnionClient

@Suite("Circuit wish")
struct CircuitWishTests {
    @Test("a router without the exit flag is no exit, whatever its policy says")
    func exitFlag() throws {
        let exit = try TestRouter().listed("exit", port: 1)
        let middle = try TestRouter().listed("middle", port: 2, flags: [.guard])
        for wish in [CircuitWish.port(443), .resolver] {
            #expect(wish.isMet(by: exit))
            #expect(!wish.isMet(by: middle))
        }
        #expect(CircuitWish.directory.isMet(by: middle))
    }
}
