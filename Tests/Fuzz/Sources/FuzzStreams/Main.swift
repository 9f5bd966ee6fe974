import FuzzDriver

@_cdecl("FuzzStreams_main")
public func main(_ argc: Int32, _ argv: FuzzDriver.Arguments) -> Int32 {
    FuzzDriver.run(argc, argv, seeds: FuzzStreams.seeds) { start, count in
        _ = FuzzStreams.feed(FuzzDriver.bytes(start, count))
        return 0
    }
}
