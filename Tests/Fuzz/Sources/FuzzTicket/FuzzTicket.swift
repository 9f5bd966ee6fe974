import NIOCore
import OnionCrypto

@testable import OnionDirectory

/// The bodies of path tickets and of the directory's Hello, as if signed; one input in 64 is signed.
enum FuzzTicket {
    /// Returns whether the bytes are one of the two.
    static func feed(_ bytes: [UInt8]) -> Bool {
        let directoryKey = Self.key.publicKey
        // The signature is never looked at, but its length is.
        let document = bytes + [UInt8](repeating: 0, count: Ed25519PublicKey.signatureByteCount)
        let ticket = try? PathTicket(document, directoryKey: directoryKey) { _, _, _, kind in kind == .ticket }
        let hello = try? DirectoryHello(document, directoryKey: directoryKey) { _, _, _, kind in kind == .link }
        if let ticket {
            precondition(ticket.bytes == document, "the bytes are not what was signed")
            try? ticket.check(commitment: ticket.commitment, now: 1_795_000_000)
        }
        if let hello {
            precondition(hello.bytes == document, "the bytes are not what was signed")
            try? hello.check(peer: hello.linkKey, now: 1_795_000_000)
        }
        // Signatures take a hundred times as long as what is looked for here.
        if bytes.reduce(0, { $0 &+ Int($1) }) % 64 == 0 {
            _ = try? PathTicket(verifying: bytes, directoryKey: directoryKey)
            _ = try? DirectoryHello(verifying: bytes, directoryKey: directoryKey)
            let body = ByteBuffer(bytes: bytes)
            let signedTicket = SignedDocument.signed(body, kind: .ticket, by: Self.key)
            let readTicket = try? PathTicket(verifying: signedTicket, directoryKey: directoryKey)
            precondition(readTicket?.salt == ticket?.salt, "a signed ticket is read in another way")
            let signedHello = SignedDocument.signed(body, kind: .link, by: Self.key)
            let readHello = try? DirectoryHello(verifying: signedHello, directoryKey: directoryKey)
            precondition(readHello?.linkKey == hello?.linkKey, "a signed Hello is read in another way")
        }
        return ticket != nil || hello != nil
    }

    private static let key: Ed25519PrivateKey = {
        guard let key = Ed25519PrivateKey(seed: [UInt8](repeating: 7, count: 32)) else { fatalError("no key") }
        return key
    }()

    static var seeds: [[UInt8]] {
        let ticket = try? PathTicket.make(
            commitment: .zero, salt: BLAKE2b.hash256([1]), expires: 1_795_000_000, signedBy: Self.key)
        let hello = try? DirectoryHello.make(
            linkKey: Self.key.publicKey, expires: 1_795_000_000, signedBy: Self.key)
        return [ticket?.bytes, hello?.bytes].compactMap { $0?.dropLast(Ed25519PublicKey.signatureByteCount) }
            .map { Array($0) }
    }
}
