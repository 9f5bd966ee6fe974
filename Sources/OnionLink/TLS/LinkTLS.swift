package import NIOCore
import NIOSSL
package import OnionCrypto

/// The two protocols that nodes speak over TLS, by their ALPN name. The name is the version.
package enum LinkProtocol: String, Sendable {
    case link = "thor/1"
    case directory = "thor-dir/1"
}

/// The key that the peer proved on one TLS connection. Bound to the connection's event loop.
package final class PeerKey {
    /// Set before the TLS handshake completes; nil for a client that showed no certificate.
    package internal(set) var publicKey: Ed25519PublicKey?

    /// - Parameter publicKey: of a peer that needs no TLS: a test's.
    init(publicKey: Ed25519PublicKey? = nil) { self.publicKey = publicKey }
}

/// Makes the TLS handlers of links and directory connections.
///
/// TLS 1.3 only, Ed25519 only, X25519MLKEM768 or, with a peer that knows no better, X25519. The one check is the peer's
/// public key: no names, no dates, no authorities. After the handshake the caller must see to it that
/// ``LinkProtocol`` was negotiated: ``NegotiationGuard`` does.
///
/// - Source: DESIGN §5
package struct LinkTLS: Sendable {
    private let clientContext: NIOSSLContext
    private let serverContext: NIOSSLContext?
    private let linkProtocol: LinkProtocol

    /// Make the contexts once; they are shared by all connections.
    ///
    /// - Parameter credentials: nil for a node that only dials and stays anonymous: a proxy.
    /// - Throws: `NIOSSLError` when the library refuses the configuration.
    package init(credentials: LinkCredentials?, protocol linkProtocol: LinkProtocol) throws {
        self.linkProtocol = linkProtocol
        var client = TLSConfiguration.makeClientConfiguration()
        // The callback replaces all of the library's own checks; `.none` would skip the callback.
        client.certificateVerification = .noHostnameVerification
        Self.configure(&client, credentials: credentials, linkProtocol: linkProtocol)
        self.clientContext = try NIOSSLContext(configuration: client)
        guard let credentials else {
            self.serverContext = nil
            return
        }
        var server = TLSConfiguration.makeServerConfiguration(
            certificateChain: [.certificate(credentials.certificate)], privateKey: .privateKey(credentials.privateKey))
        // `.noHostnameVerification` would refuse every peer without a certificate, and so every proxy.
        server.certificateVerification = .optionalVerification
        Self.configure(&server, credentials: nil, linkProtocol: linkProtocol)
        self.serverContext = try NIOSSLContext(configuration: server)
    }

    private static func configure(
        _ tls: inout TLSConfiguration, credentials: LinkCredentials?, linkProtocol: LinkProtocol
    ) {
        tls.minimumTLSVersion = .tlsv13
        tls.curves = [.x25519_MLKEM768, .x25519]
        tls.applicationProtocols = [linkProtocol.rawValue]
        tls.signingSignatureAlgorithms = [.ed25519]
        tls.verifySignatureAlgorithms = [.ed25519]
        tls.trustRoots = .certificates([])
        tls.renegotiationSupport = .none
        tls.shutdownTimeout = .seconds(1)
        if let credentials {
            tls.certificateChain = [.certificate(credentials.certificate)]
            tls.privateKey = .privateKey(credentials.privateKey)
        }
    }

    /// Add the handlers of the side that listens. Any Ed25519 certificate, or none, is let in; what it may do is for
    /// the caller to judge by the key.
    package func addServerHandlers(to pipeline: ChannelPipeline.SynchronousOperations) throws -> PeerKey {
        guard let serverContext else { throw LinkError.noCredentials }
        let peer = PeerKey()
        try pipeline.addHandlers([
            NIOSSLServerHandler(
                context: serverContext, customVerificationCallback: Self.verification(into: peer, expecting: nil)),
            NegotiationGuard(expecting: self.linkProtocol),
        ])
        return peer
    }

    /// Add the handlers of the side that dials.
    ///
    /// - Parameter expected: the only key that is accepted; nil accepts any Ed25519 key, for the directory
    ///   connection, whose dialler learns the key from the Hello that follows.
    package func addClientHandlers(
        to pipeline: ChannelPipeline.SynchronousOperations, expecting expected: Ed25519PublicKey?
    ) throws -> PeerKey {
        let peer = PeerKey()
        try pipeline.addHandlers([
            NIOSSLClientHandler(
                context: self.clientContext, serverHostname: nil,
                customVerificationCallback: Self.verification(into: peer, expecting: expected)),
            NegotiationGuard(expecting: self.linkProtocol),
        ])
        return peer
    }

    private static func verification(
        into peer: PeerKey, expecting expected: Ed25519PublicKey?
    ) -> NIOSSLCustomVerificationCallback {
        { certificates, promise in
            // The library calls this on the connection's event loop, before the handshake can complete.
            guard let leaf = certificates.first,
                let subjectPublicKeyInfo = try? leaf.extractPublicKey().toSPKIBytes(),
                let key = Ed25519DER.publicKey(in: subjectPublicKeyInfo),
                expected == nil || expected == key
            else { return promise.succeed(.failed) }
            peer.publicKey = key
            promise.succeed(.certificateVerified)
        }
    }
}
