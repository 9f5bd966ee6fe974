import FuzzDriver

@_cdecl("FuzzRelayMessages_main")
public func main(_ argc: Int32, _ argv: FuzzDriver.Arguments) -> Int32 {
    FuzzDriver.run(argc, argv, seeds: FuzzRelayMessages.seeds) { start, count in
        _ = FuzzRelayMessages.feed(FuzzDriver.bytes(start, count))
        return 0
    }
}
