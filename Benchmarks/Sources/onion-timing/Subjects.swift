import Foundation
@_spi(Testing) import OnionCrypto
@_spi(Benchmark) import ProxyFrontend

/// What is measured: each pairs a fixed secret with random ones.
struct Subjects {
    let time: Duration
    let filter: String?
    private(set) var rows: [Measurement.Row] = []

    init(time: Duration, filter: String?) {
        self.time = time
        self.filter = filter
    }

    private mutating func measure<Input>(
        _ name: String, share: Double = 1, batchCount: Int = 500,
        prepare: (_ isRandom: Bool) throws -> Input, run: (inout Input) throws -> Void
    ) rethrows {
        if let filter, !name.localizedStandardContains(filter) { return }
        var measurement = Measurement(name, batchCount: batchCount)
        self.rows.append(try measurement.run(for: self.time * share, prepare: prepare, run: run))
    }

    private static func randomBytes(_ count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { bytes, initializedCount in
            guard let base = bytes.baseAddress else { return }
            arc4random_buf(base, count)
            initializedCount = count
        }
    }

    /// The same bytes in memory of their own, as random ones have it: an array that is only assigned shares.
    private static func copy(_ bytes: [UInt8]) -> [UInt8] { bytes.map { $0 } }

    // MARK: The tool's own checks

    /// A comparison that stops at the first difference must be found, and two classes that are the same must not.
    mutating func measureControls() -> (leaking: Measurement.Row, same: Measurement.Row) {
        let secret = Self.randomBytes(32)
        var leaking = Measurement("control: a comparison that stops early")
        var same = Measurement("control: the same class twice")
        var sum = 0
        let leak = leaking.run(for: self.time) { isRandom in
            isRandom ? Self.randomBytes(32) : Self.copy(secret)
        } run: { given in
            sum += Self.areEqualAndStopEarly(given, secret) ? 1 : 0
        }
        let none = same.run(for: self.time) { _ in
            Self.randomBytes(32)
        } run: { given in
            sum += PasswordComparison.areEqual(given, secret) ? 1 : 0
        }
        keep(sum)
        return (leak, none)
    }

    /// What no comparison of secrets may be like; here alone, to see that it is found.
    @inline(never)
    private static func areEqualAndStopEarly(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        for index in left.indices where left[index] != right[index] { return false }
        return true
    }

    // MARK: The layer cipher

    /// A whole cell's body, by each implementation: fixed and random content, fixed and random keys.
    mutating func measureCipher() throws {
        for implementation in CipherImplementation.available {
            func cipher(_ keys: [UInt8]) throws -> HopCipher {
                guard let cipher = HopCipher(keyBytes: keys, implementation: implementation) else { throw NoCipher() }
                return cipher
            }
            let keys = Self.randomBytes(HopCipher.keyByteCount)
            let body = Self.randomBytes(Self.bodyByteCount)
            let one = try cipher(keys)
            typealias Change = (HopCipher, inout MutableRawSpan) -> Void
            let operations: [(String, Change)] = [
                ("encrypt", { $0.encryptBody(command: 3, body: &$1) }),
                ("decrypt", { $0.decryptBody(command: 3, body: &$1) }),
            ]
            for (name, operation) in operations {
                self.measure("\(implementation), \(name), body") { isRandom in
                    isRandom ? Self.randomBytes(Self.bodyByteCount) : Self.copy(body)
                } run: { bytes in
                    var span = bytes.mutableSpan
                    var raw = span.mutableBytes
                    operation(one, &raw)
                }
                try self.measure("\(implementation), \(name), keys") { isRandom in
                    KeyedBody(
                        cipher: try cipher(isRandom ? Self.randomBytes(HopCipher.keyByteCount) : keys),
                        bytes: Self.copy(body))
                } run: { input in
                    let cipher = input.cipher
                    var span = input.bytes.mutableSpan
                    var raw = span.mutableBytes
                    operation(cipher, &raw)
                }
            }
            try self.measure("\(implementation), update, keys") { isRandom in
                try cipher(isRandom ? Self.randomBytes(HopCipher.keyByteCount) : keys)
            } run: {
                $0.updateKeys(bodyByteCount: Self.bodyByteCount)
            }
            try self.measureRecognition(implementation, keys: keys, cipher)
        }
    }

    /// Whether a cell's tag is ours: one that differs in its last bit alone, and one that differs from the start.
    private mutating func measureRecognition(
        _ implementation: CipherImplementation, keys: [UInt8], _ cipher: ([UInt8]) throws -> HopCipher
    ) throws {
        let maker = try cipher(keys)
        let tested = try cipher(keys)
        let nonce = Array(tested.stateBytes.keys.suffix(CellTag.byteCount))
        let zero = CellTag(high: 0, low: 0)
        var recognised = 0
        self.measure("\(implementation), recognise a tag") { isRandom in
            // As the tag is to come out, then what makes it come out so. The rest is random in both classes.
            var bytes = isRandom ? Self.randomBytes(CellTag.byteCount) : nonce
            bytes[CellTag.byteCount - 1] = nonce[CellTag.byteCount - 1] ^ 1
            bytes += Self.randomBytes(16)
            var span = bytes.mutableSpan
            var raw = span.mutableBytes
            maker.decryptBody(command: 3, body: &raw)
            return bytes
        } run: { bytes in
            tested.setLastTag(zero)
            var span = bytes.mutableSpan
            var raw = span.mutableBytes
            recognised += tested.forward(command: 3, body: &raw) == nil ? 0 : 1
        }
        guard recognised == 0 else { throw NoCipher() }
    }

