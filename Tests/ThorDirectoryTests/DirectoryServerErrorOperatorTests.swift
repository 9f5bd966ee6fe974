import DirectoryServer
import Glibc
import Testing
import ThorDaemon

@testable import thor_directory

@Suite("What the directory server tells its operator")
struct DirectoryServerErrorOperatorTests {
    @Test("a routers' file that it may not read is a matter of permissions, another one of its path")
    func allowFile() {
        let forbidden = DirectoryServerError.cannotReadAllowFile(path: "r", why: "Permission denied", errno: EACCES)
            .operatorError
        #expect(forbidden.status == .permission && forbidden.advice.hasSuffix("chmod 644 r"))
        #expect("\(forbidden)".hasPrefix("cannot read the routers' file r: Permission denied. "))
        let missing = DirectoryServerError.cannotReadAllowFile(path: "r", why: "none", errno: ENOENT).operatorError
        #expect(missing.status == .noInput && missing.advice == "Check the path given with --routers")
    }

    @Test("a port that it may not have calls for another one") func port() {
        let error = DirectoryServerError.cannotListen(host: "::", port: 443, why: "no", errno: EACCES).operatorError
        #expect(error == .cannotListen(on: "[::]:443", why: "no", errno: EACCES))
    }
}
