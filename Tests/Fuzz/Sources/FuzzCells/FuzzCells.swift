import FuzzDriver
import NIOCore
import OnionCells

/// Cell headers, NetInfo and the handshake bodies: what any peer sends first. What is accepted must come back the same.
@_cdecl("LLVMFuzzerTestOneInput")
public func test(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    let bytes = FuzzDriver.bytes(start, count)
    if bytes.count >= Cell.headerByteCount {
        let header = CellHeader(of: bytes.span.bytes)
        var again = Array(bytes.prefix(Cell.headerByteCount))
        var span = again.mutableSpan
        var raw = span.mutableBytes
        header.write(to: &raw)
        check(again == Array(bytes.prefix(Cell.headerByteCount)), "a header changed")
    }
    if let info = try? NetInfo(body: ByteBuffer(bytes: bytes)) {
        var buffer = ByteBuffer()
        info.write(to: &buffer)
        check((try? NetInfo(body: buffer)) == info, "NetInfo changed")
    }
    _ = try? HandshakeBody.create(in: bytes.span.bytes)
    _ = try? HandshakeBody.created(in: bytes.span.bytes)
    return 0
}

@_cdecl("FuzzCells_main")
public func main(
    _ argc: Int32, _ argv: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> Int32 {
    FuzzDriver.run(argc, argv, test)
}
