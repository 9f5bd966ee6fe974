import NIOCore
import OnionCells
import OnionCircuits
import OnionCrypto

/// The state machines that a cell or a stream's bytes pass.
func measureMachines(_ meter: inout Meter) throws {
    let parameters = try CongestionParameters(initialWindow: 128, maximumWindow: 4_096)
    var congestion = CongestionControl(parameters: parameters)
    var now = NIODeadline.uptimeNanoseconds(1_000_000_000)
    let tag = CellTag(high: 1, low: 2)
    try meter.measure("machines", "congestion: a cell sent and its part of a SendMe", per: 32) {
        for _ in 0..<32 { congestion.cellSent(tag: tag, now: now) }
        now = now + .microseconds(500)
        try congestion.sendMeReceived(tag: tag, now: now)
    }
    var receiver = SendMeReceiver()
    meter.measure("machines", "SendMe receiver: a cell") { use(receiver.cellReceived(tag: tag)) }
    var gate = StreamGate(limits: .init(high: 524_288, low: 131_072, inFlight: 8 << 20))
    try meter.measure("machines", "stream gate: data in and out") {
        use(try gate.dataReceived(byteCount: 2_000, now: now))
        use(gate.dataDrained(byteCount: 2_000, now: now))
    }
    var lifecycle = StreamLifecycle(role: .client)
    use(try lifecycle.connectedReceived())
    try meter.measure("machines", "stream lifecycle: data") { use(try lifecycle.dataReceived()) }
    for circuitCount in [2, 100] {
        var scheduler = CircuitScheduler<CircuitID>(halfLife: .seconds(10), now: now)
        for id in 0..<circuitCount { scheduler.enqueued(CircuitID(rawValue: UInt32(id + 1))) }
        meter.measure("machines", "scheduler: a cell, \(circuitCount) circuits waiting") {
            now = now + .microseconds(1)
            if let id = scheduler.next() { scheduler.sent(id, cellCount: 1, isEmpty: false, now: now) }
        }
    }
    var bucket = TokenBucket(ratePerSecond: 1_000_000, burst: 1_000, now: now)
    meter.measure("machines", "token bucket: take") {
        now = now + .microseconds(1)
        use(bucket.take(now: now))
    }
}
