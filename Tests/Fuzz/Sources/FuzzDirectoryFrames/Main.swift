import FuzzDriver

@_cdecl("FuzzDirectoryFrames_main")
public func main(_ argc: Int32, _ argv: FuzzDriver.Arguments) -> Int32 {
    FuzzDriver.run(argc, argv, seeds: FuzzDirectoryFrames.seeds) { start, count in
        _ = FuzzDirectoryFrames.feed(FuzzDriver.bytes(start, count))
        return 0
    }
}
