import NIOCore
import OnionAddress
import OnionCrypto
import Testing

@testable import DirectoryServer

@Suite("Who makes way at the directory")
struct ConnectionLedgerTests {
    private static let now = NIODeadline.uptimeNanoseconds(0)
    private static let routers = (0..<4).map { _ in Ed25519PrivateKey().publicKey }

    private static func ledger(_ change: (inout ConnectionLimits) -> Void = { _ in }) -> ConnectionLedger {
        var limits = ConnectionLimits()
        change(&limits)
        return ConnectionLedger(limits: limits)
    }

    private static func network(_ number: UInt32) -> IPPrefix { IPAddress.v4(0x0808_0000 + number).sourceNetwork }

    /// Let a connection in for which nobody makes way.
    private static func admit(_ ledger: inout ConnectionLedger, from number: UInt32 = 0) throws -> ConnectionID {
        let admission = ledger.admit(Self.network(number), now: Self.now)
        guard case .admitted(let connection, nil) = admission else { throw TestFailure("\(admission)") }
        return connection
    }

    private static func establish(
        _ ledger: inout ConnectionLedger, from number: UInt32 = 0, router: Ed25519PublicKey? = nil
    ) throws -> (ConnectionID, ConnectionLedger.Dismissal?) {
        let connection = try Self.admit(&ledger, from: number)
        return (connection, ledger.established(connection, router: router))
    }

    @Test("of those of one address that say nothing the oldest makes way, and nobody at other addresses")
    func silent() throws {
        var ledger = Self.ledger { $0.halfOpenPerAddress = 2 }
        let elsewhere = try Self.admit(&ledger, from: 1)
        let first = try Self.admit(&ledger)
        let second = try Self.admit(&ledger)
        let third = ledger.admit(Self.network(0), now: Self.now)
        #expect(third == .admitted(ConnectionID(rawValue: 4), closing: first))
        // It is on its way out, whatever it proves now.
        #expect(ledger.established(first, router: nil) == nil)
        #expect(ledger.proved(Self.routers[0], over: first) == nil)
        ledger.closed(first)
        #expect(ledger.established(second, router: nil) == nil)
        #expect(ledger.established(elsewhere, router: nil) == nil)
        _ = try Self.admit(&ledger)
    }

    @Test("a flood of new ones that are not let in closes none of those that are")
    func connectRate() throws {
        var ledger = Self.ledger {
            $0.halfOpenPerAddress = 2
            $0.connectBurst = 2
        }
        for _ in 0..<2 { _ = try Self.admit(&ledger) }
        #expect(ledger.admit(Self.network(0), now: Self.now) == .refused(.connectsPerAddress, closing: nil))
    }

    @Test("strangers of an address are so many and no more: the oldest makes way; a router there takes nobody's place")
    func strangers() throws {
        var ledger = Self.ledger { $0.perAddress = 2 }
        let (elsewhere, _) = try Self.establish(&ledger, from: 1)
        let (first, _) = try Self.establish(&ledger)
        let (second, _) = try Self.establish(&ledger)
        let (third, dismissal) = try Self.establish(&ledger)
        #expect(dismissal == .init(connection: first, limit: .connectionsPerAddress))
        let (router, other) = try Self.establish(&ledger, router: Self.routers[0])
        #expect(other == nil)
        // Nothing changes with what is known already.
        #expect(ledger.established(router, router: nil) == nil)
        #expect(ledger.proved(Self.routers[0], over: router) == nil)
        #expect(try Self.establish(&ledger, from: 1).1 == nil)
        ledger.closed(first)
        #expect(try Self.establish(&ledger).1 == .init(connection: second, limit: .connectionsPerAddress))
        ledger.closed(third)
        #expect(try Self.establish(&ledger).1 == nil)
        #expect(ledger.network(of: elsewhere) != nil)
    }

    @Test("when strangers have all their places, one of the address with the most makes way, not who came first")
    func crowded() throws {
        var ledger = Self.ledger {
            $0.total = 12
            $0.reserved = 4
        }
        let (honest, _) = try Self.establish(&ledger, from: 9)
        let crowd = try (0..<7).map { _ in try Self.establish(&ledger, from: 1).0 }
        #expect(try Self.establish(&ledger, from: 2).1 == .init(connection: crowd[0], limit: .connections))
        #expect(try Self.establish(&ledger, from: 1).1 == .init(connection: crowd[1], limit: .connections))
        #expect(ledger.network(of: honest) != nil)
    }

