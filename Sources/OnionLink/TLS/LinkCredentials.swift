import Crypto
import NIOSSL
package import OnionCrypto
import SwiftASN1
import X509

import struct Foundation.Date

/// What a node shows on its TLS connections: its link key and a certificate that the key signed for itself.
///
/// The certificate names nobody and never expires: the only thing a peer looks at is the public key in it.
///
/// - Source: DESIGN §5
package struct LinkCredentials: Sendable {
    package let publicKey: Ed25519PublicKey
    let certificate: NIOSSLCertificate
    let privateKey: NIOSSLPrivateKey

    /// Make the certificate for a node's link key.
    ///
    /// - Throws: what the X.509 and TLS libraries say; with a well-formed key they say nothing.
    package init(linkKey: Ed25519PrivateKey) throws {
        self.publicKey = linkKey.publicKey
        (self.certificate, self.privateKey) = try linkKey.withSeed { seed in
            let signer = Certificate.PrivateKey(try Curve25519.Signing.PrivateKey(rawRepresentation: seed))
            let certificate = try Certificate(
                version: .v3,
                serialNumber: Certificate.SerialNumber(bytes: [1]),
                publicKey: signer.publicKey,
                notValidBefore: Date(timeIntervalSince1970: 0),
                notValidAfter: Date(timeIntervalSince1970: Self.endOfTime),
                issuer: DistinguishedName(),
                subject: DistinguishedName(),
                signatureAlgorithm: .ed25519,
                extensions: Certificate.Extensions(),
                issuerPrivateKey: signer)
            var serializer = DER.Serializer()
            try serializer.serialize(certificate)
            var privateKeyInfo = Ed25519DER.privateKeyPrefix + seed
            defer { wipe(&privateKeyInfo) }
            return (
                try NIOSSLCertificate(bytes: serializer.serializedBytes, format: .der),
                try NIOSSLPrivateKey(bytes: privateKeyInfo, format: .der)
            )
        }
    }

    /// 9999-12-31 23:59:59 UTC, which RFC 5280 §4.1.2.5 reserves for "does not expire".
    private static let endOfTime: Double = 253_402_300_799
}

/// The fixed bytes before an Ed25519 key in its DER forms.
///
/// - Source: RFC 8410 §4 and §7
enum Ed25519DER {
    /// SubjectPublicKeyInfo: 12 bytes, then the 32 of the key.
    static let publicKeyPrefix: [UInt8] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00]
    /// PrivateKeyInfo: 16 bytes, then the 32 of the seed.
    static let privateKeyPrefix: [UInt8] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
    ]

    /// Return the key in `subjectPublicKeyInfo`, or nil if it is not exactly an Ed25519 key.
    static func publicKey(in subjectPublicKeyInfo: [UInt8]) -> Ed25519PublicKey? {
        guard subjectPublicKeyInfo.starts(with: Self.publicKeyPrefix) else { return nil }
        return Ed25519PublicKey(rawBytes: subjectPublicKeyInfo.dropFirst(Self.publicKeyPrefix.count))
    }
}