    // MARK: Comparisons

    mutating func measureComparisons() {
        let secret = Self.randomBytes(32)
        let tag = CellTag(high: 0x0123_4567_89ab_cdef, low: 0xfedc_ba98_7654_3210)
        var sum = 0
        // Sixteen at a time: one takes less than the clock can tell.
        self.measure("compare tags") { isRandom in
            (0..<16).map { _ in
                isRandom
                    ? CellTag(high: .random(in: 0...UInt64.max), low: .random(in: 0...UInt64.max))
                    : CellTag(high: tag.high, low: tag.low ^ 1)
            }
        } run: { given in
            for other in given { sum += other == tag ? 1 : 0 }
        }
        self.measure("compare passwords") { isRandom in
            isRandom ? Self.randomBytes(32) : Self.copy(secret)
        } run: { given in
            sum += PasswordComparison.areEqual(given, secret) ? 1 : 0
        }
        keep(sum)
    }

    // MARK: The circuit handshake

    mutating func measureHandshake() throws {
        let identity = Ed25519PrivateKey().publicKey
        let onionKey = X25519PrivateKey()
        let server = CircuitHandshake.Server(identity: identity, onionKeys: [onionKey])
        let client = CircuitHandshake.Client(identity: identity, onionKey: onionKey.publicKey)
        let created = try server.respond(to: client.create).created
        var sum = 0
        // AUTH that differs in its last bit alone, and AUTH that is random.
        self.measure("handshake, client, AUTH", share: 4, batchCount: 100) { isRandom in
            var bytes = created
            if isRandom { bytes.replaceSubrange((created.count - 32)..., with: Self.randomBytes(32)) }
            bytes[created.count - 1] = created[created.count - 1] ^ 1
            return bytes
        } run: {
            sum += (try? client.complete(created: $0)) == nil ? 0 : 1
        }
        // A ciphertext of the key exchange that is true, and one that is not: both end in the same refusal.
        self.measure("handshake, client, ciphertext", share: 4, batchCount: 100) { isRandom in
            var bytes = created
            if isRandom { bytes.replaceSubrange(32..<(32 + 1088), with: Self.randomBytes(1088)) }
            bytes[created.count - 1] ^= 1
            return bytes
        } run: {
            sum += (try? client.complete(created: $0)) == nil ? 0 : 1
        }
        guard sum == 0 else { throw NoCipher() }
        try self.measureServer(identity, onionKey)
    }

    /// An OR's answer to Creates that are good: whether it takes another time for another onion key, or another point of the
    /// client's. The ML-KEM key is public, and its matrix is drawn by rejection: that alone may tell Creates apart, so its keys
    /// are of one kind in both classes.
    private mutating func measureServer(_ identity: Ed25519PublicKey, _ onionKey: X25519PrivateKey) throws {
        func create(_ onionKey: X25519PrivateKey) -> [UInt8] {
            CircuitHandshake.Client(identity: identity, onionKey: onionKey.publicKey).create
        }
        let seed = onionKey.withSeed { [UInt8]($0) }
        try self.measure("handshake, server, onion key", share: 4, batchCount: 100) { isRandom in
            guard let key = X25519PrivateKey(seed: isRandom ? Self.randomBytes(32) : Self.copy(seed)) else {
                throw NoCipher()
            }
            return (server: CircuitHandshake.Server(identity: identity, onionKeys: [key]), create: create(key))
        } run: { input in
            keep(try input.server.respond(to: input.create))
        }
        let server = CircuitHandshake.Server(identity: identity, onionKeys: [onionKey])
        let fixed = create(onionKey)
        try self.measure("handshake, server, X", share: 4, batchCount: 100) { isRandom in
            let other = create(onionKey)
            var bytes = Self.copy(fixed)
            if isRandom { bytes.replaceSubrange(66..<98, with: other[66..<98]) }
            return bytes
        } run: { create in
            keep(try server.respond(to: create))
        }
    }

    // MARK: Passphrases

    /// A passphrase that differs from the right one in its last bit alone, and one that is random.
    mutating func measurePassphrase() throws {
        let right = Self.randomBytes(32)
        guard let check = PassphraseCheck(passphrase: right) else { throw NoCipher() }
        var openedCount = 0
        self.measure("passphrase of a key file") { isRandom in
            var bytes = isRandom ? Self.randomBytes(32) : Self.copy(right)
            bytes[31] = right[31] ^ 1
            return bytes
        } run: { passphrase in
            openedCount += check.opens(passphrase) ? 1 : 0
        }
        guard openedCount == 0 else { throw NoCipher() }
    }

    private struct KeyedBody {
        let cipher: HopCipher
        var bytes: [UInt8]
    }

    private static let bodyByteCount = 2043
    private struct NoCipher: Error {}
}

/// Keep a value from being optimised away.
@inline(never) func keep<T>(_ value: borrowing T) {}
