import FuzzDriver

@_cdecl("FuzzCells_main")
public func main(_ argc: Int32, _ argv: FuzzDriver.Arguments) -> Int32 {
    FuzzDriver.run(argc, argv, seeds: FuzzCells.seeds) { start, count in
        _ = FuzzCells.feed(FuzzDriver.bytes(start, count))
        return 0
    }
}
