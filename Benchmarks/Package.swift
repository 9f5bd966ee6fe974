// swift-tools-version: 6.2
import PackageDescription

// Measures the libraries of the package above. Ours alone: nothing here is installed or tested.
let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")

func onion(_ names: String...) -> [Target.Dependency] { names.map { .product(name: $0, package: "thor") } }

let package = Package(
    name: "thor-benchmarks",
    dependencies: [
        .package(name: "thor", path: ".."),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    ],
    targets: [
        .target(name: "CAllocations"),
        // Time and allocations of each layer's smallest parts.
        .executableTarget(
            name: "onion-bench",
            dependencies: ["CAllocations", argumentParser, nioCore]
                + onion(
                    "OnionAddress", "OnionCells", "OnionCircuits", "OnionCrypto", "OnionDirectory", "OnionLink")),
        .target(name: "CTiming"),
        // Looks for secrets in the time that code takes.
        .executableTarget(
            name: "onion-timing", dependencies: ["CTiming", argumentParser] + onion("OnionCrypto", "ProxyFrontend")),
        // Builds circuits in a running network.
        .executableTarget(
            name: "onion-circuits",
            dependencies: [argumentParser, logging, nioCore, nioPosix] + onion("OnionClient", "OnionCrypto")),
    ]
)
