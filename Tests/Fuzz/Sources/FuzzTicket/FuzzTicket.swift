import FuzzDriver
import NIOCore
import OnionCrypto

@testable import OnionDirectory

/// Path tickets and the directory's Hello: as they come, and signed so that the body is read.
@_cdecl("LLVMFuzzerTestOneInput")
public func test(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    let bytes = FuzzDriver.bytes(start, count)
    _ = try? PathTicket(verifying: bytes, directoryKey: key.publicKey)
    _ = try? DirectoryHello(verifying: bytes, directoryKey: key.publicKey)
    let ticket = SignedDocument.signed(ByteBuffer(bytes: bytes), kind: .ticket, by: key)
    _ = try? PathTicket(verifying: ticket, directoryKey: key.publicKey)
    let hello = SignedDocument.signed(ByteBuffer(bytes: bytes), kind: .link, by: key)
    _ = try? DirectoryHello(verifying: hello, directoryKey: key.publicKey)
    return 0
}

@_cdecl("FuzzTicket_main")
public func main(
    _ argc: Int32, _ argv: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> Int32 {
    FuzzDriver.run(argc, argv, test)
}

/// The key that signs here, so that the fuzzer gets past the signature.
private let key: Ed25519PrivateKey = {
    guard let key = Ed25519PrivateKey(seed: [UInt8](repeating: 7, count: 32)) else { fatalError("no key") }
    return key
}()
