import NIOCore
import OnionCircuits
import OnionCrypto
import TestSupport

/// Circuits that share one bottleneck: a queue that lets cells through at a fixed rate, with fixed delays round it.
///
/// Deterministic. Every sender has endless data, so that cells leave at the start and when a SendMe comes; the time at
/// which a cell leaves the bottleneck follows from that of the cell before it. Times are nanoseconds.
struct BottleneckSimulation {
    struct Flow {
        var control: CongestionControl
        var receiver = SendMeReceiver()
        var nextTag = 0
        /// SendMes on their way, in order of arrival.
        var sendMes: [(at: Int64, tag: CellTag)] = []
        var firstSendMe = 0
        /// When cells reached the receiver.
        var delivered: [Int64] = []
        let startsAt: Int64
    }

    /// The path's round-trip time without queue; may be changed while it runs.
    var roundTrip: Int64
    /// Up to this much is added to each SendMe's way, drawn evenly.
    var jitter: Int64 = 0
    let cellTime: Int64
    var flows: [Flow] = []
    private(set) var now: Int64 = 0
    private var bottleneckFreeAt: Int64 = 0
    /// (time, delay) of each cell in the bottleneck's queue.
    private(set) var queueDelays: [(at: Int64, delay: Int64)] = []
    private var random = SplitMix64(7)

    init(roundTrip: TimeAmount, cellsPerSecond: Int64) {
        self.roundTrip = roundTrip.nanoseconds
        self.cellTime = 1_000_000_000 / cellsPerSecond
    }

    mutating func addFlow(_ parameters: CongestionParameters) {
        self.flows.append(Flow(control: CongestionControl(parameters: parameters), startsAt: self.now))
    }

    mutating func run(until end: TimeAmount) throws {
        for index in self.flows.indices { try self.send(index) }
        while true {
            var next: (at: Int64, flow: Int)?
            for (index, flow) in self.flows.enumerated() where flow.firstSendMe < flow.sendMes.count {
                let at = flow.sendMes[flow.firstSendMe].at
                if next.map({ at < $0.at }) ?? true { next = (at, index) }
            }
            guard let next, next.at <= end.nanoseconds else { break }
            self.now = next.at
            let sendMe = self.flows[next.flow].sendMes[self.flows[next.flow].firstSendMe]
            self.flows[next.flow].firstSendMe += 1
            try self.flows[next.flow].control.sendMeReceived(tag: sendMe.tag, now: Self.deadline(self.now))
            try self.send(next.flow)
        }
        self.now = end.nanoseconds
    }

    private mutating func send(_ index: Int) throws {
        while self.flows[index].control.canSend {
            let tag = OnionCircuitsTests.tag(self.flows[index].nextTag)
            self.flows[index].nextTag += 1
            self.flows[index].control.cellSent(tag: tag, now: Self.deadline(self.now))
            let arrives = self.now + self.roundTrip / 4
            let leaves = max(arrives, self.bottleneckFreeAt) + self.cellTime
            self.bottleneckFreeAt = leaves
            self.queueDelays.append((arrives, leaves - arrives - self.cellTime))
            let delivered = leaves + self.roundTrip / 4
            self.flows[index].delivered.append(delivered)
            guard let due = self.flows[index].receiver.cellReceived(tag: tag) else { continue }
            var back = delivered + self.roundTrip / 2
            if self.jitter > 0 { back += Int64.random(in: 0...self.jitter, using: &self.random) }
            if let last = self.flows[index].sendMes.last { back = max(back, last.at) }
            self.flows[index].sendMes.append((back, due))
        }
    }

    /// The share of the bottleneck that a flow had between two times.
    func share(of index: Int, from: TimeAmount, to: TimeAmount) -> Double {
        let range = from.nanoseconds..<to.nanoseconds
        let count = self.flows[index].delivered.count { range.contains($0) }
        return Double(count) * Double(self.cellTime) / Double((to - from).nanoseconds)
    }

    /// The longest wait in the queue between two times.
    func longestQueueDelay(from: TimeAmount, to: TimeAmount) -> TimeAmount {
        let range = from.nanoseconds..<to.nanoseconds
        return .nanoseconds(self.queueDelays.lazy.filter { range.contains($0.at) }.map(\.delay).max() ?? 0)
    }

    private static func deadline(_ time: Int64) -> NIODeadline { .start + .nanoseconds(time) }
}
