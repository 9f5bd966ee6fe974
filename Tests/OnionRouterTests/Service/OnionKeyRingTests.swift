import Foundation
import OnionCrypto
import Testing

@testable import OnionRouter

@Suite("Onion key ring")
struct OnionKeyRingTests {
    private static func ring(made: UInt64) -> OnionKeyRing {
        OnionKeyRing(current: .init(secret: X25519PrivateKey(), made: made), previous: nil)
    }

    @Test("replaces the key when its time has come, and not a second before")
    func rotation() {
        var ring = Self.ring(made: 1000)
        let first = ring.current.secret.publicKey
        let changed1 = ring.rotate(now: 1099, lifetime: 100, overlap: 10, make: { X25519PrivateKey() })
        #expect(!changed1)
        let changed2 = ring.rotate(now: 1100, lifetime: 100, overlap: 10, make: { X25519PrivateKey() })
        #expect(changed2)
        #expect(ring.current.made == 1100 && ring.current.secret.publicKey != first)
        #expect(ring.accepted.map(\.publicKey) == [ring.current.secret.publicKey, first])
    }

    @Test("accepts the key before for the overlap, and no longer")
    func overlap() {
        var ring = Self.ring(made: 1000)
        _ = ring.rotate(now: 1100, lifetime: 100, overlap: 10) { X25519PrivateKey() }
        let changed3 = ring.rotate(now: 1109, lifetime: 100, overlap: 10, make: { X25519PrivateKey() })
        #expect(!changed3)
        #expect(ring.accepted.count == 2)
        let changed4 = ring.rotate(now: 1110, lifetime: 100, overlap: 10, make: { X25519PrivateKey() })
        #expect(changed4)
        #expect(ring.accepted.count == 1)
    }

    @Test("a key that a wrong clock made in the future does not stay for ever, and is older than its successor")
    func wrongClock() {
        var ring = Self.ring(made: 9_000_000)
        let first = ring.current.secret.publicKey
        let changed5 = ring.rotate(now: 1000, lifetime: 100, overlap: 10, make: { X25519PrivateKey() })
        #expect(changed5)
        #expect(ring.current.made == 1000 && ring.accepted.last?.publicKey == first)
        #expect((ring.previous?.made ?? .max) < ring.current.made)
    }

    @Test("a key may be as far ahead as the overlap, and a clock may show nothing at all")
    func clockBehind() {
        var ring = Self.ring(made: 1010)
        let isChanged = ring.rotate(now: 1000, lifetime: 100, overlap: 10, make: { X25519PrivateKey() })
        #expect(!isChanged)
        let isChangedLater = ring.rotate(now: 999, lifetime: 100, overlap: 10, make: { X25519PrivateKey() })
        #expect(isChangedLater && ring.current.made == 999)
        let isChangedAtZero = ring.rotate(now: 0, lifetime: 100, overlap: 10, make: { X25519PrivateKey() })
        #expect(isChangedAtZero && ring.current.made == 0 && ring.previous?.made == 0)
    }
}

@Suite("Router key store")
struct RouterKeyStoreTests {
    private func withStore(_ body: (RouterKeyStore) throws -> Void) throws {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("thor-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try body(RouterKeyStore(directory: directory))
    }

    private func files(_ store: RouterKeyStore) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: store.directory).sorted()
    }

    @Test("makes keys at the first start and finds them at the next")
    func firstStart() throws {
        try self.withStore { store in
            let link = try store.linkKey().publicKey
            let ring = try store.onionKeys(now: 1000)
            #expect(ring.current.made == 1000 && ring.previous == nil)
            #expect(try store.linkKey().publicKey == link)
            #expect(try store.onionKeys(now: 5000).current.secret.publicKey == ring.current.secret.publicKey)
            #expect(try self.files(store) == ["link.key", "onion-1000.key"])
        }
    }

    @Test("keeps the two keys that are accepted, and deletes the others")
    func rotation() throws {
        try self.withStore { store in
            var ring = try store.onionKeys(now: 1000)
            for now in [1100, 1200] as [UInt64] {
                let changed6 = ring.rotate(now: now, lifetime: 100, overlap: 500, make: { X25519PrivateKey() })
                #expect(changed6)
                try store.save(ring)
            }
            #expect(try self.files(store) == ["onion-1100.key", "onion-1200.key"])
            let read = try store.onionKeys(now: 1300)
            #expect(read.accepted.map(\.publicKey) == ring.accepted.map(\.publicKey))
        }
    }

    @Test("uses a new key that the disk does not take, and saves it once it does")
    func fullDisk() throws {
        try self.withStore { store in
            let missing = RouterKeyStore(directory: "\(store.directory)/later")
            let ring = try store.onionKeys(now: 1000)
            var kept = KeptOnionKeys(ring, store: missing)
            func rotate(at now: UInt64) -> Bool { kept.rotate(now: now, lifetime: 100, overlap: 500) }
            let isChanged = rotate(at: 1100)
            #expect(isChanged)
            #expect(kept.saveFailure != nil)
            #expect(kept.ring.current.made == 1100)
            #expect(kept.ring.accepted.count == 2)
            // The handshakes' keys are told once; the disk is asked again.
            let isChangedAgain = rotate(at: 1101)
            #expect(!isChangedAgain)
            #expect(kept.saveFailure != nil)
            try FileManager.default.createDirectory(atPath: missing.directory, withIntermediateDirectories: false)
            _ = rotate(at: 1102)
            #expect(kept.saveFailure == nil)
            #expect(try self.files(missing) == ["onion-1100.key"])
        }
    }

    @Test("an old key leaves the disk in its time, even if a new one cannot be written")
    func oldKeyOnFullDisk() throws {
        try self.withStore { store in
            var kept = KeptOnionKeys(try store.onionKeys(now: 1000), store: store)
            // A link that leads nowhere: no file is written through it.
            let blocked = "\(store.directory)/onion-2000.key"
            try FileManager.default.createSymbolicLink(atPath: blocked, withDestinationPath: "/nowhere")
            _ = kept.rotate(now: 2000, lifetime: 100, overlap: 500)
            #expect(kept.saveFailure != nil)
            #expect(try self.files(store).contains("onion-1000.key"))
            _ = kept.rotate(now: 2500, lifetime: 10_000, overlap: 500)
            #expect(kept.saveFailure != nil)
            #expect(try !self.files(store).contains("onion-1000.key"))
        }
    }

    @Test("passes over files whose names tell no time")
    func otherFiles() throws {
        try self.withStore { store in
            for name in [
                "onion-.key", "onion-x.key", "onion-18446744073709551615.key", "onion-99999999999999999999.key",
                "onion-1099511627776.key", "abcdef5.key",
                "onion-5.txt",
            ] {
                #expect(
                    FileManager.default.createFile(atPath: "\(store.directory)/\(name)", contents: Data("no key".utf8)))
            }
            let ring = try store.onionKeys(now: 1000)
            #expect(ring.current.made == 1000)
            #expect(ring.validUntil(lifetime: 100, overlap: 10) == 1110)
            // Those that are no onion keys are not its to delete either.
            let kept = try self.files(store)
            #expect(kept.contains("onion-5.txt") && kept.contains("abcdef5.key"))
        }
    }

    @Test("refuses a key that others can read")
    func readableByOthers() throws {
        try self.withStore { store in
            _ = try store.linkKey()
            try FileManager.default.setAttributes(
                [.posixPermissions: 0o644], ofItemAtPath: "\(store.directory)/link.key")
            #expect(throws: KeyFileError.self) { try store.linkKey() }
        }
    }
}
