import CFuzzer
public import NIOCore

/// What a fuzz target needs: libFuzzer's loop, and its input as the bytes our decoders take.
public enum FuzzDriver {
    public typealias Callback = @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32

    /// Run libFuzzer with the program's own arguments.
    public static func run(
        _ argc: Int32, _ argv: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?, _ callback: Callback
    ) -> Int32 {
        var argc = argc
        var argv = argv
        return LLVMFuzzerRunDriver(&argc, &argv, callback)
    }

    public static func bytes(_ start: UnsafePointer<UInt8>?, _ count: Int) -> [UInt8] {
        Array(UnsafeBufferPointer(start: start, count: count))
    }

    public static func buffer(_ start: UnsafePointer<UInt8>?, _ count: Int) -> ByteBuffer {
        ByteBuffer(bytes: UnsafeBufferPointer(start: start, count: count))
    }
}

/// Stop the fuzzer: something that must hold does not.
public func check(_ condition: Bool, _ what: @autoclosure () -> String) {
    guard condition else { fatalError(what()) }
}
