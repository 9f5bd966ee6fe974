import FuzzDriver
import NIOCore
import OnionDirectory

/// The stream of frames on a directory connection, at both ends, cut in two at a place that the input chooses.
@_cdecl("LLVMFuzzerTestOneInput")
public func test(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    let bytes = FuzzDriver.bytes(start, count)
    guard let first = bytes.first else { return 0 }
    let stream = Array(bytes.dropFirst())
    for side in [DirectorySide.directory, .participant] {
        let whole = messages(of: [stream[...]], side)
        let cut = min(Int(first), stream.count)
        check(messages(of: [stream[..<cut], stream[cut...]], side) == whole, "frames depend on how they arrive")
    }
    return 0
}

@_cdecl("FuzzDirectoryFrames_main")
public func main(
    _ argc: Int32, _ argv: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> Int32 {
    FuzzDriver.run(argc, argv, test)
}

/// All messages up to the first error.
private func messages(of parts: [ArraySlice<UInt8>], _ side: DirectorySide) -> [DirectoryMessage] {
    var decoder = DirectoryFrameDecoder(receiver: side)
    var messages: [DirectoryMessage] = []
    for part in parts {
        decoder.append(ByteBuffer(bytes: part))
        do {
            while let message = try decoder.next() { messages.append(message) }
        } catch { return messages }
    }
    return messages
}
