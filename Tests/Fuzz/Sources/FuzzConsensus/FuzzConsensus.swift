import FuzzDriver
import NIOCore
import OnionCrypto

@testable import OnionDirectory

/// Consensuses: as they come, and signed so that the body is read.
@_cdecl("LLVMFuzzerTestOneInput")
public func test(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    let bytes = FuzzDriver.bytes(start, count)
    _ = try? Consensus(verifying: bytes, directoryKey: key.publicKey)
    let signed = SignedDocument.signed(ByteBuffer(bytes: bytes), kind: .consensus, by: key)
    if let consensus = try? Consensus(verifying: signed, directoryKey: key.publicKey) {
        check(consensus.bytes == signed, "the bytes are not what was signed")
        _ = try? consensus.acceptance(after: nil, now: consensus.validAfter)
    }
    return 0
}

@_cdecl("FuzzConsensus_main")
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
