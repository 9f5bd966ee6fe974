import Foundation
import OnionCrypto

/// The link key and the onion keys in the state directory; made at the first start.
struct RouterKeyStore: Sendable {
    let directory: String

    /// Unix seconds that no clock shows; sums with key lifetimes stay far from overflow.
    private static let endOfTime: UInt64 = 1 << 40

    private var linkKeyPath: String { "\(self.directory)/link.key" }
    private func onionKeyPath(made: UInt64) -> String { "\(self.directory)/onion-\(made).key" }

    func linkKey() throws -> Ed25519PrivateKey {
        do throws(KeyFileError) {
            return try KeyFile.readPrivate(self.linkKeyPath)
        } catch {
            guard case .fileNotFound = error else { throw error }
            let key = Ed25519PrivateKey()
            try KeyFile.writePrivate(key, to: self.linkKeyPath)
            return key
        }
    }

    /// Read the newest two onion keys, or make the first.
    func onionKeys(now: UInt64) throws -> OnionKeyRing {
        let times = try FileManager.default.contentsOfDirectory(atPath: self.directory)
            .compactMap { name -> UInt64? in
                guard name.hasPrefix("onion-"), name.hasSuffix(".key") else { return nil }
                return UInt64(name.dropFirst("onion-".count).dropLast(".key".count)).flatMap {
                    $0 < Self.endOfTime ? $0 : nil
                }
            }
            .sorted(by: >)
        let keys = try times.prefix(2).map {
            OnionKeyRing.Key(secret: try KeyFile.readPrivateX25519(self.onionKeyPath(made: $0)), made: $0)
        }
        if let current = keys.first { return OnionKeyRing(current: current, previous: keys.dropFirst().first) }
        let ring = OnionKeyRing(current: .init(secret: X25519PrivateKey(), made: now), previous: nil)
        try self.save(ring)
        return ring
    }

    /// Write the current key, and delete those that are not accepted any more: these go even if the disk takes no new one.
    func save(_ ring: OnionKeyRing) throws {
        let path = self.onionKeyPath(made: ring.current.made)
        let written = Result {
            if !FileManager.default.fileExists(atPath: path) { try KeyFile.writePrivate(ring.current.secret, to: path) }
        }
        let kept = [ring.current, ring.previous].compactMap { $0.map { "onion-\($0.made).key" } }
        for name in try FileManager.default.contentsOfDirectory(atPath: self.directory)
        where name.hasPrefix("onion-") && name.hasSuffix(".key") && !kept.contains(name) {
            try FileManager.default.removeItem(atPath: "\(self.directory)/\(name)")
        }
        try written.get()
    }
}
