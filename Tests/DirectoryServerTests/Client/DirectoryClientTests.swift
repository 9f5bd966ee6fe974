import NIOCore
import OnionCrypto
import OnionDirectory
import TestSupport
import Testing

import class Foundation.FileManager

@testable import DirectoryClient

@Suite("Directory exchange")
struct DirectoryExchangeTests {
    private func open() -> DirectoryExchange {
        var exchange = DirectoryExchange()
        exchange.helloVerified()
        return exchange
    }

    @Test("the Hello comes first, and once") func hello() throws {
        var exchange = DirectoryExchange()
        #expect(throws: DirectoryConnectionError.closed) { try exchange.asked(.ticket) }
        #expect(exchange.received(.hello([1])) == .checkHello([1]))
        exchange.helloVerified()
        #expect(exchange.received(.hello([1])) == .close(.unexpectedAnswer(.hello)))
        var other = DirectoryExchange()
        #expect(other.received(.notModified(revision: 1)) == .close(.unexpectedAnswer(.notModified)))
    }

    @Test("answers go to the request of their kind, in any order") func order() throws {
        var exchange = self.open()
        try exchange.asked(.consensus)
        try exchange.asked(.heartbeat)
        #expect(throws: DirectoryConnectionError.alreadyAsked(.getConsensus)) { try exchange.asked(.consensus) }
        let beat = DirectoryMessage.heartbeatAck(counter: 1, revision: 2)
        #expect(exchange.received(beat) == .answer(.heartbeat, beat))
        let consensus = DirectoryMessage.notModified(revision: 2)
        #expect(exchange.received(consensus) == .answer(.consensus, consensus))
        try exchange.asked(.consensus)
    }

    @Test("an answer that nobody asked for closes; so does an Error, with its reason") func unasked() throws {
        var exchange = self.open()
        #expect(exchange.received(.ticket([])) == .close(.unexpectedAnswer(.ticket)))
        var other = self.open()
        try other.asked(.ticket)
        #expect(other.received(.error(.busy, text: "x")) == .close(.refused(.busy, text: "x")))
        #expect(throws: DirectoryConnectionError.closed) { try other.asked(.ticket) }
    }

    @Test("an Error before the Hello is nobody's word, and one behind it cannot draw on a terminal") func forged() {
        var exchange = DirectoryExchange()
        #expect(exchange.received(.error(.notAllowed, text: "x")) == .close(.unexpectedAnswer(.error)))
        var other = self.open()
        let text = "no\u{1B}[2J\n\u{202E}é"
        #expect(
            other.received(.error(.busy, text: text))
                == .close(.refused(.busy, text: "no\u{FFFD}[2J\u{FFFD}\u{FFFD}é")))
    }
}

@Suite("Jittered backoff")
struct JitteredBackoffTests {
    @Test("doubles up to its limit, each wait between half of the step and the step") func steps() {
        var backoff = JitteredBackoff(first: .milliseconds(100), maximum: .milliseconds(350))
        var generator = SystemRandomNumberGenerator()
        for step in [100, 200, 350, 350] as [Int64] {
            let wait = backoff.next(using: &generator)
            #expect((TimeAmount.milliseconds(step / 2)...TimeAmount.milliseconds(step)).contains(wait))
        }
        backoff.reset()
        #expect(backoff.next(using: &generator) <= .milliseconds(100))
    }

    @Test("many who lost one server come back at different times") func spread() {
        let waits = (0..<50 as Range<UInt64>).map { seed in
            var backoff = JitteredBackoff(first: .seconds(1), maximum: .seconds(1))
            var generator = SplitMix64(seed)
            return backoff.next(using: &generator).nanoseconds
        }
        #expect(Set(waits).count == 50)
    }

    @Test("never waits longer than its limit, the first time or after a change") func limit() {
        var generator = SystemRandomNumberGenerator()
        var backoff = JitteredBackoff(first: .seconds(10), maximum: .seconds(1))
        #expect(backoff.next(using: &generator) <= .seconds(1))
        backoff = JitteredBackoff(first: .milliseconds(100), maximum: .seconds(10))
        for _ in 0..<5 { _ = backoff.next(using: &generator) }
        backoff.update(maximum: .milliseconds(50))
        let changed = backoff.next(using: &generator)
        #expect((TimeAmount.milliseconds(25)...TimeAmount.milliseconds(50)).contains(changed))
        backoff.reset()
        #expect(backoff.next(using: &generator) <= .milliseconds(50))
    }

