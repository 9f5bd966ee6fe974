import Foundation
@_spi(Testing) import OnionCrypto
import TestSupport
import Testing

/// Bytes that a vector file writes in hex.
struct Hex: Decodable, Equatable {
    var bytes: [UInt8]

    init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        self.bytes = try #require([UInt8](hex: text), "not hex")
    }
}

extension [UInt8] {
    init?(hex: String) {
        let digits = hex.compactMap(\.hexDigitValue)
        guard digits.count == hex.count, digits.count.isMultiple(of: 2) else { return nil }
        self = stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }

    /// Gives the whole array as a body to be changed in place.
    mutating func asBody<Result>(_ body: (inout MutableRawSpan) throws -> Result) rethrows -> Result {
        var elements = self.mutableSpan
        var bytes = elements.mutableBytes
        return try body(&bytes)
    }
}

func ^ (one: [UInt8], other: [UInt8]) -> [UInt8] { zip(one, other).map { $0 ^ $1 } }

extension SplitMix64 {
    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &self) }
    }
}

extension HopCipher {
    /// A cipher in any state.
    static func make(
        _ implementation: CipherImplementation = .best, keys: [UInt8],
        nonce: [UInt8] = [UInt8](repeating: 0, count: 16),
        lastTag: [UInt8] = [UInt8](repeating: 0, count: 16)
    ) throws -> HopCipher {
        let cipher = try #require(HopCipher(keyBytes: keys + nonce, implementation: implementation))
        cipher.setLastTag(try #require(CellTag(lastTag)))
        return cipher
    }
}
