internal import COnionCipher

/// One of the ways to compute the layer cipher. All give the same bytes; which ones can run depends on the processor.
@_spi(Testing) public struct CipherImplementation: Equatable, Sendable, CustomStringConvertible {
    let rawValue: Int32

    /// The implementations that this machine can run, the portable one first.
    public static var available: [CipherImplementation] {
        (0..<Int32(ONION_CIPHER_IMPLEMENTATION_COUNT.rawValue))
            .filter { onion_cipher_is_available($0) }
            .map { CipherImplementation(rawValue: $0) }
    }

    /// The fastest one that this machine can run; what a `HopCipher` uses. Found once: asking the processor is slow
    /// under a hypervisor.
    public static let best = CipherImplementation(rawValue: onion_cipher_best())

    /// A short name, as `vaes512`.
    public var description: String { String(cString: onion_cipher_name(self.rawValue)) }
}
