import FuzzDriver

@_cdecl("FuzzChat_main")
public func main(_ argc: Int32, _ argv: FuzzDriver.Arguments) -> Int32 {
    FuzzDriver.run(argc, argv, seeds: FuzzChat.seeds) { start, count in
        _ = FuzzChat.feed(FuzzDriver.bytes(start, count))
        return 0
    }
}
