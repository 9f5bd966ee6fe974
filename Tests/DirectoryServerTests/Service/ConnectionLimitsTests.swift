import OnionDirectory
import Testing

@testable import DirectoryServer

@Suite("Limits of one address at the directory")
struct ConnectionLimitsTests {
    @Test("are raised in a test network, where all are on one machine, and nowhere else")
    func loopback() {
        let (real, test) = (ConnectionLimits(NetworkParameters()), ConnectionLimits(.testNetwork))
        #expect(real.halfOpenPerAddress == 128 && test.halfOpenPerAddress > 128)
        #expect(real.connectBurst == 512 && test.connectBurst > 512)
        #expect(real.addressRequestBurst == 1000 && test.addressRequestBurst > 1000)
        #expect(real.registrationBurst == 256 && test.registrationBurst > 256)
    }
}
