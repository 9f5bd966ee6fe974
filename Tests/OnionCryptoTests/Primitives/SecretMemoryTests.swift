import Foundation
import Testing

@testable import OnionCrypto

@Suite("Secret memory")
struct SecretMemoryTests {
    /// What the system says of the mapping that holds an address: `lo` is locked, `dd` left out of core dumps.
    private static func flags(of address: UInt) throws -> [Substring] {
        let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: "/proc/self/smaps"))
        defer { try? file.close() }
        let maps = String(decoding: try file.readToEnd() ?? Data(), as: UTF8.self)
        var isInside = false
        for line in maps.split(separator: "\n") {
            if let head = line.prefixMatch(of: #/([0-9a-f]+)-([0-9a-f]+) /#) {
                isInside = (UInt(head.1, radix: 16) ?? 0) <= address && address < (UInt(head.2, radix: 16) ?? 0)
            } else if isInside, line.hasPrefix("VmFlags:") {
                return line.split(separator: " ")
            }
        }
        return []
    }

    /// Sanitizers make mlock do nothing.
    private static let isSanitized = dlsym(nil, "__asan_init") != nil || dlsym(nil, "__tsan_init") != nil

    private static func address(_ memory: SecretMemory) -> UInt {
        memory.withBytes { UInt(bitPattern: $0.baseAddress) }
    }

    @Test("a long-lived key is locked in memory, left out of core dumps, and for reading only") func guarded() throws {
        let memory = SecretMemory(byteCount: 32, protection: .guarded) { $0.copyBytes(from: 1...32) }
        let flags = try Self.flags(of: Self.address(memory))
        #expect((flags.contains("lo") || Self.isSanitized) && flags.contains("dd"))
        #expect(flags.contains("rd") && !flags.contains("wr"))
        #expect(memory.withBytes { Array($0) } == Array(1...32))
    }

    @Test("each long-lived key that is held is counted") func count() {
        let keys = (0..<20).map { _ in Ed25519PrivateKey() }
        // Other tests hold some of their own.
        withExtendedLifetime(keys) { #expect(LongTermKeys.count >= keys.count) }
    }

    @Test("on either side of a long-lived key nothing can be read") func guardPages() throws {
        let memory = SecretMemory(byteCount: 32, protection: .guarded) { $0.copyBytes(from: 1...32) }
        let (address, page) = (Self.address(memory), UInt(getpagesize()))
        #expect(try Self.flags(of: address).contains("rd"))
        for neighbour in [address & ~(page - 1) - page, (address | (page - 1)) + 1] {
            #expect(try !Self.flags(of: neighbour).contains("rd"))
        }
    }

    @Test("what is dropped is wiped first, be it a long-lived key or a short-lived one", arguments: [true, false])
    func wiped(isGuarded: Bool) throws {
        let secret = SecureRandom.bytes(512)
        // The allocator may write over the ends of what is free.
        let middle = Data(secret[128..<384])
        var memory: SecretMemory? = SecretMemory(byteCount: 512, protection: isGuarded ? .guarded : .plain) {
            $0.copyBytes(from: secret)
        }
        let address = try Self.address(#require(memory))
        #expect(try ProcessMemory.read(address, 512).range(of: middle) != nil)
        memory = nil
        #expect((try? ProcessMemory.read(address, 512))?.range(of: middle) == nil)
    }
}
