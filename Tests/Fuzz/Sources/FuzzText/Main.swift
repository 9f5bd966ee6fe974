import FuzzDriver

@_cdecl("FuzzText_main")
public func main(_ argc: Int32, _ argv: FuzzDriver.Arguments) -> Int32 {
    FuzzDriver.run(argc, argv, seeds: FuzzText.seeds) { start, count in
        _ = FuzzText.feed(FuzzDriver.bytes(start, count))
        return 0
    }
}
