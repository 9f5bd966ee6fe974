import FuzzDriver
import OnionAddress
import OnionDirectory

/// Exit rules, network parameters and addresses as people write them, one a line. What is accepted prints as itself.
@_cdecl("LLVMFuzzerTestOneInput")
public func test(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    let text = String(decoding: FuzzDriver.bytes(start, count), as: UTF8.self)
    let lines = text.split(separator: "\n").map(String.init)
    if let policy = try? ExitPolicy(parsing: lines) {
        _ = policy.mayAllow(port: 443)
        for rule in policy.rules { check(ExitRule("\(rule)") == rule, "a rule prints as another") }
    }
    for line in lines {
        if let address = IPAddress(line) { check(IPAddress("\(address)") == address, "an address prints as another") }
        if let endpoint = Endpoint(line) { check(Endpoint("\(endpoint)") == endpoint, "an endpoint prints as another") }
        var parameters = NetworkParameters()
        try? parameters.set(parsing: line)
    }
    return 0
}

@_cdecl("FuzzExitPolicy_main")
public func main(
    _ argc: Int32, _ argv: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> Int32 {
    FuzzDriver.run(argc, argv, test)
}
