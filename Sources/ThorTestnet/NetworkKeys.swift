import Glibc
import OnionCrypto

/// The keys of a test network, in its directory: made at the first start, used again when the directory is kept.
package struct NetworkKeys: Sendable {
    /// The routers' fingerprints, in order.
    package let fingerprints: [String]

    /// Make what is missing, and read the rest.
    package init(directory: NetworkDirectory, routerCount: Int) throws {
        let root = try Self.key(at: directory.privateKeyPath(.directory))
        if access(directory.directoryPublicKeyPath, F_OK) != 0 {
            try KeyFile.writePublic(root.publicKey, to: directory.directoryPublicKeyPath)
        }
        self.fingerprints = try (0..<routerCount).map {
            try Self.key(at: directory.privateKeyPath(.router($0))).publicKey.base64URL
        }
    }

    private static func key(at path: String) throws -> Ed25519PrivateKey {
        guard access(path, F_OK) != 0 else { return try KeyFile.readPrivate(path, passphrase: { nil }) }
        let key = Ed25519PrivateKey()
        try KeyFile.writePrivate(key, to: path, passphrase: nil, overwrite: false)
        return key
    }
}
