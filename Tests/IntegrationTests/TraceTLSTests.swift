import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import Testing

@testable import ProxyFrontend

@Suite("TLS of a traced request, over a socket like the proxy's", .timeLimit(.minutes(1)))
struct TraceTLSTests {
    /// Of a server of these tests: issued by itself, for `right.test` and 127.0.0.1, for a hundred years.
    private static let certificate = """
        -----BEGIN CERTIFICATE-----
        MIIBajCCARCgAwIBAgIBATAKBggqhkjOPQQDAjAVMRMwEQYDVQQDDApyaWdodC50
        ZXN0MCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAVMRMwEQYDVQQD
        DApyaWdodC50ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAErpm2JXHO9WRB
        UOxbsa5IRZZ9XaEb9Sy39QJR7D31egS4DHKdY0WwPGMdRF2yG/iN24AqgmEQO6TT
        WOrxGYCrAqNPME0wDwYDVR0TAQH/BAUwAwEB/zAbBgNVHREEFDASggpyaWdodC50
        ZXN0hwR/AAABMB0GA1UdDgQWBBQ3vxSG+yWzmegSuK2b/ZtD3KCa9zAKBggqhkjO
        PQQDAgNIADBFAiEA1TjJGm8Rd5w1wxXrJgDN6lGC0m1wZYJ3oOiB67sxzaACIADb
        CfIpW66Chj89muWLviFqE3CTxbbWe1B/yqbYZIO2
        -----END CERTIFICATE-----
        """
    /// Guards nothing: it stands here for all to read.
    private static let privateKey = """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgBgVye/35D6sRt4KJ
        VRY4kx/K4lG2rj0SvCUrzRt3jFihRANCAASumbYlcc71ZEFQ7FuxrkhFln1doRv1
        LLf1AlHsPfV6BLgMcp1jRbA8Yx1EXbIb+I3bgCqCYRA7pNNY6vEZgKsC
        -----END PRIVATE KEY-----
        """

    /// Shake hands with a server that has the certificate, or that closes what it accepts.
    ///
    /// - Returns: nil if it went well.
    private func failure(
        _ url: String, trusts: Bool = true, closes: Bool = false
    ) async throws -> TraceTLS.Failure? {
        let group = MultiThreadedEventLoopGroup.singleton
        let server = try NIOSSLContext(
            configuration: .makeServerConfiguration(
                certificateChain: [.certificate(NIOSSLCertificate(bytes: Array(Self.certificate.utf8), format: .pem))],
                privateKey: .privateKey(NIOSSLPrivateKey(bytes: Array(Self.privateKey.utf8), format: .pem))))
        // On TCP the library would take the server's address for one of its names.
        let path = "/tmp/thor-trace-\(UInt32.random(in: 0 ... .max)).socket"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let listener = try await ServerBootstrap(group: group)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if closes { throw ChannelError.eof }
                    try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: server))
                }
            }
            .bind(unixDomainSocketPath: path).get()
        let file = FileManager.default.temporaryDirectory.appending(path: "trace-\(UUID().uuidString).pem")
        try Data(Self.certificate.utf8).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let tls = try TraceTLS(certificates: trusts ? file.path : nil)
        let channel = try await ClientBootstrap(group: group)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    // The proxy has answered.
                    let answer = channel.eventLoop.makePromise(of: String.self)
                    answer.succeed("")
                    try channel.pipeline.syncOperations.addHandler(
                        AnswerHandler(answer: answer, patience: .seconds(30), staysOpen: true))
                }
            }
            .connect(unixDomainSocketPath: path).get()
        var failure: TraceTLS.Failure?
        do throws(any Error) {
            try await tls.handshake(with: TraceURL(url), over: channel, patience: .seconds(30))
        } catch {
            failure = try #require(error as? TraceTLS.Failure)
        }
        try? await channel.close().get()
        try await listener.close().get()
        return failure
    }

    @Test("a certificate that is trusted will do for its name and its address", arguments: ["right.test", "127.0.0.1"])
    func good(host: String) async throws {
        #expect(try await self.failure("https://\(host)/") == nil)
    }

    @Test("one for another name or address, or of somebody who is not trusted, will not")
    func bad() async throws {
        let name = try await self.failure("https://wrong.test/")
        #expect(name?.text == "The server's certificate is for another name.")
        let address = try await self.failure("https://127.0.0.2/")
        #expect(address?.text == "The server's certificate is not for the address 127.0.0.2.")
        for host in ["right.test", "127.0.0.1"] {
            let issuer = try await self.failure("https://\(host)/", trusts: false)
            #expect(issuer?.text.contains("is not valid here: unknown issuer, expired, or") == true)
        }
    }

    @Test("a server that closes during the handshake is told from one that fails in it")
    func closes() async throws {
        let failure = try await self.failure("https://right.test/", closes: true)
        #expect(failure?.text == "The server closed the connection during the TLS handshake.")
    }
}
