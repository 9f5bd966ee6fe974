import FuzzDriver
import NIOCore

@testable import OnionDirectory

/// Router descriptors: as they come, and the body behind a signature that holds. What is accepted is canonical.
@_cdecl("LLVMFuzzerTestOneInput")
public func test(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    let bytes = FuzzDriver.bytes(start, count)
    _ = try? SignedDescriptor(verifying: bytes)
    let body = ByteBuffer(bytes: bytes)
    if let descriptor = try? RouterDescriptor(body: body) {
        var again = ByteBuffer()
        descriptor.write(to: &again)
        check(again == body, "two encodings of one descriptor")
    }
    return 0
}

@_cdecl("FuzzDescriptor_main")
public func main(
    _ argc: Int32, _ argv: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> Int32 {
    FuzzDriver.run(argc, argv, test)
}
