import NIOCore
import OnionAddress
import OnionCrypto
import Testing

@testable import OnionDirectory

@Suite("Consensus")
struct ConsensusTests {
    private let key = Make.directory.publicKey

    @Test("comes out as it went in, routers in order") func roundTrip() throws {
        let routers = try Make.routers(5)
        let consensus = try Make.consensus(routers.reversed(), parameters: .testNetwork)
        let read = try Consensus(verifying: consensus.bytes, directoryKey: self.key)
        #expect(read == consensus && read.digest == consensus.digest)
        #expect(read.routers == routers.sorted { $0.identity < $1.identity })
        #expect(read.parameters == NetworkParameters.testNetwork.completed)
        #expect(
            [read.revision, read.validAfter, read.freshUntil, read.validUntil] == [
                7, Make.now, Make.now + 3_600, Make.now + 10_800,
            ])
        for router in routers { #expect(read.router(router.identity) == router) }
        #expect(read.router(Make.key(200).publicKey) == nil)
        #expect(read.nodeEndpoints == Set((11...15).map { Make.endpoint("\($0).6.7.8:9001") }))
        let digest = BLAKE2b.hash256(consensus.bytes.dropLast(64))
        #expect(read.digest == digest)
    }

    @Test("is refused cut off at every byte, and with any byte changed") func damage() throws {
        let bytes = try Make.consensus(try Make.routers(2)).bytes
        for count in 0..<bytes.count {
            #expect(throws: DirectoryError.self) { try Consensus(verifying: bytes[..<count], directoryKey: self.key) }
        }
        for index in bytes.indices {
            var changed = bytes
            changed[index] ^= 1 << UInt8(index % 8)
            #expect(throws: DirectoryError.badSignature(.consensus)) {
                try Consensus(verifying: changed, directoryKey: self.key)
            }
        }
    }

    @Test("what is no longer than a signature is cut off", arguments: [0, 63, 64])
    func noBody(byteCount: Int) {
        #expect(throws: DirectoryError.truncated(need: 65, have: byteCount)) {
            try Consensus(verifying: [UInt8](repeating: 0, count: byteCount), directoryKey: self.key)
        }
    }

    @Test("another directory's consensus is refused") func otherKey() throws {
        let bytes = try Make.consensus([]).bytes
        #expect(throws: DirectoryError.badSignature(.consensus)) {
            try Consensus(verifying: bytes, directoryKey: Make.key(1).publicKey)
        }
    }

    @Test("a body that the directory signed is still refused cut off at every byte") func signedTruncation() throws {
        let bytes = try Make.consensus(try Make.routers(2)).bytes
        let body = ByteBuffer(bytes: bytes.dropLast(64))
        for count in 0..<body.readableBytes {
            let part = try #require(body.getSlice(at: 0, length: count))
            #expect(throws: DirectoryError.self) { try self.read(part) }
        }
        var longer = body
        longer.writeInteger(UInt8(0))
        #expect(throws: DirectoryError.trailingBytes(1)) { try self.read(longer) }
    }

    private func read(_ body: ByteBuffer) throws -> Consensus {
        try Consensus(
            verifying: SignedDocument.signed(body, kind: .consensus, by: Make.directory), directoryKey: self.key)
    }

    /// A body with no parameters and what `routers` writes, signed by the directory.
    private func body(
        revision: UInt64 = 1, times: (UInt64, UInt64, UInt64) = (1, 2, 3), count: Int,
        routers: [(ConsensusRouter, UInt8, UInt64)]
    ) -> ByteBuffer {
        var body = ByteBuffer()
        body.writeMultipleIntegers(UInt8(1), revision, times.0, times.1, times.2, UInt16(0), UInt16(count))
        for (router, flags, weight) in routers {
            body.writeInteger(UInt16(router.descriptor.bytes.count))
            body.writeBytes(router.descriptor.bytes)
            body.writeMultipleIntegers(flags, weight)
        }
        return body
    }

    @Test("a hostile directory's encodings are refused") func hostile() throws {
        let sorted = try Make.routers(3).sorted { $0.identity < $1.identity }
        let good = sorted.map { ($0, UInt8(3), UInt64(1)) }
        #expect(try self.read(self.body(count: 3, routers: good)).routers.count == 3)
        #expect(throws: DirectoryError.notCanonical(.routers)) {
            try self.read(self.body(count: 3, routers: good.reversed()))
        }
        #expect(throws: DirectoryError.notCanonical(.routers)) {
            try self.read(self.body(count: 2, routers: [good[0], good[0]]))
        }
        #expect(throws: DirectoryError.self) { try self.read(self.body(count: 2, routers: good)) }
        #expect(throws: DirectoryError.invalidField(.flags)) {
            try self.read(self.body(count: 1, routers: [(sorted[0], 16, 1)]))
        }
        for weight in [0, DirectoryLimits.weight + 1, .max] {
            #expect(throws: DirectoryError.invalidField(.weight)) {
                try self.read(self.body(count: 1, routers: [(sorted[0], 1, weight)]))
            }
        }
        #expect(throws: DirectoryError.invalidField(.revision)) {
            try self.read(self.body(revision: 0, count: 0, routers: []))
        }
        #expect(try self.read(self.body(times: (2, 2, 2), count: 0, routers: [])).validUntil == 2)
        for times in [(2, 1, 3), (1, 3, 2)] as [(UInt64, UInt64, UInt64)] {
            #expect(throws: DirectoryError.invalidField(.times)) {
                try self.read(self.body(times: times, count: 0, routers: []))
            }
        }
        #expect(throws: DirectoryError.limitExceeded(.routers, have: 1_025, limit: 1_024)) {
            try self.read(self.body(count: 1_025, routers: []))
        }
        #expect(throws: DirectoryError.truncated(need: 2, have: 0)) {
            try self.read(self.body(count: DirectoryLimits.routerCount, routers: []))
        }
        // A descriptor's length is judged before its bytes are.
        let limit = DirectoryLimits.descriptorByteCount
        var longest = self.body(count: 1, routers: [])
        longest.writeInteger(UInt16(limit))
        #expect(throws: DirectoryError.truncated(need: limit, have: 0)) { try self.read(longest) }
        var long = self.body(count: 1, routers: [])
        long.writeInteger(UInt16(limit + 1))
        #expect(throws: DirectoryError.limitExceeded(.descriptor, have: limit + 1, limit: limit)) {
            try self.read(long)
        }
        var version = self.body(count: 0, routers: [])
        version.setInteger(UInt8(9), at: 0)
        #expect(throws: DirectoryError.unsupportedVersion(9)) { try self.read(version) }
        let tooLong = Array(repeating: UInt8(0), count: DirectoryLimits.consensusByteCount + 1)
        #expect(
            throws: DirectoryError.limitExceeded(
                .consensus, have: tooLong.count, limit: DirectoryLimits.consensusByteCount)
        ) {
            try Consensus(verifying: tooLong, directoryKey: self.key)
        }
        #expect(throws: DirectoryError.badSignature(.consensus)) {
            try Consensus(verifying: tooLong.dropLast(), directoryKey: self.key)
        }
    }

    @Test("a descriptor that its router did not sign makes the consensus invalid") func forgedDescriptor() throws {
        let router = try #require(try Make.routers(1).first)
        var bytes = router.descriptor.bytes
        bytes[200] ^= 1
        var body = ByteBuffer()
        body.writeMultipleIntegers(UInt8(1), UInt64(1), UInt64(1), UInt64(2), UInt64(3), UInt16(0), UInt16(1))
        body.writeInteger(UInt16(bytes.count))
        body.writeBytes(bytes)
        body.writeMultipleIntegers(UInt8(1), UInt64(1))
        #expect(throws: DirectoryError.badSignature(.descriptor)) { try self.read(body) }
    }

    @Test("a weight is brought into its range, and an unknown flag falls away") func entries() throws {
        let descriptor = try #require(try Make.routers(1).first).descriptor
        for (weight, expected) in [(0, 1), (1, 1), (.max, DirectoryLimits.weight)] as [(UInt64, UInt64)] {
            #expect(ConsensusRouter(descriptor: descriptor, flags: [], weight: weight).weight == expected)
        }
        #expect(ConsensusRouter(descriptor: descriptor, flags: RouterFlags(rawValue: 0xff), weight: 1).flags == .known)
    }

    @Test("the largest network fits the limit of bytes") func largest() {
        let routers = DirectoryLimits.routerCount * (2 + DirectoryLimits.descriptorByteCount + 9)
        let parameters = DirectoryLimits.parameterCount * (9 + DirectoryLimits.parameterNameByteCount)
        #expect(routers + parameters + 200 <= DirectoryLimits.consensusByteCount)
    }
}

