// swift-tools-version: 6.2
import PackageDescription

let houseRules: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

// What the targets take from other packages, by the name under which they are imported.
let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let asyncHTTPClient = Target.Dependency.product(name: "AsyncHTTPClient", package: "async-http-client")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let deque = Target.Dependency.product(name: "DequeModule", package: "swift-collections")
let grdb = Target.Dependency.product(name: "GRDB", package: "GRDB.swift")
let lifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let metrics = Target.Dependency.product(name: "CoreMetrics", package: "swift-metrics")
let nioConcurrencyHelpers = Target.Dependency.product(name: "NIOConcurrencyHelpers", package: "swift-nio")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioEmbedded = Target.Dependency.product(name: "NIOEmbedded", package: "swift-nio")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioTLS = Target.Dependency.product(name: "NIOTLS", package: "swift-nio")
let nioSSL = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")
let swiftASN1 = Target.Dependency.product(name: "SwiftASN1", package: "swift-asn1")
let unixSignals = Target.Dependency.product(name: "UnixSignals", package: "swift-service-lifecycle")
let x509 = Target.Dependency.product(name: "X509", package: "swift-certificates")

// The fuzzers are a package of their own, Tests/Fuzz; what they do with an input is compiled into a test here as well.
let fuzzPrograms = [
    "FuzzCells", "FuzzChat", "FuzzCipher", "FuzzCircuit", "FuzzCircuitRules", "FuzzCongestion", "FuzzConsensus",
    "FuzzDescriptor", "FuzzDirectoryFrames", "FuzzDirectoryServer", "FuzzExitPolicy", "FuzzFiles", "FuzzHTTP",
    "FuzzHandshake", "FuzzLink", "FuzzRelayMessages", "FuzzRouter", "FuzzScheduling", "FuzzSOCKS", "FuzzStreams",
    "FuzzText", "FuzzTicket",
]