    @Test("a higher limit is reached by doubling, and not at once") func higherLimit() {
        var generator = SystemRandomNumberGenerator()
        var backoff = JitteredBackoff(first: .milliseconds(100), maximum: .milliseconds(150))
        backoff.update(maximum: .seconds(10))
        for step in [100, 200, 400] as [Int64] {
            let wait = backoff.next(using: &generator)
            #expect((TimeAmount.milliseconds(step / 2)...TimeAmount.milliseconds(step)).contains(wait))
        }
    }

    @Test("a first wait or a limit of nothing is a wait all the same") func nothing() {
        var generator = SystemRandomNumberGenerator()
        var backoff = JitteredBackoff(first: .zero, maximum: .seconds(1))
        #expect(backoff.next(using: &generator) > .zero)
        backoff = JitteredBackoff(maximum: .zero)
        for _ in 0..<3 { #expect(backoff.next(using: &generator) > .zero) }
        backoff = JitteredBackoff(maximum: .seconds(1))
        backoff.update(maximum: .zero)
        #expect(backoff.next(using: &generator) > .zero)
    }
}

@Suite("Consensus store")
struct ConsensusStoreTests {
    private func names(_ directory: TemporaryDirectory) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: directory.path)
    }

    private func consensus(_ key: Ed25519PrivateKey, revision: UInt64 = 1, until: UInt64 = 30) throws -> Consensus {
        try Consensus.make(
            revision: revision, validAfter: 10, freshUntil: 20, validUntil: until, parameters: NetworkParameters(),
            routers: [], signedBy: key)
    }

    @Test("gives back what was saved, but only under the right key") func roundTrip() throws {
        let directory = try TemporaryDirectory()
        let store = ConsensusStore(path: directory.file("consensus"))
        let key = Ed25519PrivateKey()
        #expect(store.load(directoryKey: key.publicKey) == nil)
        let consensus = try self.consensus(key)
        try store.save(consensus)
        #expect(store.load(directoryKey: key.publicKey) == consensus)
        #expect(store.load(directoryKey: Ed25519PrivateKey().publicKey) == nil)
    }

    @Test("keeps both sides of an equivocation") func evidence() throws {
        let directory = try TemporaryDirectory()
        let store = ConsensusStore(path: directory.file("consensus"))
        let key = Ed25519PrivateKey()
        let paths = try store.keepEvidence(try self.consensus(key), try self.consensus(key, until: 31))
        #expect(Set(paths).count == 2)
        for path in paths { #expect(ConsensusStore(path: path).load(directoryKey: key.publicKey) != nil) }
    }

    @Test("keeps the first pair of a revision, however many lists of it are signed") func firstPair() throws {
        let directory = try TemporaryDirectory()
        // However the path is written.
        let store = ConsensusStore(path: directory.file("/consensus"))
        let key = Ed25519PrivateKey()
        let first = try self.consensus(key)
        let paths = try store.keepEvidence(first, try self.consensus(key, until: 31))
        for until in 32..<35 as Range<UInt64> {
            #expect(try Set(store.keepEvidence(first, self.consensus(key, until: until))) == Set(paths))
        }
        #expect(try self.names(directory).count == 2)
    }

    @Test("keeps so many files of evidence, and not one more") func evidenceLimit() throws {
        let directory = try TemporaryDirectory()
        let store = ConsensusStore(path: directory.file("consensus"))
        let key = Ed25519PrivateKey()
        for revision in 1...UInt64(ConsensusStore.evidenceFileLimit) {
            let paths = try store.keepEvidence(
                try self.consensus(key, revision: revision), try self.consensus(key, revision: revision, until: 31))
            let pairCount = min(Int(revision), ConsensusStore.evidenceFileLimit / 2)
            #expect(try self.names(directory).count == 2 * pairCount)
            #expect(paths.count == (Int(revision) == pairCount ? 2 : ConsensusStore.evidenceFileLimit))
        }
    }
}
