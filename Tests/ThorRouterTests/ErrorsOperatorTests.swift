import DirectoryClient
import OnionDirectory
import OnionRouter
import Testing
import ThorDaemon

@testable import thor_router

@Suite("What a router tells its operator")
struct ErrorsOperatorTests {
    @Test(
        "what the directory says is not followed by advice about how it is reached",
        arguments: [DirectoryErrorCode.unreachable, .handshakeFailed, .busy, .notReady, .shuttingDown])
    func refusalWorthARetry(code: DirectoryErrorCode) {
        let error = DirectoryConnectionError.refused(code, text: "no").operatorError
        #expect(error == OperatorError("the directory server refuses: no", advice: "", status: .unavailable))
    }

    @Test("a directory that cannot be reached calls for a look at its address") func unreachable() {
        let error = DirectoryConnectionError.unreachable(why: "no route").operatorError
        #expect(error.status == .unavailable && error.advice.hasPrefix("Check the address"))
    }

    @Test(
        "a wrong clock ends with a code after which the router is started again, a taken place does not",
        arguments: [
            (DirectoryConnectionError.clockOff(.expired(validUntil: 1, now: 2)), ThorDaemon.ExitStatus.temporary),
            (.refused(.clockSkew, text: "no"), .temporary), (.refused(.superseded, text: "no"), .configuration),
            (.refused(.staleSequence, text: "no"), .wrongProtocol), (.wrongDirectoryKey, .wrongProtocol),
        ])
    func codes(error: DirectoryConnectionError, status: ThorDaemon.ExitStatus) {
        #expect(error.operatorError.status == status)
    }
}
