import NIOConcurrencyHelpers
import NIOCore
import NIOEmbedded
import OnionCrypto
import OnionDirectory
import Testing

@testable import DirectoryServer
@testable import OnionLink

@Suite("Answers that nobody takes")
struct AnswerBudgetTests {
    /// Connections by number, of a budget of a hundred bytes.
    private final class Connections {
        private final class Connection {}

        let budget: AnswerBudget
        private let reachedLimits: NIOLockedValueBox<[ServerLimit]>
        private let closedConnections = NIOLockedValueBox<[Int]>([])
        private let all = (0..<30).map { _ in Connection() }

        init() {
            let reached = NIOLockedValueBox<[ServerLimit]>([])
            self.reachedLimits = reached
            self.budget = AnswerBudget(
                limit: 100, metrics: ServerMetrics { limit in reached.withLockedValue { $0.append(limit) } })
        }

        var reachedCount: Int { self.reachedLimits.withLockedValue { $0.count { $0 == .answerBytes } } }
        var closed: [Int] { self.closedConnections.withLockedValue { $0 } }

        func take(_ byteCount: Int, for number: Int, linkKey: Ed25519PublicKey? = nil) -> Bool {
            let closed = self.closedConnections
            return self.budget.take(byteCount, for: ObjectIdentifier(self.all[number]), linkKey: linkKey) {
                closed.withLockedValue { $0.append(number) }
            }
        }

        func give(_ byteCount: Int, from number: Int) {
            self.budget.give(byteCount, from: ObjectIdentifier(self.all[number]))
        }
    }

    @Test("one connection has so many bytes and no more") func limit() {
        let connections = Connections()
        #expect(connections.take(60, for: 0))
        #expect(connections.take(40, for: 0))
        #expect(!connections.take(1, for: 0))
        connections.give(60, from: 0)
        #expect(connections.take(60, for: 0))
        #expect(!connections.take(1, for: 0))
        #expect(connections.closed.isEmpty)
        #expect(connections.reachedCount == 2)
    }

    @Test("who has held some for longest makes way; who takes what waits is not he") func longest() {
        let connections = Connections()
        for number in [0, 1, 2, 0] { #expect(connections.take(25, for: number)) }
        connections.give(25, from: 0)
        #expect(connections.take(25, for: 3))
        #expect(connections.closed.isEmpty)
        #expect(connections.take(25, for: 4))
        #expect(connections.closed == [1])
        #expect(connections.take(50, for: 5))
        #expect(connections.closed == [1, 2, 0])
        #expect(connections.reachedCount == 3)
    }

    @Test("who was told to close gets nothing more, and gives nothing twice") func leaving() {
        let connections = Connections()
        for number in 0..<5 { #expect(connections.take(25, for: number)) }
        #expect(!connections.take(1, for: 0))
        connections.give(25, from: 0)
        #expect(connections.closed == [0])
        // The others hold all there is.
        #expect(connections.take(25, for: 5))
        #expect(connections.closed == [0, 1])
        // The number is another connection's from now on.
        #expect(connections.take(25, for: 0))
        #expect(connections.closed == [0, 1, 2])
    }

    @Test("a quarter is for the ORs of the list, the rest for strangers; each gives back what the others need")
    func quarter() {
        let connections = Connections()
        let linkKey = Ed25519PrivateKey().publicKey
        connections.budget.listed([linkKey])
        for number in 0..<10 { #expect(connections.take(10, for: number)) }
        #expect(connections.take(25, for: 10, linkKey: linkKey))
        #expect(connections.closed == [0, 1, 2])
        // Strangers have no more than their part now.
        #expect(connections.take(25, for: 11, linkKey: linkKey))
        #expect(connections.closed == [0, 1, 2, 10])
        #expect(connections.take(5, for: 12))
        #expect(connections.take(10, for: 12))
        #expect(connections.closed == [0, 1, 2, 10, 3])
        for number in 4..<10 { connections.give(10, from: number) }
        for byteCount in [5, 10] { connections.give(byteCount, from: 12) }
        // And what strangers leave the ORs may have, until somebody needs it.
        for number in 13..<16 { #expect(connections.take(25, for: number, linkKey: linkKey)) }
        #expect(connections.take(75, for: 16))
        #expect(connections.closed == [0, 1, 2, 10, 3, 11, 13, 14])
    }

    @Test("an OR that is not listed any more is a stranger") func unlisted() {
        let connections = Connections()
        let linkKeys = (0..<2).map { _ in Ed25519PrivateKey().publicKey }
        connections.budget.listed(Set(linkKeys))
        #expect(connections.take(25, for: 0, linkKey: linkKeys[0]))
        #expect(connections.take(75, for: 1, linkKey: linkKeys[1]))
        connections.budget.listed([linkKeys[0]])
        #expect(connections.take(10, for: 2))
        #expect(connections.closed == [1])
    }

    @Test("however many do not read, an OR and another stranger get their answers")
    func readers() throws {
        let answer = DirectoryMessage.consensus([UInt8](repeating: 1, count: 10_000))
        let budget = AnswerBudget(limit: 40_000, metrics: ServerMetrics())
        func connect(_ linkKey: Ed25519PublicKey?) throws -> EmbeddedChannel {
            let channel = EmbeddedChannel(
                handler: DirectoryFrameHandler(peer: PeerKey(publicKey: linkKey), answers: budget))
            try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
            return channel
        }
        let linkKey = Ed25519PrivateKey().publicKey
        budget.listed([linkKey])
        let silent = try (0..<20).map { _ in try connect(nil) }
        // What is not flushed is not taken.
        for channel in silent { channel.write(answer, promise: nil) }
        for reader in [try connect(linkKey), try connect(nil), try connect(linkKey)] {
            reader.writeAndFlush(answer, promise: nil)
            #expect(reader.isActive)
            #expect(try reader.readOutbound(as: ByteBuffer.self) != nil)
            _ = try reader.finish()
        }
        for channel in silent { channel.embeddedEventLoop.run() }
        #expect(silent.count(where: \.isActive) <= 3)
        for channel in silent { _ = try channel.finish(acceptAlreadyClosed: true) }
    }
}