    @Test("one place is kept for each router: the older connection is a stranger's again", arguments: [true, false])
    func older(isFull: Bool) throws {
        var ledger = Self.ledger { $0.perAddress = 1 }
        let (old, _) = try Self.establish(&ledger, router: Self.routers[0])
        if isFull { _ = try Self.establish(&ledger) }
        let (new, dismissal) = try Self.establish(&ledger, router: Self.routers[0])
        #expect(dismissal == (isFull ? .init(connection: old, limit: .connectionsPerAddress) : nil))
        ledger.closed(old)
        // The place is still the newer one's.
        let (newest, other) = try Self.establish(&ledger, router: Self.routers[0])
        #expect(other == (isFull ? .init(connection: new, limit: .connectionsPerAddress) : nil))
        ledger.closed(newest)
        #expect(try Self.establish(&ledger, router: Self.routers[0]).1 == nil)
    }

    @Test("one that turns out to be a router's leaves its place to a stranger")
    func proved() throws {
        var ledger = Self.ledger { $0.perAddress = 1 }
        let (newcomer, _) = try Self.establish(&ledger)
        #expect(ledger.proved(Self.routers[0], over: newcomer) == nil)
        #expect(try Self.establish(&ledger).1 == nil)
        // And it may become another's.
        #expect(ledger.proved(Self.routers[1], over: newcomer) == nil)
        #expect(try Self.establish(&ledger, router: Self.routers[0]).1 == nil)
    }

    @Test("strangers leave a part free, and make way for routers there and for the next stranger")
    func reserved() throws {
        var ledger = Self.ledger {
            $0.total = 6
            $0.reserved = 2
        }
        var strangers: [ConnectionID] = []
        for number in 0..<4 as Range<UInt32> { strangers.append(try Self.establish(&ledger, from: number).0) }
        let (fifth, first) = try Self.establish(&ledger, from: 4)
        #expect(first == .init(connection: strangers[0], limit: .connections))
        ledger.closed(strangers.removeFirst())
        strangers.append(fifth)
        for index in 0..<4 {
            let (_, dismissal) = try Self.establish(&ledger, from: 5, router: Self.routers[index])
            #expect(dismissal == .init(connection: strangers[index], limit: .connections))
            ledger.closed(strangers[index])
        }
        // All that strangers may have is routers'; one more router has the room that is left.
        let (_, none) = try Self.establish(&ledger, from: 6, router: Ed25519PrivateKey().publicKey)
        #expect(none == nil)
        // No stranger can make way for the next one.
        let (sixth, refused) = try Self.establish(&ledger, from: 7)
        #expect(refused == .init(connection: sixth, limit: .connections))
        guard case .refused(.connections, _) = ledger.admit(Self.network(7), now: Self.now) else {
            throw TestFailure("more than all")
        }
    }

    @Test("when there is no room at all, the oldest that says nothing goes, one at a time")
    func full() throws {
        var ledger = Self.ledger { $0.total = 3 }
        let (stranger, _) = try Self.establish(&ledger)
        let silent = [try Self.admit(&ledger, from: 1), try Self.admit(&ledger, from: 2)]
        #expect(ledger.admit(Self.network(3), now: Self.now) == .refused(.connections, closing: silent[0]))
        #expect(ledger.admit(Self.network(3), now: Self.now) == .refused(.connections, closing: nil))
        ledger.closed(silent[0])
        let next = try Self.admit(&ledger, from: 3)
        #expect(ledger.admit(Self.network(3), now: Self.now) == .refused(.connections, closing: silent[1]))
        for connection in [silent[1], next, stranger, stranger] { ledger.closed(connection) }
        for number in 0..<3 as Range<UInt32> { _ = try Self.admit(&ledger, from: number) }
    }

    @Test("what is closed asks for nothing, and is of nobody")
    func closed() throws {
        var ledger = Self.ledger { $0.addressRequestBurst = 1 }
        let connection = try Self.admit(&ledger)
        #expect(ledger.network(of: connection) == Self.network(0))
        let taken = (0..<2).map { _ in ledger.takeRequest(over: connection, now: Self.now) }
        #expect(taken == [true, false])
        ledger.closed(connection)
        #expect(ledger.network(of: connection) == nil)
        let isTaken = ledger.takeRequest(over: connection, now: Self.now + .seconds(1))
        #expect(!isTaken)
        #expect(ledger.established(connection, router: nil) == nil)
    }
}
