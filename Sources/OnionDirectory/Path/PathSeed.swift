public import OnionCrypto

/// The hashes of the path assignment: commitment, seed of one path, seed of the guard sample.
///
/// - Source: DESIGN §9, *Path assignment*
public enum PathSeed {
    /// Return what the client sends for its secret: `BLAKE2b-256(secret)`.
    public static func commitment(to secret: Bytes32) -> Bytes32 { BLAKE2b.hash256(secret.bytes) }

    /// Return the seed of the circuit number `counter`:
    /// `BLAKE2b-256(key = "thor path draw v1", secret | salt | digest | counter u64 big-endian)`.
    ///
    /// - Parameters:
    ///   - secret: the client's 32 random bytes.
    ///   - salt: the ticket's, or zero while there is no ticket.
    ///   - consensusDigest: of the consensus that is drawn from.
    ///   - counter: goes up by one per circuit.
    public static func derive(secret: Bytes32, salt: Bytes32, consensusDigest: Bytes32, counter: UInt64) -> Bytes32 {
        BLAKE2b.hash256(
            secret.bytes + salt.bytes + consensusDigest.bytes + bigEndian(counter), key: Array("thor path draw v1".utf8)
        )
    }

    /// Return the seed of a guard sample: `BLAKE2b-256(key = "thor guard draw v1", secret | digest)`.
    public static func deriveGuardSample(secret: Bytes32, consensusDigest: Bytes32) -> Bytes32 {
        BLAKE2b.hash256(secret.bytes + consensusDigest.bytes, key: Array("thor guard draw v1".utf8))
    }

    static func bigEndian(_ value: UInt64) -> [UInt8] {
        stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: value >> $0) }
    }
}
