import FuzzDriver

@_cdecl("FuzzCircuitRules_main")
public func main(_ argc: Int32, _ argv: FuzzDriver.Arguments) -> Int32 {
    FuzzDriver.run(argc, argv, seeds: FuzzCircuitRules.seeds) { start, count in
        _ = FuzzCircuitRules.feed(FuzzDriver.bytes(start, count))
        return 0
    }
}
