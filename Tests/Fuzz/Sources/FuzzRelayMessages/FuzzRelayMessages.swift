import FuzzDriver
import NIOCore
import OnionCells

/// The messages of a relay cell: the walk over them, and every message's data.
@_cdecl("LLVMFuzzerTestOneInput")
public func test(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    let bytes = FuzzDriver.bytes(start, count)
    var walker = RelayMessageWalker()
    do {
        while let header = try walker.next(in: bytes.span.bytes) {
            check(header.data.upperBound <= bytes.count, "a message reaches past its cell")
            decode(ByteBuffer(bytes: bytes[header.data]))
        }
    } catch {}
    decode(ByteBuffer(bytes: bytes))
    return 0
}

@_cdecl("FuzzRelayMessages_main")
public func main(
    _ argc: Int32, _ argv: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> Int32 {
    FuzzDriver.run(argc, argv, test)
}

/// Decode `data` as each message; what is accepted must come back the same.
private func decode(_ data: ByteBuffer) {
    if let begin = try? Begin(data: data) { again(begin, begin.write) { try Begin(data: $0) } }
    if let connected = try? Connected(data: data) { again(connected, connected.write) { try Connected(data: $0) } }
    if let extend = try? Extend(data: data) { again(extend, extend.write) { try Extend(data: $0) } }
    if let resolve = try? Resolve(data: data) { again(resolve, resolve.write) { try Resolve(data: $0) } }
    if let resolved = try? Resolved(data: data) { again(resolved, resolved.write) { try Resolved(data: $0) } }
}

private func again<Message: Equatable>(
    _ message: Message, _ write: (inout ByteBuffer) -> Void, _ read: (ByteBuffer) throws -> Message
) {
    var buffer = ByteBuffer()
    write(&buffer)
    check((try? read(buffer)) == message, "\(message) changed")
}
