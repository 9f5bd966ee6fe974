import ArgumentParser
import Foundation
import ProxyFrontend
import Testing

@testable import thor_proxy

@Suite("What thor-proxy's options make of its ports")
struct ServeTests {
    private func configuration(_ options: String...) throws -> ProxyServer.Configuration {
        try Serve.parse(["127.0.0.1", "ds.pub"] + options).serverConfiguration()
    }

    @Test("without any it serves loopback, whoever asks, whatever is asked for")
    func none() throws {
        let configuration = try self.configuration()
        #expect(configuration.listenAddresses.map { "\($0)" } == ["127.0.0.1:1080"])
        #expect(self.password(configuration) == nil)
        #expect(configuration.policy == ProxyPolicy())
    }

    @Test("each option about streams does what it says, and no more")
    func policy() throws {
        var policy = ProxyPolicy()
        policy.isolatesDestinations = true
        #expect(try self.configuration("--isolate-destination").policy == policy)
        policy = ProxyPolicy()
        policy.refusesAddresses = true
        #expect(try self.configuration("--refuse-addresses").policy == policy)
    }

    @Test("the password of --password-file is asked for; other machines need it, and --allow-non-loopback")
    func access() throws {
        let path = "\(NSTemporaryDirectory())/thor-password-\(UInt64.random(in: 0 ... .max))"
        try #require(
            FileManager.default.createFile(
                atPath: path, contents: Data("secret\n".utf8), attributes: [.posixPermissions: 0o600]))
        defer { try? FileManager.default.removeItem(atPath: path) }
        let (wide, allowed, secret) = ("--listen=0.0.0.0:1", "--allow-non-loopback", "--password-file=\(path)")
        #expect(try self.password(self.configuration(secret)) == Array("secret".utf8))
        let configuration = try self.configuration(wide, allowed, secret)
        #expect(configuration.listenAddresses.map { "\($0)" } == ["0.0.0.0:1"])
        #expect(self.password(configuration) == Array("secret".utf8))
        #expect(throws: ProxyError.passwordNeeded(address: "0.0.0.0:1")) { try self.configuration(wide, allowed) }
        #expect(throws: ProxyError.notLoopback(address: "0.0.0.0:1")) { try self.configuration(wide, secret) }
    }

    private func password(_ configuration: ProxyServer.Configuration) -> [UInt8]? {
        switch configuration.access {
        case .open: nil
        case .password(let password): password
        }
    }
}
