import OnionCells
import OnionDirectory
import Testing

@testable import OnionClient

@Suite("Stream failures")
struct StreamFailureTests {
    @Test("what a log says of a failure shows nothing of what was asked for") func logText() {
        #expect(StreamFailure.noExitAllows(port: 17_333).logText == "noExitAllows(port: [scrubbed])")
        let wish = ExitWish(countries: .only(["IS"]))
        #expect(StreamFailure.noExitMeets(wish).logText == "noExitMeets([scrubbed])")
        let ended = StreamFailure.ended(.connectionRefused)
        #expect(ended.logText == "\(ended)")
        #expect(ClientCore.logText(.noLastHop(.exit(port: 17_333))) == "no exit for port [scrubbed]")
        #expect(ClientCore.logText(.noUsableGuard) == "\(PathError.noUsableGuard)")
    }
}
