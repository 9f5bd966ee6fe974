/// A sealed seed at the least cost there is, for `Benchmarks`: the same code as for a key file, some thousand times as fast.
@_spi(Testing) public struct PassphraseCheck {
    private static let context = "timing"
    private let box: PassphraseBox

    /// Seal a seed of zeros; nil if there is not memory enough.
    public init?(passphrase: [UInt8]) {
        let seed = SecretMemory(byteCount: PassphraseBox.seedByteCount, protection: .plain) { _ in }
        guard
            let box = PassphraseBox(sealing: seed, passphrase: passphrase, cost: .least, context: Self.context)
        else { return nil }
        self.box = box
    }

    public func opens(_ passphrase: [UInt8]) -> Bool {
        if case .opened = self.box.open(passphrase: passphrase, context: Self.context) { true } else { false }
    }
}
