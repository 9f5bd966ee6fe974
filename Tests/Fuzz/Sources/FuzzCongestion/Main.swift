import FuzzDriver

@_cdecl("FuzzCongestion_main")
public func main(_ argc: Int32, _ argv: FuzzDriver.Arguments) -> Int32 {
    FuzzDriver.run(argc, argv, seeds: FuzzCongestion.seeds) { start, count in
        _ = FuzzCongestion.feed(FuzzDriver.bytes(start, count))
        return 0
    }
}
