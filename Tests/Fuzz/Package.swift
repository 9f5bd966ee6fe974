// swift-tools-version: 6.2
import PackageDescription

// One program per decoder or machine, with no more of Thor in it than that needs: libFuzzer looks at the whole program's counters after
// each input. Build with run.sh, which says with what sanitizers; Thor's own Package.swift is told as well.
let sanitize = "-sanitize=\(Context.environment["THOR_FUZZ_SANITIZERS"] ?? "fuzzer")"
let nioConcurrencyHelpers = Target.Dependency.product(name: "NIOConcurrencyHelpers", package: "swift-nio")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioEmbedded = Target.Dependency.product(name: "NIOEmbedded", package: "swift-nio")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let nioTLS = Target.Dependency.product(name: "NIOTLS", package: "swift-nio")

func program(_ name: String, _ modules: String...) -> Target {
    let thor = modules.map { Target.Dependency.product(name: $0, package: "thor") }
    return .executableTarget(
        name: name, dependencies: ["FuzzDriver", nioConcurrencyHelpers, nioCore, nioEmbedded, nioHTTP1, nioTLS] + thor,
        // Any Main.swift begins with a function.
        swiftSettings: [
            .unsafeFlags([sanitize, "-assert-config", "Debug", "-parse-as-library"])
        ],
        // gold, the default, stops with an internal error when it meets optimised code with coverage.
        linkerSettings: [.unsafeFlags([sanitize, "-use-ld=lld"])])
}

let package = Package(
    name: "thor-fuzz",
    dependencies: [
        .package(name: "thor", path: "../.."),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    ],
    targets: [
        .target(name: "CFuzzer"),
        .target(name: "FuzzDriver", dependencies: ["CFuzzer"]),
        program("FuzzCells", "OnionAddress", "OnionCells", "OnionCrypto"),
        program("FuzzRelayMessages", "OnionAddress", "OnionCells", "OnionCrypto"),
        program("FuzzHandshake", "OnionCrypto"),
        program("FuzzDirectoryFrames", "OnionCrypto", "OnionDirectory"),
        program("FuzzDescriptor", "OnionAddress", "OnionCrypto", "OnionDirectory"),
        program("FuzzConsensus", "OnionAddress", "OnionCrypto", "OnionDirectory"),
        program("FuzzTicket", "OnionCrypto", "OnionDirectory"),
        program("FuzzExitPolicy", "OnionAddress", "OnionDirectory"),
        program("FuzzSOCKS", "OnionClient", "ProxyFrontend"),
        program("FuzzCipher", "OnionCrypto"),
        program("FuzzCircuitRules", "OnionCells", "OnionCircuits", "OnionCrypto"),
        program("FuzzStreams", "OnionCells", "OnionCircuits"),
        program("FuzzCongestion", "OnionCells", "OnionCircuits", "OnionCrypto"),
        program("FuzzScheduling", "OnionCircuits"),
        program("FuzzLink", "OnionCells", "OnionLink"),
        program(
            "FuzzRouter", "OnionAddress", "OnionCells", "OnionCrypto", "OnionDirectory", "OnionLink", "OnionRouter"),
        program("FuzzHTTP", "ProxyFrontend"),
        program("FuzzText", "OnionClient", "ProxyFrontend", "ThorDaemon"),
        program("FuzzFiles", "DirectoryServer", "OnionClient", "OnionCrypto"),
        program("FuzzDirectoryServer", "DirectoryServer", "OnionAddress", "OnionCrypto", "OnionDirectory", "OnionLink"),
        program("FuzzChat", "ThorChat"),
        program("FuzzCircuit", "OnionAddress", "OnionCells", "OnionCircuits", "OnionCrypto", "OnionStreams"),
    ]
)
