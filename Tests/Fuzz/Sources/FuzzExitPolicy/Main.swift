import FuzzDriver

@_cdecl("FuzzExitPolicy_main")
public func main(_ argc: Int32, _ argv: FuzzDriver.Arguments) -> Int32 {
    FuzzDriver.run(argc, argv, seeds: FuzzExitPolicy.seeds) { start, count in
        _ = FuzzExitPolicy.feed(FuzzDriver.bytes(start, count))
        return 0
    }
}
