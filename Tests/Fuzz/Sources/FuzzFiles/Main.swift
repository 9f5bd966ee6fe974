import FuzzDriver

@_cdecl("FuzzFiles_main")
public func main(_ argc: Int32, _ argv: FuzzDriver.Arguments) -> Int32 {
    FuzzDriver.run(argc, argv, seeds: FuzzFiles.seeds) { start, count in
        _ = FuzzFiles.feed(FuzzDriver.bytes(start, count))
        return 0
    }
}
