import FuzzDriver

@_cdecl("FuzzTicket_main")
public func main(_ argc: Int32, _ argv: FuzzDriver.Arguments) -> Int32 {
    FuzzDriver.run(argc, argv, seeds: FuzzTicket.seeds) { start, count in
        _ = FuzzTicket.feed(FuzzDriver.bytes(start, count))
        return 0
    }
}
