import FuzzDriver

@_cdecl("FuzzCircuit_main")
public func main(_ argc: Int32, _ argv: FuzzDriver.Arguments) -> Int32 {
    FuzzDriver.run(argc, argv, seeds: FuzzCircuit.seeds) { start, count in
        _ = FuzzCircuit.feed(FuzzDriver.bytes(start, count))
        return 0
    }
}
