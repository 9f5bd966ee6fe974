import Foundation
import ProxyFrontend
import Testing
import ThorDaemon

@testable import thor_proxy

@Suite("What a proxy that cannot listen tells its operator")
struct ProxyErrorOperatorTests {
    @Test("of a port it says what the other daemons say", arguments: [EACCES, EADDRINUSE, nil])
    func port(errno: Int32?) {
        let error = ProxyError.cannotListen(address: "127.0.0.1:80", reason: "no", errno: errno).operatorError
        #expect(error == .cannotListen(on: "127.0.0.1:80", why: "no", errno: errno))
    }

    @Test(
        "of a Unix socket it speaks of the path",
        arguments: [
            (EACCES, "where you may make files"), (EROFS, "where you may make files"), (ENOENT, "Make the directory"),
            (EADDRINUSE, "Stop the program that listens there"),
        ])
    func path(errno: Int32, words: String) {
        let error = ProxyError.cannotListen(address: "unix:/run/x", reason: "no", errno: errno).operatorError
        #expect(error.problem == "cannot listen on unix:/run/x: no")
        #expect(error.advice.contains(words) && !error.advice.contains("port"))
        #expect(error.status == .osError)
    }
}
