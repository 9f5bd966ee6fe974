import OnionAddress
import Testing

@Suite("Scrubbed values")
struct ScrubbedTests {
    @Test("show nothing in a process that was not told to reveal them")
    func scrubbed() {
        #expect(!ScrubbingPolicy.isRevealing)
        #expect("\(Scrubbed("a.test:80"))" == "[scrubbed]")
    }
}
