import NIOCore
import OnionAddress
import OnionCrypto
import Testing

@testable import OnionDirectory

@Suite("Router descriptor")
struct RouterDescriptorTests {
    private let key = Make.key(40)

    private func full() throws -> RouterDescriptor {
        let rules = ["reject 192.0.2.0/24:*", "accept [2001:db8::]/32:80-443", "accept *:443"]
        var descriptor = Make.descriptor(
            of: self.key, addresses: ["5.6.7.8:9001", "[2a00::1]:443"],
            family: [Make.key(3).publicKey, Make.key(2).publicKey, self.key.publicKey], country: "se",
            policy: try ExitPolicy(parsing: rules))
        descriptor.contact = "Åsa <asa@example.org>"
        return descriptor
    }

    @Test("comes out as it went in; the bytes are those that were signed") func roundTrip() throws {
        let descriptor = try self.full()
        #expect(descriptor.country == "SE")
        #expect(descriptor.family == [Make.key(3).publicKey, Make.key(2).publicKey].sorted())
        let signed = try descriptor.signed(by: self.key)
        #expect(signed.descriptor == descriptor)
        let read = try SignedDescriptor(verifying: signed.bytes)
        #expect(read == signed && read.descriptor == descriptor)
        #expect(try read.descriptor.signed(by: self.key).bytes == signed.bytes)
        #expect(
            try Make.descriptor(of: self.key, policy: .rejectAll).signed(by: self.key).descriptor.exitPolicy
                == .rejectAll)
    }

    @Test("is refused cut off at every byte, and with any byte changed") func damage() throws {
        let bytes = try self.full().signed(by: self.key).bytes
        for count in 0..<bytes.count {
            #expect(throws: DirectoryError.self) { try SignedDescriptor(verifying: bytes[..<count]) }
        }
        for index in bytes.indices {
            var changed = bytes
            changed[index] ^= 1 << UInt8(index % 8)
            #expect(throws: DirectoryError.self, "byte \(index)") { try SignedDescriptor(verifying: changed) }
        }
        #expect(throws: DirectoryError.self) { try SignedDescriptor(verifying: bytes + [0]) }
    }

    @Test("a body that its own key signed is still refused cut off at every byte") func signedTruncation() throws {
        var body = ByteBuffer()
        try self.full().write(to: &body)
        for count in 0..<body.readableBytes {
            let part = try #require(body.getSlice(at: 0, length: count))
            let bytes = SignedDocument.signed(part, kind: .descriptor, by: self.key)
            #expect(throws: DirectoryError.self) { try SignedDescriptor(verifying: bytes) }
        }
        body.writeInteger(UInt8(0))
        #expect(throws: DirectoryError.trailingBytes(1)) {
            try SignedDescriptor(verifying: SignedDocument.signed(body, kind: .descriptor, by: self.key))
        }
    }

    @Test("another key, and a signature of another kind, are refused") func signatures() throws {
        #expect(throws: DirectoryError.badSignature(.descriptor)) { try self.full().signed(by: Make.key(41)) }
        var body = ByteBuffer()
        try self.full().write(to: &body)
        for kind in SignedKind.allCases where kind != .descriptor {
            #expect(throws: DirectoryError.badSignature(.descriptor)) {
                try SignedDescriptor(verifying: SignedDocument.signed(body, kind: kind, by: self.key))
            }
        }
    }

    /// Sign without the checks of `signed(by:)`, as a hostile router would.
    private func error(_ change: (inout RouterDescriptor) -> Void) throws -> DirectoryError? {
        var descriptor = try self.full()
        change(&descriptor)
        var body = ByteBuffer()
        descriptor.write(to: &body)
        do throws(DirectoryError) {
            _ = try SignedDescriptor(verifying: SignedDocument.signed(body, kind: .descriptor, by: self.key))
            return nil
        } catch { return error }
    }

    @Test("a hostile router's values are refused") func values() throws {
        let some = Make.endpoint("5.6.7.8:1")
        let members = (0..<9).map { Make.key($0).publicKey }.sorted()
        #expect(try self.error { $0.country = "S1" } == .invalidField(.country))
        #expect(try self.error { $0.country = "se" } == .invalidField(.country))
        #expect(try self.error { $0.nickname = "" } == .invalidField(.nickname))
        #expect(try self.error { $0.nickname = "a b" } == .invalidField(.nickname))
        #expect(try self.error { $0.nickname = "\u{1b}[31m" } == .invalidField(.nickname))
        #expect(
            try self.error { $0.nickname = String(repeating: "a", count: 33) }
                == .limitExceeded(.nickname, have: 33, limit: 32))
        #expect(try self.error { $0.nickname = String(repeating: "a", count: 32) } == nil)
        #expect(try self.error { $0.software = "thör" } == .invalidField(.software))
        #expect(
            try self.error { $0.software = String(repeating: "a", count: 65) }
                == .limitExceeded(.software, have: 65, limit: 64))
        #expect(try self.error { $0.contact = "a\nb" } == .invalidField(.contact))
        #expect(try self.error { $0.contact = "\u{202e}moc" } == .invalidField(.contact))
        #expect(
            try self.error { $0.contact = String(repeating: "a", count: 129) }
                == .limitExceeded(.contact, have: 129, limit: 128))
        #expect(try self.error { $0.protocolVersions = [] } == .invalidField(.protocolVersions))
        #expect(try self.error { $0.protocolVersions = [2, 1] } == .notCanonical(.protocolVersions))
        #expect(try self.error { $0.protocolVersions = [1, 1] } == .notCanonical(.protocolVersions))
        #expect(
            try self.error { $0.protocolVersions = Array(1...9) }
                == .limitExceeded(.protocolVersions, have: 9, limit: 8))
        #expect(try self.error { $0.addresses = [] } == .invalidField(.addresses))
        #expect(try self.error { $0.addresses = [some, some] } == .notCanonical(.addresses))
        #expect(try self.error { $0.addresses = [Endpoint(address: some.address, port: 0)] } == .invalidField(.port))
        #expect(
            try self.error { $0.addresses = (1...5).map { Endpoint(address: some.address, port: $0) } }
                == .limitExceeded(.addresses, have: 5, limit: 4))
        #expect(try self.error { $0.family = [members[1], members[0]] } == .notCanonical(.family))
        #expect(try self.error { $0.family = [members[0], members[0]] } == .notCanonical(.family))
        #expect(try self.error { $0.family = [self.key.publicKey] } == .invalidField(.family))
        #expect(try self.error { $0.family = members } == .limitExceeded(.family, have: 9, limit: 8))
    }

    @Test("our own too long a text, or list, is named before anything is signed") func ownLimits() throws {
        var long = try self.full()
        long.contact = String(repeating: "c", count: 300)
        #expect(throws: DirectoryError.limitExceeded(.contact, have: 300, limit: 128)) { try long.signed(by: self.key) }
        long = try self.full()
        long.software = String(repeating: "s", count: 300)
        #expect(throws: DirectoryError.limitExceeded(.software, have: 300, limit: 64)) { try long.signed(by: self.key) }
        // The number of each would be written as 1.
        long = try self.full()
        long.protocolVersions = Array(1...257)
        #expect(throws: DirectoryError.limitExceeded(.protocolVersions, have: 257, limit: 8)) {
            try long.signed(by: self.key)
        }
        long = try self.full()
        long.addresses = (1...257).map { Endpoint(address: .v4(0x0506_0708), port: $0) }
        #expect(throws: DirectoryError.limitExceeded(.addresses, have: 257, limit: 4)) { try long.signed(by: self.key) }
        long = try self.full()
        long.family = (0...256).compactMap { number in
            Ed25519PublicKey(rawBytes: [UInt8(number / 256), UInt8(number % 256)] + [UInt8](repeating: 7, count: 30))
        }
        #expect(throws: DirectoryError.limitExceeded(.family, have: 257, limit: 8)) { try long.signed(by: self.key) }
    }

    @Test("is under 1 kB: the limit is taken, one byte more is refused") func size() throws {
        var descriptor = Make.descriptor(of: self.key, family: (0..<8).map { Make.key($0).publicKey })
        descriptor.addresses = (1...4).map { Endpoint(address: .v6(hi: 0x2a00 << 48, lo: $0), port: 9001) }
        descriptor.software = String(repeating: "s", count: 64)
        let rules = (0..<14).map { "accept [2a00::\($0)]:443" }
        descriptor.exitPolicy = try ExitPolicy(parsing: rules)
        func byteCount() throws -> Int { try descriptor.signed(by: self.key).bytes.count }
        descriptor.contact = ""
        let without = try byteCount()
        let room = DirectoryLimits.descriptorByteCount - without
        try #require((1..<128).contains(room), "\(room)")
        descriptor.contact = String(repeating: "c", count: room)
        #expect(try byteCount() == 1_023)
        descriptor.contact += "c"
        #expect(throws: DirectoryError.limitExceeded(.descriptor, have: 1_024, limit: 1_023)) { try byteCount() }
    }

    @Test("an unknown version is said to be that") func version() throws {
        var body = ByteBuffer()
        try self.full().write(to: &body)
        body.setInteger(UInt8(2), at: 0)
        #expect(throws: DirectoryError.unsupportedVersion(2)) {
            try SignedDescriptor(verifying: SignedDocument.signed(body, kind: .descriptor, by: self.key))
        }
        // Before the signature, as its key may be elsewhere then.
        #expect(throws: DirectoryError.unsupportedVersion(2)) {
            try SignedDescriptor(verifying: [2] + [UInt8](repeating: 0, count: 200))
        }
    }
}
