import FuzzDriver

@_cdecl("FuzzRouter_main")
public func main(_ argc: Int32, _ argv: FuzzDriver.Arguments) -> Int32 {
    FuzzDriver.run(argc, argv, seeds: FuzzRouter.seeds) { start, count in
        _ = FuzzRouter.feed(FuzzDriver.bytes(start, count))
        return 0
    }
}
