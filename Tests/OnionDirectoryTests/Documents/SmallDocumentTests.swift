import NIOCore
import OnionCrypto
import Testing

@testable import OnionDirectory

@Suite("Ticket and Hello")
struct SmallDocumentTests {
    private let key = Make.directory.publicKey

    @Test("a ticket comes out as it went in") func ticket() throws {
        let ticket = try PathTicket.make(
            commitment: Make.bytes32(1), salt: Make.bytes32(2), expires: 1_000, signedBy: Make.directory)
        #expect(ticket.bytes.count == PathTicket.byteCount)
        let read = try PathTicket(verifying: ticket.bytes, directoryKey: self.key)
        #expect(read == ticket)
        #expect(read.commitment == Make.bytes32(1) && read.salt == Make.bytes32(2) && read.expires == 1_000)
        try read.check(commitment: Make.bytes32(1), now: 999)
        #expect(throws: DirectoryError.expired(validUntil: 1_000, now: 1_000)) {
            try read.check(commitment: Make.bytes32(1), now: 1_000)
        }
        #expect(throws: DirectoryError.invalidField(.identity)) { try read.check(commitment: Make.bytes32(3), now: 0) }
    }

    @Test("a Hello comes out as it went in, and is for one TLS key") func hello() throws {
        let hello = try DirectoryHello.make(linkKey: Make.key(5).publicKey, expires: 1_000, signedBy: Make.directory)
        #expect(hello.bytes.count == DirectoryHello.byteCount)
        let read = try DirectoryHello(verifying: hello.bytes, directoryKey: self.key)
        #expect(read == hello)
        try read.check(peer: Make.key(5).publicKey, now: 999)
        #expect(throws: DirectoryError.wrongLinkKey) { try read.check(peer: Make.key(6).publicKey, now: 0) }
        #expect(throws: DirectoryError.expired(validUntil: 1_000, now: 1_000)) {
            try read.check(peer: Make.key(5).publicKey, now: 1_000)
        }
    }

    @Test("both are refused damaged, for another key, and in each other's place") func refusals() throws {
        let ticket = try PathTicket.make(commitment: .zero, salt: .zero, expires: 1, signedBy: Make.directory).bytes
        let hello = try DirectoryHello.make(linkKey: self.key, expires: 1, signedBy: Make.directory).bytes
        func isTicket(_ bytes: [UInt8]) -> Bool { (try? PathTicket(verifying: bytes, directoryKey: self.key)) != nil }
        func isHello(_ bytes: [UInt8]) -> Bool {
            (try? DirectoryHello(verifying: bytes, directoryKey: self.key)) != nil
        }
        #expect(isTicket(ticket) && isHello(hello))
        #expect(!isTicket(hello) && !isHello(ticket))
        #expect(!isTicket(ticket + [0]) && !isHello(hello + [0]))
        for bit in 0..<ticket.count * 8 {
            var changed = ticket
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(!isTicket(changed))
        }
        for bit in 0..<hello.count * 8 {
            var changed = hello
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(!isHello(changed))
        }
        for count in ticket.indices { #expect(!isTicket(Array(ticket[..<count]))) }
        for count in hello.indices { #expect(!isHello(Array(hello[..<count]))) }
        let other = Make.key(9).publicKey
        #expect(throws: DirectoryError.badSignature(.ticket)) { try PathTicket(verifying: ticket, directoryKey: other) }
        #expect(throws: DirectoryError.badSignature(.link)) {
            try DirectoryHello(verifying: hello, directoryKey: other)
        }
    }

    @Test("a longer one, and one of another version, are said to be that") func forms() throws {
        let ticket = try PathTicket.make(commitment: .zero, salt: .zero, expires: 1, signedBy: Make.directory).bytes
        let hello = try DirectoryHello.make(linkKey: self.key, expires: 1, signedBy: Make.directory).bytes
        #expect(throws: DirectoryError.trailingBytes(1)) {
            try PathTicket(verifying: ticket + [0], directoryKey: self.key)
        }
        #expect(throws: DirectoryError.trailingBytes(1)) {
            try DirectoryHello(verifying: hello + [0], directoryKey: self.key)
        }
        func signed(_ document: [UInt8], _ kind: SignedKind) -> [UInt8] {
            SignedDocument.signed(
                ByteBuffer(bytes: [2] + document.dropFirst().dropLast(64)), kind: kind, by: Make.directory)
        }
        #expect(throws: DirectoryError.unsupportedVersion(2)) {
            try PathTicket(verifying: signed(ticket, .ticket), directoryKey: self.key)
        }
        #expect(throws: DirectoryError.unsupportedVersion(2)) {
            try DirectoryHello(verifying: signed(hello, .link), directoryKey: self.key)
        }
    }

    @Test("every error says something, and a wrong directory key says what to do") func texts() {
        #expect(DirectoryError.notCanonical(.exitPolicy).description.contains("exit policy"))
        #expect(DirectoryError.badSignature(.consensus).description.contains("public key file"))
        if case .fixConfiguration(let what) = DirectoryError.badSignature(.link).recovery {
            #expect(what.contains("public key file"))
        } else {
            Issue.record("a wrong key is for the operator to fix")
        }
        #expect(DirectoryErrorCode.busy.isWorthRetrying && !DirectoryErrorCode.notAllowed.isWorthRetrying)
    }
}
