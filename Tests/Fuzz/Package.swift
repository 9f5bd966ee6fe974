// swift-tools-version: 6.2
import PackageDescription

// One executable per decoder. Build with Tests/Fuzz/run.sh, which passes the flags: the coverage that guides the fuzzer
// must be in the libraries too, so they cannot stand here.
let onion = ["OnionAddress", "OnionCells", "OnionCrypto", "OnionDirectory", "ProxyFrontend"].map {
    Target.Dependency.product(name: $0, package: "thor")
}
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")

let package = Package(
    name: "thor-fuzz",
    dependencies: [
        .package(name: "thor", path: "../.."),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    ],
    targets: [
        .target(name: "CFuzzer"),
        .target(name: "FuzzDriver", dependencies: ["CFuzzer", nioCore]),
    ]
        + [
            "FuzzCells", "FuzzRelayMessages", "FuzzHandshake", "FuzzDirectoryFrames", "FuzzDescriptor",
            "FuzzConsensus", "FuzzTicket", "FuzzExitPolicy", "FuzzSOCKS",
        ].map { .executableTarget(name: $0, dependencies: ["FuzzDriver", nioCore] + onion) }
)
