import FuzzDriver
import NIOCore

@testable import ProxyFrontend

/// The proxy's one port: SOCKS5, SOCKS4 and HTTP, whole and byte by byte.
@_cdecl("LLVMFuzzerTestOneInput")
public func test(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    let bytes = FuzzDriver.bytes(start, count)
    let whole = actions(of: [bytes[...]])
    check(actions(of: bytes.indices.map { bytes[$0...$0] }) == whole, "a handshake depends on how it arrives")
    return 0
}

@_cdecl("FuzzSOCKS_main")
public func main(
    _ argc: Int32, _ argv: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> Int32 {
    FuzzDriver.run(argc, argv, test)
}

/// What a handshake asks for, without the waiting, up to its last action.
private func actions(of parts: [ArraySlice<UInt8>]) -> [HandshakeAction] {
    var handshake = ProxyHandshake(access: .open)
    var buffer = ByteBuffer()
    var actions: [HandshakeAction] = []
    for part in parts {
        buffer.writeBytes(part)
        reading: while true {
            let action = handshake.next(from: &buffer)
            switch action {
            case .wait: break reading
            case .send: actions.append(action)
            case .request, .finish, .close: return actions + [action]
            }
        }
        check(buffer.readableBytes <= ProxyHandshake.maximumPendingByteCount, "a handshake waits with too much unread")
    }
    return actions
}
