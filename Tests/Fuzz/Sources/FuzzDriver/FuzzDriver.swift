import CFuzzer
import Glibc

/// What a fuzz program needs: libFuzzer's loop, its input as the bytes that our decoders take, and a way to write seeds.
public enum FuzzDriver {
    public typealias Callback = @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32
    public typealias Arguments = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?

    /// Run libFuzzer with the program's own arguments; or, for `--seeds FOLDER`, write `seeds` there and end.
    public static func run(
        _ argc: Int32, _ argv: Arguments, seeds: @autoclosure () -> [[UInt8]], _ callback: Callback
    ) -> Int32 {
        let arguments = (0..<Int(argc)).compactMap { argv?[$0].map { String(cString: $0) } }
        if arguments.count == 3, arguments[1] == "--seeds" { return Self.write(seeds(), to: arguments[2]) }
        var argc = argc
        var argv = argv
        return LLVMFuzzerRunDriver(&argc, &argv, callback)
    }

    public static func bytes(_ start: UnsafePointer<UInt8>?, _ count: Int) -> [UInt8] {
        Array(UnsafeBufferPointer(start: start, count: count))
    }

    private static func write(_ seeds: [[UInt8]], to folder: String) -> Int32 {
        for (index, seed) in seeds.enumerated() {
            guard let file = fopen("\(folder)/seed-\(index)", "wb") else { return 1 }
            let count = fwrite(seed, 1, seed.count, file)
            guard fclose(file) == 0, count == seed.count else { return 1 }
        }
        return 0
    }
}
