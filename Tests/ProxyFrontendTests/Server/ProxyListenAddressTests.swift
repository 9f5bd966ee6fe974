import Foundation
import Testing

@testable import ProxyFrontend

@Suite("Listening addresses")
struct ProxyListenAddressTests {
    private func check(
        _ host: String, allowed: Bool = false, access: ProxyAccess = .open
    ) throws(ProxyError) -> String {
        "\(try ProxyListenAddress(host: host, port: 1080, allowsNonLoopback: allowed, access: access))"
    }

    @Test("loopback is always fine")
    func loopback() throws {
        #expect(try self.check("127.0.0.1") == "127.0.0.1:1080")
        #expect(try self.check("127.1.2.3") == "127.1.2.3:1080")
        #expect(try self.check("::1") == "[::1]:1080")
        #expect(try self.check("localhost") == "127.0.0.1:1080")
    }

    @Test("others need the option and a password", arguments: ["0.0.0.0", "::", "192.168.1.1", "2001:db8::1"])
    func others(host: String) throws {
        let shown = host.contains(":") ? "[\(host)]:1080" : "\(host):1080"
        #expect(throws: ProxyError.notLoopback(address: shown)) { try self.check(host) }
        #expect(throws: ProxyError.notLoopback(address: shown)) { try self.check(host, access: .password([1])) }
        #expect(throws: ProxyError.passwordNeeded(address: shown)) { try self.check(host, allowed: true) }
        #expect(try self.check(host, allowed: true, access: .password([1])) == shown)
    }

    @Test("a socket has a path, as long as systems take and no longer")
    func paths() throws {
        #expect(throws: ProxyError.notAnAddress("unix:")) { try ProxyListenAddress(unixPath: "") }
        let longest = "/" + String(repeating: "x", count: StatusSocket.maximumPathByteCount - 1)
        #expect(try "\(ProxyListenAddress(unixPath: longest))" == "unix:\(longest)")
        let limit = StatusSocket.maximumPathByteCount
        #expect(throws: ProxyError.statusPathTooLong(path: longest + "x", limit: limit)) {
            try ProxyListenAddress(unixPath: longest + "x")
        }
    }

    @Test("a relative path is made absolute, and then as long as systems take and no longer")
    func relativePaths() throws {
        let directory = FileManager.default.currentDirectoryPath
        #expect(try "\(ProxyListenAddress(unixPath: "x.socket"))" == "unix:\(directory)/x.socket")
        let limit = StatusSocket.maximumPathByteCount
        let longest = String(repeating: "x", count: limit - directory.utf8.count - 1)
        #expect(try "\(ProxyListenAddress(unixPath: longest))" == "unix:\(directory)/\(longest)")
        #expect(throws: ProxyError.statusPathTooLong(path: "\(directory)/\(longest)x", limit: limit)) {
            try ProxyListenAddress(unixPath: longest + "x")
        }
    }

    @Test("names are not looked up", arguments: ["example.com", "", "127.1", "1080"])
    func names(host: String) {
        #expect(throws: ProxyError.notAnAddress(host)) { try self.check(host, allowed: true, access: .password([1])) }
    }
}
