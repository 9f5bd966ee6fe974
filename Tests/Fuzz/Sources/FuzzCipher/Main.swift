import FuzzDriver

@_cdecl("FuzzCipher_main")
public func main(_ argc: Int32, _ argv: FuzzDriver.Arguments) -> Int32 {
    FuzzDriver.run(argc, argv, seeds: FuzzCipher.seeds) { start, count in
        _ = FuzzCipher.feed(FuzzDriver.bytes(start, count))
        return 0
    }
}