let package = Package(
    name: "thor",
    products: [
        .library(name: "OnionCrypto", targets: ["OnionCrypto"]),
        .library(name: "OnionAddress", targets: ["OnionAddress"]),
        .library(name: "OnionCells", targets: ["OnionCells"]),
        .library(name: "OnionDirectory", targets: ["OnionDirectory"]),
        .library(name: "OnionCircuits", targets: ["OnionCircuits"]),
        // For Benchmarks.
        .library(name: "OnionLink", targets: ["OnionLink"]),
        // For Tests/Fuzz.
        .library(name: "OnionStreams", targets: ["OnionStreams"]),
        .library(name: "OnionRouter", targets: ["OnionRouter"]),
        .library(name: "DirectoryServer", targets: ["DirectoryServer"]),
        .library(name: "ThorChat", targets: ["ThorChat"]),
        .library(name: "ThorDaemon", targets: ["ThorDaemon"]),
        .library(name: "ProxyFrontend", targets: ["ProxyFrontend"]),
        .library(name: "OnionClient", targets: ["OnionClient"]),
        .executable(name: "thor-keys", targets: ["thor-keys"]),
        .executable(name: "thor-directory", targets: ["thor-directory"]),
        .executable(name: "thor-router", targets: ["thor-router"]),
        .executable(name: "thor-proxy", targets: ["thor-proxy"]),
        .executable(name: "thor-testnet", targets: ["thor-testnet"]),
        .executable(name: "thor-chatgpt", targets: ["thor-chatgpt"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-asn1", from: "1.7.4"),
        .package(url: "https://github.com/apple/swift-certificates", from: "1.21.1"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        // C
        .systemLibrary(name: "CSodium", pkgConfig: "libsodium", providers: [.apt(["libsodium-dev"])]),
        .systemLibrary(name: "CAres", pkgConfig: "libcares", providers: [.apt(["libc-ares-dev"])]),
        .systemLibrary(name: "CMalloc"),
        .target(name: "COnionCipher"),
        .target(name: "CConfinement"),

        // 0 Crypto
        .target(name: "OnionCrypto", dependencies: ["COnionCipher", "CSodium", crypto], swiftSettings: houseRules),

        // 1 Formats
        .target(name: "OnionAddress", dependencies: [nioCore], swiftSettings: houseRules),
        .target(name: "OnionCells", dependencies: ["OnionAddress", "OnionCrypto", nioCore], swiftSettings: houseRules),
        .target(
            name: "OnionDirectory", dependencies: ["OnionAddress", "OnionCrypto", nioCore], swiftSettings: houseRules),

        // 2 Machines
        .target(
            name: "OnionCircuits", dependencies: ["OnionCells", "OnionCrypto", deque, nioCore],
            swiftSettings: houseRules),

        // 3 Transport
        .target(
            name: "OnionLink",
            dependencies: [
                "OnionAddress",
                "OnionCells", "OnionCircuits", "OnionCrypto", crypto, deque, logging, metrics, nioCore, nioPosix,
                nioSSL, nioTLS, swiftASN1,
                x509,
            ],
            swiftSettings: houseRules),
        .target(
            name: "OnionStreams",
            dependencies: [
                "OnionAddress", "OnionCells", "OnionCircuits", "OnionCrypto", deque, logging, metrics, nioCore,
                nioPosix,
            ],
            swiftSettings: houseRules),

        // 4 Services
        .target(
            name: "DirectoryClient",
            dependencies: [
                "OnionAddress", "OnionCircuits", "OnionCrypto", "OnionDirectory", "OnionLink", "OnionStreams", logging,
                nioCore, nioPosix, nioSSL, nioTLS,
            ],
            swiftSettings: houseRules),
        .target(
            name: "DirectoryServer",
            dependencies: [
                "OnionAddress",
                "OnionCells", "OnionCircuits", "OnionCrypto", "OnionDirectory", "OnionLink", grdb, lifecycle, logging,
                metrics, nioCore, nioPosix, nioSSL, nioTLS,
            ],
            swiftSettings: houseRules),
        .target(
            name: "OnionRouter",
            dependencies: [
                "OnionAddress",
                "CAres", "DirectoryClient", "OnionCells", "OnionCircuits", "OnionCrypto", "OnionDirectory", "OnionLink",
                "OnionStreams", deque, lifecycle, logging, metrics, nioCore, nioPosix,
            ],
            swiftSettings: houseRules),
        .target(
            name: "OnionClient",
            dependencies: [
                "OnionAddress",
                "DirectoryClient", "OnionCells", "OnionCircuits", "OnionCrypto", "OnionDirectory", "OnionLink",
                "OnionStreams", deque, lifecycle, logging, metrics, nioCore, nioPosix,
            ],
            swiftSettings: houseRules),
        .target(
            name: "ProxyFrontend",
            dependencies: [
                "OnionAddress",
                "OnionCells", "OnionClient", "OnionLink", "OnionStreams", lifecycle, logging, metrics,
                nioConcurrencyHelpers,
                nioCore,
                nioHTTP1, nioPosix, nioSSL, nioTLS, swiftASN1, x509,
            ],
            swiftSettings: houseRules),
        .target(
            name: "ThorDaemon",
            dependencies: [
                "CMalloc", "OnionAddress", "OnionCrypto", argumentParser, lifecycle, logging, metrics,
                nioConcurrencyHelpers, nioCore, unixSignals,
            ],
            swiftSettings: houseRules),

        .target(
            name: "ThorChat",
            dependencies: [
                "ThorDaemon", asyncHTTPClient, nioConcurrencyHelpers, nioCore, nioHTTP1, nioPosix, nioSSL,
            ],
            swiftSettings: houseRules),
        .target(
            name: "Confinement", dependencies: ["CConfinement", "OnionLink", nioCore, nioPosix],
            swiftSettings: houseRules),
        .target(
            name: "ThorTestnet", dependencies: ["OnionCrypto", "OnionDirectory", "ThorDaemon", unixSignals],
            swiftSettings: houseRules),

        .target(
            name: "HostilePeers",
            dependencies: [
                "DirectoryClient", "OnionAddress", "OnionCells", "OnionCrypto", "OnionDirectory", "OnionLink",
                nioConcurrencyHelpers, nioCore, nioPosix, nioTLS,
            ],
            swiftSettings: houseRules),
        .target(
            name: "AttackSuite",
            dependencies: [
                "DirectoryClient", "HostilePeers", "OnionAddress", "OnionCells", "OnionCrypto", "OnionDirectory",
                "OnionLink", "ThorDaemon", "ThorTestnet", nioConcurrencyHelpers, nioCore, nioPosix,
            ],
            swiftSettings: houseRules),

        // 5 Executables
        .executableTarget(
            name: "thor-keys", dependencies: ["OnionCrypto", "ThorDaemon", argumentParser], swiftSettings: houseRules),
        .executableTarget(
            name: "thor-directory",
            dependencies: [
                "DirectoryServer", "OnionAddress", "OnionDirectory", "ThorDaemon", argumentParser, lifecycle, logging,
                nioCore, nioPosix,
            ],
            swiftSettings: houseRules),
        .executableTarget(
            name: "thor-router",
            dependencies: [
                "DirectoryClient", "OnionAddress", "OnionCrypto", "OnionDirectory", "OnionRouter", "ThorDaemon",
                argumentParser,
                lifecycle, logging,
            ],
            swiftSettings: houseRules),
        .executableTarget(
            name: "thor-proxy",
            dependencies: [
                "Confinement", "OnionAddress", "OnionClient", "OnionCrypto", "ProxyFrontend", "ThorDaemon",
                argumentParser, lifecycle, logging,
                nioCore, nioPosix, unixSignals,
            ],
            swiftSettings: houseRules),
        .executableTarget(
            name: "thor-testnet",
            dependencies: ["AttackSuite", "ThorDaemon", "ThorTestnet", argumentParser, unixSignals],
            swiftSettings: houseRules),
        .executableTarget(
            name: "thor-chatgpt", dependencies: ["ThorChat", "ThorDaemon", argumentParser], swiftSettings: houseRules),

        // Tests
        .target(name: "TestSupport", dependencies: [logging], path: "Tests/TestSupport", swiftSettings: houseRules),
        .testTarget(
            name: "OnionCryptoTests", dependencies: ["COnionCipher", "CSodium", "OnionCrypto", "TestSupport"],
            resources: [.copy("Vectors")], swiftSettings: houseRules),
        .testTarget(name: "OnionAddressTests", dependencies: ["OnionAddress", nioCore], swiftSettings: houseRules),
        .testTarget(
            name: "OnionCellsTests",
            dependencies: ["OnionAddress", "OnionCells", "OnionCrypto", "TestSupport", nioCore],
            swiftSettings: houseRules),
        .testTarget(
            name: "OnionDirectoryTests",
            dependencies: ["OnionAddress", "OnionCrypto", "OnionDirectory", "TestSupport", nioCore],
            resources: [.copy("Vectors")], swiftSettings: houseRules),
        .testTarget(
            name: "OnionCircuitsTests",
            dependencies: ["OnionCells", "OnionCircuits", "OnionCrypto", "TestSupport", nioCore],
            swiftSettings: houseRules),
        .testTarget(
            name: "OnionLinkTests",
            dependencies: [
                "OnionAddress", "OnionCells", "OnionCrypto", "OnionLink", "TestSupport", nioCore, nioEmbedded, nioPosix,
                nioSSL,
            ],
            swiftSettings: houseRules),
        .testTarget(
            name: "OnionStreamsTests",
            dependencies: [
                "OnionAddress", "OnionCells", "OnionCircuits", "OnionCrypto", "OnionStreams", "TestSupport", deque,
                nioCore,
                nioEmbedded, nioPosix,
            ],
            swiftSettings: houseRules),
        .testTarget(
            name: "DirectoryServerTests",
            dependencies: [
                "OnionAddress",
                "DirectoryClient", "DirectoryServer", "OnionCells", "OnionCrypto", "OnionDirectory", "OnionLink",
                "TestSupport", grdb,
                logging,
                nioCore, nioEmbedded, nioPosix, nioTLS,
            ],
            swiftSettings: houseRules),
        .testTarget(
            name: "OnionRouterTests",
            dependencies: [
                "OnionAddress",
                "DirectoryClient", "OnionCells", "OnionCircuits", "OnionCrypto", "OnionDirectory", "OnionLink",
                "OnionRouter", "OnionStreams", "TestSupport", nioCore, nioPosix,
            ],
            swiftSettings: houseRules),
        .testTarget(
            name: "OnionClientTests",
            dependencies: [
                "OnionAddress", "OnionCells", "OnionCircuits", "OnionClient", "OnionCrypto", "OnionDirectory",
                "OnionLink",
                "OnionStreams", logging, nioCore, nioEmbedded, nioPosix,
            ],
            swiftSettings: houseRules),
        .testTarget(
            name: "ProxyFrontendTests",
            dependencies: [
                "OnionAddress", "OnionCells", "OnionCircuits", "OnionClient", "OnionCrypto", "OnionStreams",
                "ProxyFrontend", "TestSupport", lifecycle, logging,
                nioConcurrencyHelpers,
                nioHTTP1,
                nioCore, nioEmbedded, nioPosix,
            ],
            swiftSettings: houseRules),
        .testTarget(
            name: "ThorDaemonTests",
            dependencies: [
                "OnionCrypto", "ThorDaemon", "TestSupport", argumentParser, lifecycle, logging, metrics,
                nioConcurrencyHelpers, nioCore, nioPosix,
            ],
            swiftSettings: houseRules),
        .testTarget(
            name: "ConfinementTests", dependencies: ["Confinement", "OnionLink", "TestSupport", nioCore, nioPosix],
            swiftSettings: houseRules),
        .testTarget(
            name: "ThorChatTests", dependencies: ["TestSupport", "ThorChat", "ThorDaemon"], swiftSettings: houseRules),
        .testTarget(
            name: "ThorTestnetTests", dependencies: ["OnionDirectory", "ThorDaemon", "ThorTestnet"],
            swiftSettings: houseRules),
        .testTarget(
            name: "ThorKeysTests", dependencies: ["OnionCrypto", "thor-keys", argumentParser], swiftSettings: houseRules
        ),
        .testTarget(
            name: "ThorDirectoryTests", dependencies: ["DirectoryServer", "ThorDaemon", "thor-directory"],
            swiftSettings: houseRules),
        .testTarget(
            name: "ThorProxyTests",
            dependencies: ["OnionClient", "ProxyFrontend", "ThorDaemon", "thor-proxy", argumentParser],
            swiftSettings: houseRules),
        .testTarget(
            name: "ThorRouterTests",
            dependencies: [
                "DirectoryClient", "OnionAddress", "OnionDirectory", "OnionRouter", "ThorDaemon", "thor-router",
                argumentParser,
            ],
            swiftSettings: houseRules),
        .testTarget(
            name: "IntegrationTests",
            dependencies: [
                "OnionAddress",
                "DirectoryClient", "DirectoryServer", "OnionCells", "OnionCircuits", "OnionClient", "OnionCrypto",
                "OnionDirectory", "OnionLink", "OnionRouter", "OnionStreams", "ProxyFrontend", "TestSupport", logging,
                nioCore,
                nioHTTP1, nioPosix, nioSSL, nioTLS,
            ],
            swiftSettings: houseRules),
        .testTarget(
            name: "FuzzTests",
            dependencies: [
                "DirectoryServer", "OnionAddress", "OnionCells", "OnionCircuits", "OnionClient", "OnionCrypto",
                "OnionDirectory", "OnionLink", "OnionRouter", "OnionStreams", "ProxyFrontend", "ThorChat",
                "ThorDaemon", nioConcurrencyHelpers, nioCore, nioEmbedded, nioHTTP1, nioTLS,
            ],
            path: "Tests/Fuzz",
            exclude: [
                "CipherC", "Corpus", "FailCases", "Package.swift", "Sources/CFuzzer", "Sources/FuzzDriver", "record.py",
                "run.sh",
            ]
                + fuzzPrograms.map { "Sources/\($0)/Main.swift" },
            sources: ["Replay"] + fuzzPrograms.map { "Sources/\($0)" }, swiftSettings: houseRules),
        .testTarget(
            name: "DocumentationTests", dependencies: ["AttackSuite", "OnionDirectory"], swiftSettings: houseRules),
        .testTarget(
            name: "FaultTests",
            dependencies: [
                "DirectoryClient", "DirectoryServer", "OnionAddress", "OnionCells", "OnionCircuits", "OnionClient",
                "OnionCrypto", "OnionDirectory", "OnionLink", "OnionRouter", "OnionStreams", "TestSupport", deque, grdb,
                logging,
                nioCore, nioPosix, nioTLS,
            ],
            swiftSettings: houseRules),
        .testTarget(
            name: "AttackSuiteTests",
            dependencies: ["AttackSuite", "OnionDirectory", "ThorDaemon", "ThorTestnet", nioConcurrencyHelpers],
            swiftSettings: houseRules),
        .testTarget(
            name: "AttackTests",
            dependencies: [
                "AttackSuite", "DirectoryClient", "DirectoryServer", "HostilePeers", "OnionAddress", "OnionCells",
                "OnionClient", "OnionCrypto", "OnionDirectory", "OnionLink", "OnionRouter", logging,
                nioConcurrencyHelpers, nioCore, nioPosix,
            ],
            swiftSettings: houseRules),
    ]
)

// For the programs in Tests/Fuzz, whose run.sh says with what sanitizers they are built: the coverage that guides the fuzzer must
// be in our own modules too. In those of others, the larger part by far, it would only be in the way.
if let sanitizers = Context.environment["THOR_FUZZ_SANITIZERS"] {
    for target in package.targets where target.swiftSettings != nil {
        target.swiftSettings?.append(
            .unsafeFlags(["-sanitize=\(sanitizers)", "-enable-testing", "-assert-config", "Debug"]))
    }
}
