import FuzzDriver

@_cdecl("FuzzDirectoryServer_main")
public func main(_ argc: Int32, _ argv: FuzzDriver.Arguments) -> Int32 {
    FuzzDriver.run(argc, argv, seeds: FuzzDirectoryServer.seeds) { start, count in
        _ = FuzzDirectoryServer.feed(FuzzDriver.bytes(start, count))
        return 0
    }
}
