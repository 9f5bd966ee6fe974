import FuzzDriver

@_cdecl("FuzzHandshake_main")
public func main(_ argc: Int32, _ argv: FuzzDriver.Arguments) -> Int32 {
    FuzzDriver.run(argc, argv, seeds: FuzzHandshake.seeds) { start, count in
        _ = FuzzHandshake.feed(FuzzDriver.bytes(start, count))
        return 0
    }
}
