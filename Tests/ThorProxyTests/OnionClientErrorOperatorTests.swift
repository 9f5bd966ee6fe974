import OnionClient
import Testing
import ThorDaemon

@testable import thor_proxy

@Suite("What a client that cannot begin tells its operator")
struct OnionClientErrorOperatorTests {
    @Test(
        "a wrong clock ends with a code after which the proxy is started again",
        arguments: [
            (OnionClientError.Kind.clockOff, ThorDaemon.ExitStatus.temporary), (.directoryUnreachable, .unavailable),
            (.wrongDirectory, .wrongProtocol),
        ])
    func codes(kind: OnionClientError.Kind, status: ThorDaemon.ExitStatus) {
        #expect(OnionClientError(kind, problem: "no", advice: "").operatorError.status == status)
    }
}
