import Glibc
import NIOConcurrencyHelpers
import NIOCore
import OnionAddress
import Testing

@testable import OnionRouter

/// The name without NIO's own `Resolver`, for files that import both.
typealias NameResolver = Resolver

@Suite("Resolver")
struct ResolverTests {
    private static let v4 = IPAddress("93.184.216.34")
    private static let v6 = IPAddress("2606::1")

    @Test("gives the addresses of both families, IPv4 first, and the TTL")
    func addresses() async throws {
        try await withResolver { resolver, loop in
            for (name, expected) in [
                ("four.test", [Self.v4]), ("six.test", [Self.v6]), ("both.test", [Self.v4, Self.v6]),
            ] {
                let answer = try await resolver.addresses(of: name, on: loop).get()
                #expect(answer.addresses == expected.compactMap { $0 } && answer.ttlSeconds == 300)
            }
        }
    }

    @Test("takes sixteen addresses of each family, and not one more", arguments: [15, 16, 17])
    func addressLimit(count: UInt8) async throws {
        try await withResolver { resolver, loop in
            let answer = try await resolver.addresses(of: "count\(count).test", on: loop).get()
            let taken = min(count, 16)
            let expected = (1...taken).map { "93.184.216.\($0)" } + (1...taken).map { "2606::" + String($0, radix: 16) }
            #expect(answer.addresses == expected.compactMap { IPAddress($0) } && answer.ttlSeconds == 300)
        }
    }

    @Test("an answer holds for as long as the least of its addresses", arguments: ["falling.test", "rising.test"])
    func leastTTL(name: String) async throws {
        try await withResolver { resolver, loop in
            let answer = try await resolver.addresses(of: name, on: loop).get()
            #expect(answer.addresses.count == 2 && answer.ttlSeconds == 60)
        }
    }

    @Test("gives the name of an address, and takes the root for none")
    func reverse() async throws {
        try await withResolver(tryMilliseconds: 100) { resolver, loop in
            let named = try #require(IPAddress("93.184.216.34"))
            #expect(try await resolver.name(of: named, on: loop).get() == "heron.test")
            let nameless = try #require(IPAddress("93.184.216.35"))
            await #expect(throws: Resolver.Failure.noSuchName) {
                try await resolver.name(of: nameless, on: loop).get()
            }
        }
    }

    @Test("reads an address of either family that is whole, and nothing else")
    func socketAddresses() throws {
        for (text, byteCount, isWhole) in [
            ("93.184.216.34", 1, false), ("93.184.216.34", 7, false), ("93.184.216.34", 8, true),
            ("93.184.216.34", 16, true), ("2606::1", 8, false), ("2606::1", 23, false), ("2606::1", 24, true),
        ] {
            let address = try #require(IPAddress(text))
            let read = SocketAddress(Endpoint(address: address, port: 80)).withSockAddr { bytes, _ in
                IPAddress(bytes, byteCount: byteCount)
            }
            #expect(read == (isWhole ? address : nil), "\(text) \(byteCount)")
        }
    }

    @Test("puts no search domain behind a name, whatever the machine is set to")
    func searchDomain() async {
        // The variable is the whole process's.
        await #expect(processExitsWith: .success) {
            setenv("LOCALDOMAIN", "search.test", 1)
            try await withResolver(tryMilliseconds: 100) { resolver, loop in
                for name in ["missing.test", "empty.test", "missing"] {
                    await #expect(throws: Resolver.Failure.noSuchName) {
                        try await resolver.addresses(of: name, on: loop).get()
                    }
                }
                let answer = try await resolver.addresses(of: "four.test.", on: loop).get()
                #expect(answer.addresses == [IPAddress("93.184.216.34")])
            }
        }
    }

    @Test("keeps no answer: the same name is asked for again")
    func noCache() async throws {
        try await withResolver { resolver, loop in
            for address in ["93.184.216.1", "93.184.216.2"] {
                let answer = try await resolver.addresses(of: "turning.test", on: loop).get()
                #expect(answer.addresses == [IPAddress(address)])
            }
        }
    }

    @Test("tells a name that does not exist from name servers that fail")
    func failures() async throws {
        try await withResolver(tryMilliseconds: 100) { resolver, loop in
            for name in ["missing.test", "empty.test"] {
                await #expect(throws: Resolver.Failure.noSuchName) {
                    try await resolver.addresses(of: name, on: loop).get()
                }
            }
            for name in ["broken.test", "silent.test"] {
                await #expect(throws: Resolver.Failure.failed) {
                    try await resolver.addresses(of: name, on: loop).get()
                }
            }
        }
    }

    @Test(
        "fails for what is no name, and never traps",
        arguments: ["a..b", ".", "\\", "\\400", "a\\", String(repeating: "x", count: 255)])
    func noNames(name: String) async throws {
        try await withResolver(tryMilliseconds: 100) { resolver, loop in
            await #expect(throws: Resolver.Failure.self) { try await resolver.addresses(of: name, on: loop).get() }
        }
    }

    @Test("looks five hundred names up at once, each with its own answer")
    func many() async throws {
        try await withResolver { resolver, loop in
            let futures = (0..<500).map { resolver.addresses(of: "n\($0).test", on: loop) }
            for (number, future) in futures.enumerated() {
                let answer = try await future.get()
                #expect(answer.addresses == [.v4(93 << 24 | 184 << 16 | UInt32(number))])
            }
        }
    }

    @Test("takes as many at once as its limit, and is free again afterwards")
    func limit() async throws {
        try await withResolver(tryMilliseconds: 300) { resolver, loop in
            let futures = (0..<Resolver.pendingLimit).map { _ in resolver.addresses(of: "silent.test", on: loop) }
            await #expect(throws: Resolver.Failure.busy) {
                try await resolver.addresses(of: "four.test", on: loop).get()
            }
            for future in futures { await #expect(throws: Resolver.Failure.failed) { try await future.get() } }
            let answer = try await resolver.addresses(of: "four.test", on: loop).get()
            #expect(answer.addresses.count == 1)
        }
    }

    @Test("ends what is under way when it is stopped, and takes nothing after")
    func stop() async throws {
        try await withResolver(tryMilliseconds: 10_000) { resolver, loop in
            let future = resolver.addresses(of: "silent.test", on: loop)
            resolver.stop()
            await #expect(throws: Resolver.Failure.stopped) { try await future.get() }
            await #expect(throws: Resolver.Failure.stopped) {
                try await resolver.addresses(of: "four.test", on: loop).get()
            }
        }
    }

    @Test("has told of every look-up when it has ended, and ends twice")
    func end() async throws {
        try await withResolver(tryMilliseconds: 10_000) { resolver, loop in
            let toldCount = NIOLockedValueBox(0)
            for number in 0..<100 {
                resolver.addresses(of: "silent\(number).test", on: loop).whenFailure { _ in
                    toldCount.withLockedValue { $0 += 1 }
                }
            }
            await resolver.end()
            // Behind what was told.
            try await loop.submit {}.get()
            #expect(toldCount.withLockedValue { $0 } == 100)
            await resolver.end()
        }
    }
}
