import FuzzDriver

@_cdecl("FuzzSOCKS_main")
public func main(_ argc: Int32, _ argv: FuzzDriver.Arguments) -> Int32 {
    FuzzDriver.run(argc, argv, seeds: FuzzSOCKS.seeds) { start, count in
        _ = FuzzSOCKS.feed(FuzzDriver.bytes(start, count))
        return 0
    }
}
