import NIOCore
import Testing

@testable import OnionCircuits

@Suite("Source ledger")
struct SourceLedgerTests {
    private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000)

    private static func limits(_ change: (inout SourceLedger<Int>.Limits) -> Void = { _ in })
        -> SourceLedger<Int>.Limits
    {
        var limits = SourceLedger<Int>.Limits(
            connections: 100, reservedConnections: 0, connectionsPerSource: 100, halfOpenPerSource: 100,
            connectsPerSecond: 100, connectBurst: 100, requestsPerSecond: 100, requestBurst: 100)
        change(&limits)
        return limits
    }

    @Test("takes as many connections in all as the limit, and not one more until one is closed") func total() {
        var ledger = SourceLedger<Int>(limits: Self.limits { $0.connections = 3 })
        for source in 1...3 { #expect(ledger.admit(source, now: Self.start) == nil) }
        #expect(ledger.admit(4, now: Self.start) == .connections)
        ledger.closed(2)
        #expect(ledger.admit(4, now: Self.start) == nil)
        #expect(ledger.admit(5, now: Self.start) == .connections)
    }

    @Test("keeps the reserved connections for exempt sources, to the last one") func reserve() {
        var ledger = SourceLedger<Int>(
            limits: Self.limits {
                $0.connections = 4
                $0.reservedConnections = 2
            })
        #expect(ledger.admit(1, now: Self.start) == nil)
        #expect(ledger.admit(2, now: Self.start) == nil)
        #expect(ledger.admit(3, now: Self.start) == .connections)
        #expect(ledger.admit(9, isExempt: true, now: Self.start) == nil)
        #expect(ledger.admit(9, isExempt: true, now: Self.start) == nil)
        #expect(ledger.admit(9, isExempt: true, now: Self.start) == .connections)
    }

    @Test("takes as many of one source as the limit, and leaves others alone") func perSource() {
        var ledger = SourceLedger<Int>(limits: Self.limits { $0.connectionsPerSource = 2 })
        #expect(ledger.admit(1, now: Self.start) == nil)
        #expect(ledger.admit(1, now: Self.start) == nil)
        #expect(ledger.admit(1, now: Self.start) == .connectionsPerSource)
        #expect(ledger.admit(2, now: Self.start) == nil)
        #expect(ledger.admit(1, isExempt: true, now: Self.start) == nil)
        ledger.closed(1)
        ledger.closed(1)
        #expect(ledger.admit(1, now: Self.start) == nil)
    }

    @Test("counts as half-open what is not established yet") func halfOpen() {
        var ledger = SourceLedger<Int>(limits: Self.limits { $0.halfOpenPerSource = 2 })
        #expect(ledger.admit(1, now: Self.start) == nil)
        #expect(ledger.admit(1, now: Self.start) == nil)
        #expect(ledger.admit(1, now: Self.start) == .halfOpenPerSource)
        ledger.established(1)
        #expect(ledger.admit(1, now: Self.start) == nil)
        #expect(ledger.admit(1, now: Self.start) == .halfOpenPerSource)
        ledger.ended(1)
        #expect(ledger.admit(1, now: Self.start) == .halfOpenPerSource)
        ledger.closed(1)
        #expect(ledger.admit(1, now: Self.start) == .halfOpenPerSource)
        ledger.closed(1)
        #expect(ledger.admit(1, now: Self.start) == nil)
    }

    @Test("new connections of a source come at a rate, whether earlier ones are closed or not") func connects() {
        var ledger = SourceLedger<Int>(
            limits: Self.limits {
                $0.connectBurst = 2
                $0.connectsPerSecond = 1
            })
        for _ in 0..<2 {
            #expect(ledger.admit(1, now: Self.start) == nil)
            ledger.closed(1)
        }
        #expect(ledger.admit(1, now: Self.start) == .connectsPerSource)
        #expect(ledger.admit(2, now: Self.start) == nil)
        #expect(ledger.admit(1, now: Self.start + .milliseconds(999)) == .connectsPerSource)
        #expect(ledger.admit(1, now: Self.start + .seconds(1)) == nil)
        #expect(ledger.admit(1, now: Self.start + .seconds(1)) == .connectsPerSource)
    }

    @Test("requests of a source come from one bucket, however many connections it has") func requests() {
        var ledger = SourceLedger<Int>(
            limits: Self.limits {
                $0.requestBurst = 3
                $0.requestsPerSecond = 1
            })
        #expect(ledger.admit(1, now: Self.start) == nil)
        #expect(ledger.admit(1, now: Self.start) == nil)
        for _ in 0..<3 { #expect(ledger.takeRequest(1, now: Self.start) == true) }
        #expect(ledger.takeRequest(1, now: Self.start) == false)
        #expect(ledger.takeRequest(2, now: Self.start) == true)
        // Closing and coming again gives nothing back.
        ledger.closed(1)
        ledger.closed(1)
        #expect(ledger.admit(1, now: Self.start) == nil)
        #expect(ledger.takeRequest(1, now: Self.start) == false)
        #expect(ledger.takeRequest(1, now: Self.start + .seconds(1)) == true)
        #expect(ledger.takeRequest(1, now: Self.start + .seconds(1)) == false)
    }

    @Test("takes as many circuits of one source as the limit, and one more when one has ended") func circuits() {
        var ledger = SourceLedger<Int>(
            limits: Self.limits {
                $0.circuits = 100
                $0.circuitsPerSource = 2
            })
        for _ in 0..<2 { #expect(ledger.takeCircuit(1, now: Self.start) == nil) }
        #expect(ledger.takeCircuit(1, now: Self.start) == .circuitsPerSource)
        #expect(ledger.takeCircuit(2, now: Self.start) == nil)
        ledger.circuitEnded(1)
        #expect(ledger.takeCircuit(1, now: Self.start) == nil)
        #expect(ledger.takeCircuit(1, now: Self.start) == .circuitsPerSource)
        #expect(ledger.takeCircuit(1, isExempt: true, now: Self.start) == nil)
        #expect(ledger.circuitCount == 4)
    }

    @Test("takes as many circuits in all as the limit, and keeps the reserved ones for exempt sources")
    func circuitReserve() {
        var ledger = SourceLedger<Int>(
            limits: Self.limits {
                $0.circuits = 4
                $0.reservedCircuits = 2
                $0.circuitsPerSource = 1
            })
        for source in 1...2 { #expect(ledger.takeCircuit(source, now: Self.start) == nil) }
        #expect(ledger.takeCircuit(3, now: Self.start) == .circuits)
        for _ in 0..<2 { #expect(ledger.takeCircuit(9, isExempt: true, now: Self.start) == nil) }
        #expect(ledger.takeCircuit(9, isExempt: true, now: Self.start) == .circuits)
        ledger.circuitEnded(9)
        #expect(ledger.takeCircuit(3, now: Self.start) == .circuits)
        #expect(ledger.takeCircuit(9, isExempt: true, now: Self.start) == nil)
    }

    @Test("remembers sixteen thousand sources, unless told otherwise")
    func rememberedByDefault() { #expect(Self.limits { _ in }.rememberedSources == 16_384) }

    @Test("remembers what circuits a source has, past other limits, other sources and ends of what never was")
    func circuitsStay() {
        var ledger = SourceLedger<Int>(
            limits: Self.limits {
                $0.circuits = 100
                $0.circuitsPerSource = 2
                $0.rememberedSources = 4
            })
        #expect(ledger.takeCircuit(1, now: Self.start) == nil)
        ledger.circuitEnded(2)
        ledger.update(
            Self.limits {
                $0.circuits = 100
                $0.circuitsPerSource = 1
                $0.rememberedSources = 4
            }, now: Self.start)
        for source in 2...50 { #expect(ledger.takeRequest(source, now: Self.start) == true) }
        #expect(ledger.takeCircuit(1, now: Self.start) == .circuitsPerSource)
        ledger.circuitEnded(1)
        ledger.circuitEnded(1)
        #expect(ledger.circuitCount == 0)
        #expect(ledger.takeCircuit(1, now: Self.start) == nil)
        #expect(ledger.takeCircuit(1, now: Self.start) == .circuitsPerSource)
    }

    @Test("forgets full buckets first, and never remembers more sources than the limit") func bound() {
        var ledger = SourceLedger<Int>(
            limits: Self.limits {
                $0.rememberedSources = 8
                $0.requestBurst = 2
                $0.requestsPerSecond = 1
            })
        // Seven that are full again after a second, and one that is not.
        for source in 1...7 { #expect(ledger.takeRequest(source, now: Self.start) == true) }
        let later = Self.start + .seconds(2)
        for _ in 0..<2 { #expect(ledger.takeRequest(8, now: later) == true) }
        #expect(ledger.sourceCount == 8)
        #expect(ledger.takeRequest(9, now: later) == true)
        #expect(ledger.sourceCount == 2)
        #expect(ledger.takeRequest(8, now: later) == false)
        // With none full, the emptiest stay.
        for source in 10...15 { #expect(ledger.takeRequest(source, now: later) == true) }
        #expect(ledger.sourceCount == 8)
        for source in 16...1000 {
            #expect(ledger.takeRequest(source, now: later) == true)
            #expect(ledger.sourceCount <= 8)
        }
        #expect(ledger.takeRequest(8, now: later) == false)
    }

    @Test("never forgets a source with a connection") func connected() {
        var ledger = SourceLedger<Int>(limits: Self.limits { $0.rememberedSources = 4 })
        for source in 1...6 { #expect(ledger.admit(source, now: Self.start) == nil) }
        for source in 7...50 { #expect(ledger.takeRequest(source, now: Self.start) == true) }
        for source in 1...6 { ledger.closed(source) }
        #expect(ledger.connectionCount == 0)
    }

    @Test("what was not admitted cannot be closed, and what was not established cannot end") func unknown() {
        var ledger = SourceLedger<Int>(
            limits: Self.limits {
                $0.connections = 2
                $0.halfOpenPerSource = 2
            })
        #expect(ledger.takeRequest(1, now: Self.start) == true)
        ledger.closed(1)
        ledger.closed(2)
        #expect(ledger.connectionCount == 0)
        #expect(ledger.admit(1, now: Self.start) == nil)
        ledger.ended(1)
        ledger.ended(2)
        #expect(ledger.admit(1, now: Self.start) == nil)
        #expect(ledger.admit(1, now: Self.start) == .connections)
    }

    @Test("the same limits once more fill no bucket") func sameLimits() {
        let limits = Self.limits { $0.requestBurst = 1 }
        var ledger = SourceLedger<Int>(limits: limits)
        #expect(ledger.takeRequest(1, now: Self.start) == true)
        ledger.update(limits, now: Self.start)
        #expect(ledger.takeRequest(1, now: Self.start) == false)
        ledger.update(Self.limits { $0.requestBurst = 2 }, now: Self.start)
        #expect(ledger.takeRequest(1, now: Self.start) == true)
    }

    @Test("other limits hold at once, and what is open stays counted") func update() {
        var ledger = SourceLedger<Int>(limits: Self.limits())
        for _ in 0..<3 { #expect(ledger.admit(1, now: Self.start) == nil) }
        ledger.update(Self.limits { $0.connectionsPerSource = 3 }, now: Self.start)
        #expect(ledger.admit(1, now: Self.start) == .connectionsPerSource)
        ledger.closed(1)
        #expect(ledger.admit(1, now: Self.start) == nil)
    }
}
