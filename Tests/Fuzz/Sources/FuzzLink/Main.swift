import FuzzDriver

@_cdecl("FuzzLink_main")
public func main(_ argc: Int32, _ argv: FuzzDriver.Arguments) -> Int32 {
    FuzzDriver.run(argc, argv, seeds: FuzzLink.seeds) { start, count in
        _ = FuzzLink.feed(FuzzDriver.bytes(start, count))
        return 0
    }
}
