import FuzzDriver

@_cdecl("FuzzScheduling_main")
public func main(_ argc: Int32, _ argv: FuzzDriver.Arguments) -> Int32 {
    FuzzDriver.run(argc, argv, seeds: FuzzScheduling.seeds) { start, count in
        _ = FuzzScheduling.feed(FuzzDriver.bytes(start, count))
        return 0
    }
}
