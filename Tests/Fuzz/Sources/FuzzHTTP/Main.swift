import FuzzDriver

@_cdecl("FuzzHTTP_main")
public func main(_ argc: Int32, _ argv: FuzzDriver.Arguments) -> Int32 {
    FuzzDriver.run(argc, argv, seeds: FuzzHTTP.seeds) { start, count in
        _ = FuzzHTTP.feed(FuzzDriver.bytes(start, count))
        return 0
    }
}
