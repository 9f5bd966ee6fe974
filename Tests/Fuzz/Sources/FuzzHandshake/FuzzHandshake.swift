import FuzzDriver
import OnionCrypto

/// Create and Created: their length with extensions, the OR's answer, and what a client makes of an answer.
@_cdecl("LLVMFuzzerTestOneInput")
public func test(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    let bytes = FuzzDriver.bytes(start, count)
    if let length = try? CircuitHandshake.createByteCount(prefixOf: bytes) {
        check(length <= bytes.count, "a Create is longer than its cell")
    }
    if let length = try? CircuitHandshake.createdByteCount(prefixOf: bytes) {
        check(length <= bytes.count, "a Created is longer than its cell")
    }
    _ = try? fixture.server.respond(to: bytes)
    check((try? fixture.client.complete(created: bytes)) == nil, "a forged Created was believed")
    return 0
}

@_cdecl("FuzzHandshake_main")
public func main(
    _ argc: Int32, _ argv: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> Int32 {
    FuzzDriver.run(argc, argv, test)
}

/// One OR and one client that waits for its answer, of keys that are the same in every run.
private let fixture: (server: CircuitHandshake.Server, client: CircuitHandshake.Client) = {
    guard let identity = Ed25519PrivateKey(seed: [UInt8](repeating: 1, count: 32)),
        let onion = X25519PrivateKey(seed: [UInt8](repeating: 2, count: 32))
    else { fatalError("no keys") }
    return (
        CircuitHandshake.Server(identity: identity.publicKey, onionKeys: [onion]),
        CircuitHandshake.Client(identity: identity.publicKey, onionKey: onion.publicKey)
    )
}()