@Suite("Consensus acceptance")
struct ConsensusAcceptanceTests {
    private func consensus(revision: UInt64, validSeconds: UInt64) throws(DirectoryError) -> Consensus {
        try Consensus.make(
            revision: revision, validAfter: Make.now, freshUntil: Make.now, validUntil: Make.now + validSeconds,
            parameters: NetworkParameters(), routers: [], signedBy: Make.directory)
    }

    @Test("a list is valid for as long as the network can be told to have it, and no longer")
    func longestValidity() throws {
        let longest = DirectoryLimits.validSeconds
        #expect(longest == UInt64(NetworkParameter.consensusValid.definition.range.upperBound))
        #expect(try self.consensus(revision: 1, validSeconds: longest).validUntil == Make.now + longest)
        #expect(throws: DirectoryError.invalidField(.times)) {
            try self.consensus(revision: 1, validSeconds: longest + 1)
        }
    }

    @Test("the highest revision there is shuts out what comes after it for a time, and not for ever")
    func highestRevision() throws {
        let highest = try self.consensus(revision: .max, validSeconds: DirectoryLimits.validSeconds)
        let end = highest.validUntil + DirectoryLimits.validSeconds
        let repaired = try Make.consensus([], revision: 10, validAfter: end - 100)
        #expect(throws: DirectoryError.older(revision: 10, have: .max)) {
            try repaired.acceptance(after: highest, now: end - 1)
        }
        #expect(throws: Never.self) { try repaired.acceptance(after: highest, now: end) }
    }

    @Test("the table of DESIGN §9") func table() throws {
        let now = Make.now
        let routers = try Make.routers(1)
        let previous = try Make.consensus(routers, revision: 10, validAfter: now - 100)

        func refusal(_ consensus: Consensus, after: Consensus?, at time: UInt64 = now) -> DirectoryError? {
            do throws(DirectoryError) {
                try consensus.acceptance(after: after, now: time)
                return nil
            } catch { return error }
        }
        let newer = try Make.consensus(routers, revision: 11)
        #expect(refusal(newer, after: nil) == nil)
        #expect(refusal(newer, after: previous) == nil)
        #expect(refusal(previous, after: previous) == nil)
        #expect(refusal(previous, after: newer) == .older(revision: 10, have: 11))

        let twin = try Make.consensus([], revision: 10)
        let evidence = DirectoryError.equivocation(revision: 10, have: previous.digest, received: twin.digest)
        #expect(refusal(twin, after: previous) == evidence)
        #expect(refusal(twin, after: previous, at: now + 1_000_000) == evidence)
        #expect(evidence.recovery == .reportDirectory)

        #expect(refusal(newer, after: nil, at: newer.validUntil - 1) == nil)
        #expect(
            refusal(newer, after: nil, at: newer.validUntil)
                == .expired(validUntil: newer.validUntil, now: newer.validUntil))
        let early = newer.validAfter - 300
        #expect(refusal(newer, after: nil, at: early) == nil)
        let future = DirectoryError.fromFuture(validAfter: newer.validAfter, now: early - 1)
        #expect(refusal(newer, after: nil, at: early - 1) == future)
        #expect(future.description.contains("clock"))
        #expect(refusal(newer, after: nil, at: 0) == .fromFuture(validAfter: newer.validAfter, now: 0))
        #expect(refusal(newer, after: nil, at: .max) == .expired(validUntil: newer.validUntil, now: .max))
        #expect(newer.isFresh(now: newer.freshUntil - 1) && !newer.isFresh(now: newer.freshUntil))
        #expect(newer.isValid(now: newer.validUntil - 1) && !newer.isValid(now: newer.validUntil))
    }
}
