import FuzzDriver

@_cdecl("FuzzConsensus_main")
public func main(_ argc: Int32, _ argv: FuzzDriver.Arguments) -> Int32 {
    FuzzDriver.run(argc, argv, seeds: FuzzConsensus.seeds) { start, count in
        _ = FuzzConsensus.feed(FuzzDriver.bytes(start, count))
        return 0
    }
}
