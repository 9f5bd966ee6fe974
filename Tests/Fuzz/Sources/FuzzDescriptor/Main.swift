import FuzzDriver

@_cdecl("FuzzDescriptor_main")
public func main(_ argc: Int32, _ argv: FuzzDriver.Arguments) -> Int32 {
    FuzzDriver.run(argc, argv, seeds: FuzzDescriptor.seeds) { start, count in
        _ = FuzzDescriptor.feed(FuzzDriver.bytes(start, count))
        return 0
    }
}
