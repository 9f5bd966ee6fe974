import NIOCore
import OnionCells
import OnionCircuits
import OnionCrypto
import TestSupport
import Testing

@Suite("Congestion control")
struct CongestionControlTests {
    private func fixedWindow(_ cellCount: Int) throws -> CongestionParameters {
        try CongestionParameters(initialWindow: cellCount, minimumWindow: cellCount, maximumWindow: cellCount)
    }

    /// Send cells numbered from `first`.
    private func send(
        _ count: Int, from first: Int = 1, at now: NIODeadline = .start, _ control: inout CongestionControl
    ) throws {
        for number in first..<first + count { control.cellSent(tag: tag(number), now: now) }
    }

    @Test("the window is full at its size, not one cell before")
    func full() throws {
        var control = CongestionControl(parameters: try self.fixedWindow(64))
        try self.send(63, &control)
        #expect(control.canSend)
        #expect(control.window - control.inFlight == 1)
        try self.send(1, from: 64, &control)
        #expect(!control.canSend)
        #expect(control.window == control.inFlight)
    }

    @Test("every 32nd cell is said to complete an increment, and only those")
    func increments() throws {
        var control = CongestionControl(parameters: try self.fixedWindow(128))
        for number in 1...128 {
            #expect(control.nextCellCompletesIncrement == number.isMultiple(of: 32))
            control.cellSent(tag: tag(number), now: .start)
        }
        #expect(control.dueSendMeCount == 4)
    }

    @Test("a SendMe gives back 32 cells")
    func credit() throws {
        var control = CongestionControl(parameters: try self.fixedWindow(64))
        try self.send(64, &control)
        try control.sendMeReceived(tag: tag(32), now: .start + .milliseconds(10))
        #expect(control.inFlight == 32)
        #expect(control.canSend)
        #expect(control.smoothedRTT == .milliseconds(10))
    }

    @Test("a SendMe before 32 cells were sent is refused")
    func notDue() throws {
        var control = CongestionControl(parameters: try self.fixedWindow(64))
        try self.send(31, &control)
        #expect(throws: CircuitError.sendMeNotDue) { try control.sendMeReceived(tag: tag(31), now: .start) }
    }

    @Test("the same SendMe cannot be used twice")
    func twice() throws {
        var control = CongestionControl(parameters: try self.fixedWindow(64))
        try self.send(32, &control)
        try control.sendMeReceived(tag: tag(32), now: .start)
        #expect(throws: CircuitError.sendMeNotDue) { try control.sendMeReceived(tag: tag(32), now: .start) }
    }

    @Test("a SendMe with another cell's tag, or a later one's, is refused", arguments: [1, 31, 33, 64, 9999])
    func wrongTag(number: Int) throws {
        var control = CongestionControl(parameters: try self.fixedWindow(64))
        try self.send(64, &control)
        #expect(throws: CircuitError.sendMeTagWrong) { try control.sendMeReceived(tag: tag(number), now: .start) }
    }

    @Test("both refusals destroy the circuit, and look the same from outside")
    func refusals() {
        for error in [CircuitError.sendMeNotDue, .sendMeTagWrong] {
            #expect(error.scope == .circuit)
            #expect(error.destroyReason == .protocolViolation)
        }
    }

    @Test("sender and receiver agree on which cell is acknowledged", arguments: [UInt64(1), 2, 3])
    func agree(seed: UInt64) throws {
        print("seed", seed)
        var random = SplitMix64(seed)
        var control = CongestionControl(parameters: .wideRange)
        var receiver = SendMeReceiver()
        var acknowledgements: [CellTag] = []
        var now = NIODeadline.start
        for number in 1...10_000 {
            now = now + .microseconds(Int64.random(in: 1...500, using: &random))
            while !control.canSend || (!acknowledgements.isEmpty && Bool.random(using: &random)) {
                try control.sendMeReceived(tag: acknowledgements.removeFirst(), now: now)
            }
            let cell = tag(number)
            control.cellSent(tag: cell, now: now)
            if let due = receiver.cellReceived(tag: cell) { acknowledgements.append(due) }
        }
        #expect(control.dueSendMeCount == acknowledgements.count)
    }

    @Test("whatever the times are, the window keeps its range and nothing overflows", arguments: UInt64(1)...8)
    func anyTimes(seed: UInt64) throws {
        print("seed", seed)
        var random = SplitMix64(seed)
        let steps: [Int64] = [0, 1, 1000, 1_000_000, 50_000_000, 10_000_000_000, 1 << 50, -1_000_000]
        for parameters in [CongestionParameters.proposal324, .wideRange] {
            var control = CongestionControl(parameters: parameters)
            var now = NIODeadline.start
            var sent = 0
            var acknowledged = 0
            for step in 0..<5_000 {
                if control.canSend, Int.random(in: 0..<3, using: &random) > 0 {
                    for _ in 0..<min(64, control.window - control.inFlight) {
                        sent += 1
                        control.cellSent(tag: tag(sent), now: now)
                    }
                }
                now = now + .nanoseconds(steps.randomElement(using: &random) ?? 0)
                if now > .start + .nanoseconds(1 << 60) { now = .start }
                if control.dueSendMeCount > 0 {
                    acknowledged += 32
                    try control.sendMeReceived(
                        tag: tag(acknowledged), now: now, isLinkBlocked: Int.random(in: 0..<20, using: &random) == 0
                    )
                }
                // With 32 cells in flight a SendMe is due: the circuit can never wait for nothing.
                let holds =
                    parameters.minimumWindow...parameters.maximumWindow ~= control.window
                    && control.inFlight == sent - acknowledged && (control.canSend || control.dueSendMeCount > 0)
                try #require(holds, "step \(step): window \(control.window), in flight \(control.inFlight)")
            }
        }
    }

    @Test("does what the plain rules say, at every SendMe", arguments: UInt64(1)...40)
    func model(seed: UInt64) throws {
        var random = SplitMix64(seed)
        let parameters = try VegasModel.parameters(&random)
        var model = VegasModel(parameters)
        var control = CongestionControl(parameters: parameters)
        var (sent, acknowledged, now) = (0, 0, 0)
        var roundTrip = 1 + random.below(20)
        for step in 0..<300 {
            if random.below(64) == 0 { roundTrip = 1 + random.below(60) }
            // Mostly all that the window takes; at times less, or more.
            let act = random.below(8)
            let room = max(0, model.state.window - model.inFlight)
            let wanted = act == 0 ? random.below(40) : room
            for _ in 0..<(act == 1 ? wanted : min(wanted, room)) {
                sent += 1
                model.cellSent(at: now)
                control.cellSent(tag: tag(sent), now: .start + .nanoseconds(Int64(now)))
            }
            now += roundTrip + random.below(2) * random.below(4)
            let isLinkBlocked = random.below(32) == 0
            for _ in 0..<1 + random.below(3) * random.below(8) where model.isSendMeDue {
                acknowledged += 32
                model.sendMeReceived(at: now, isLinkBlocked: isLinkBlocked)
                try control.sendMeReceived(
                    tag: tag(acknowledged), now: .start + .nanoseconds(Int64(now)), isLinkBlocked: isLinkBlocked)
                let found = VegasModel.Judgement(
                    window: control.window, isInSlowStart: control.isInSlowStart,
                    average: Int(control.smoothedRTT.nanoseconds), least: Int(control.minimumRTT.nanoseconds),
                    path: control.bandwidthDelayProduct, queued: control.queuedCellCount)
                try #require(found == model.state, "seed \(seed), step \(step)")
                #expect(control.inFlight == model.inFlight)
            }
        }
    }

    @Test("an RTT counts as an hour at most")
    func longest() throws {
        for (hours, expected) in [(1, 1), (2, 1), (1_000_000, 1)] as [(Int64, Int64)] {
            var control = CongestionControl(parameters: .proposal324)
            try self.send(32, &control)
            try control.sendMeReceived(tag: tag(32), now: .start + .hours(hours))
            #expect(control.smoothedRTT == .hours(expected))
        }
    }

    @Test("the jump that is not believed begins above 5000 times the average")
    func jumpLimit() throws {
        // At the maximum, it is not in slow start any more.
        let parameters = try CongestionParameters(initialWindow: 64, slowStartMaximum: 64)
        var control = CongestionControl(parameters: parameters)
        try self.send(64, &control)
        try control.sendMeReceived(tag: tag(32), now: .start + .microseconds(1))
        #expect(!control.isInSlowStart)
        var beyond = control
        try beyond.sendMeReceived(tag: tag(64), now: .start + .microseconds(5005))
        #expect(beyond.smoothedRTT == .microseconds(1))
        try control.sendMeReceived(tag: tag(64), now: .start + .microseconds(5000))
        #expect(control.smoothedRTT > .microseconds(1))
    }

    @Test("a long round trip with a small window begins no slow start that is over already")
    func longAtSlowStartMaximum() throws {
        // At the slow start maximum from the first SendMe on; with so wide limits neither up nor down after that.
        let parameters = try CongestionParameters(
            initialWindow: 32, minimumWindow: 32, maximumWindow: 100, alpha: 1, beta: 1000, gamma: 1000, delta: 1000,
            slowStartMaximum: 64)
        var control = CongestionControl(parameters: parameters)
        var now = NIODeadline.start
        for round in 0..<40 {
            try self.send(32, from: round * 32 + 1, at: now, &control)
            now = now + .milliseconds(round == 0 ? 10 : 40)
            try control.sendMeReceived(tag: tag(round * 32 + 32), now: now)
            #expect(control.window == 64)
            #expect(!control.isInSlowStart)
        }
        #expect(control.minimumRTT > .milliseconds(20))
    }

    @Test("a window that grows for ever stops at the maximum")
    func maximum() throws {
        let parameters = try CongestionParameters(
            initialWindow: 32, maximumWindow: 16_384, slowStartCap: 16_384, slowStartMaximum: 16_384)
        var control = CongestionControl(parameters: parameters)
        var sent = 0
        var acknowledged = 0
        for round in 1...40 {
            let now = NIODeadline.start + .milliseconds(Int64(round) * 10)
            while control.canSend {
                sent += 1
                control.cellSent(tag: tag(sent), now: now)
            }
            // Every cell of the round is acknowledged after the same time: there is no queue to be seen.
            for _ in 0..<control.dueSendMeCount {
                acknowledged += 32
                try control.sendMeReceived(tag: tag(acknowledged), now: now + .milliseconds(9))
            }
        }
        #expect(control.window == 16_384)
    }

    @Test("a circuit that does not use its window does not grow it")
    func unused() throws {
        var control = CongestionControl(
            parameters: try CongestionParameters(initialWindow: 1024, slowStartCap: 16_384, slowStartMaximum: 16_384))
        for round in 0..<100 {
            let now = NIODeadline.start + .milliseconds(Int64(round) * 20)
            try self.send(32, from: round * 32 + 1, at: now, &control)
            try control.sendMeReceived(tag: tag(round * 32 + 32), now: now + .milliseconds(10))
        }
        #expect(control.window == 1024)
    }

    @Test("a blocked link ends slow start")
    func blockedLink() throws {
        var control = CongestionControl(parameters: .proposal324)
        try self.send(32, &control)
        try control.sendMeReceived(tag: tag(32), now: .start + .milliseconds(10), isLinkBlocked: true)
        #expect(!control.isInSlowStart)
    }

    // The simulated bottleneck

    @Test("fills a bottleneck and keeps its queue short", arguments: [500, 1000, 5000])
    func converges(cellsPerSecond: Int64) throws {
        for parameters in [CongestionParameters.proposal324, .wideRange] {
            var network = BottleneckSimulation(roundTrip: .milliseconds(100), cellsPerSecond: cellsPerSecond)
            network.addFlow(parameters)
            try network.run(until: .seconds(10))
            #expect(network.share(of: 0, from: .seconds(3), to: .seconds(10)) >= 0.8)
            // Beta cells besides the share, and as much again for bursts.
            let bound = TimeAmount.nanoseconds(
                2 * (62 * 1_000_000_000 / cellsPerSecond + 100_000_000 * Int64(parameters.queuePercent) * 3 / 200))
            #expect(network.longestQueueDelay(from: .seconds(5), to: .seconds(10)) <= bound + .milliseconds(100))
        }
    }

    @Test("fills 50 MB/s over 300 ms within three seconds, queue below two round trips", arguments: [Int64(0), 20])
    func wideAndLong(jitterMilliseconds: Int64) throws {
        var network = BottleneckSimulation(roundTrip: .milliseconds(300), cellsPerSecond: 25_000)
        network.jitter = jitterMilliseconds * 1_000_000
        network.addFlow(.wideRange)
        try network.run(until: .seconds(6))
        #expect(network.share(of: 0, from: .seconds(3), to: .seconds(6)) >= 0.8)
        #expect(network.longestQueueDelay(from: .seconds(0), to: .seconds(6)) <= .milliseconds(600))
    }

    @Test("lets as many cells wait on a fast path as take the queue delay, and few on a slow one")
    func queueDelay() throws {
        // 200 000 cells a second: some 400 MB/s, through routers that take a while for each read.
        var fast = BottleneckSimulation(roundTrip: .microseconds(500), cellsPerSecond: 200_000)
        fast.addFlow(.wideRange)
        try fast.run(until: .seconds(2))
        let waiting = fast.flows[0].control.queuedCellCount
        #expect((300...1200).contains(waiting), "\(waiting)")
        var slow = BottleneckSimulation(roundTrip: .milliseconds(20), cellsPerSecond: 500)
        slow.addFlow(.wideRange)
        try slow.run(until: .seconds(60))
        #expect(slow.flows[0].control.queuedCellCount <= 100)
    }

    @Test("two circuits share a bottleneck, and neither starves")
    func shares() throws {
        var network = BottleneckSimulation(roundTrip: .milliseconds(100), cellsPerSecond: 5000)
        network.addFlow(.proposal324)
        try network.run(until: .seconds(5))
        network.addFlow(.proposal324)
        try network.run(until: .seconds(15))
        let shares = (0..<2).map { network.share(of: $0, from: .seconds(10), to: .seconds(15)) }
        #expect(shares[0] + shares[1] >= 0.9)
        // The later one takes the first one's queue for path, as with any Vegas; the links' scheduler evens that out.
        #expect(shares.allSatisfy { $0 >= 0.25 }, "\(shares)")
    }

    @Test("finds its way again after the round trip has become ten times longer, or shorter")
    func routeChange() throws {
        var network = BottleneckSimulation(roundTrip: .milliseconds(50), cellsPerSecond: 2000)
        network.addFlow(.wideRange)
        try network.run(until: .seconds(5))
        network.roundTrip = TimeAmount.milliseconds(500).nanoseconds
        try network.run(until: .seconds(40))
        #expect(network.share(of: 0, from: .seconds(30), to: .seconds(40)) >= 0.8)
        network.roundTrip = TimeAmount.milliseconds(50).nanoseconds
        try network.run(until: .seconds(60))
        #expect(network.share(of: 0, from: .seconds(50), to: .seconds(60)) >= 0.8)
        // What fitted into the long path may stand in the queue of the short one, but no more.
        #expect(network.longestQueueDelay(from: .seconds(50), to: .seconds(60)) <= .milliseconds(450))
    }

    @Test("a single stall does not keep the window down")
    func stall() throws {
        var network = BottleneckSimulation(roundTrip: .milliseconds(50), cellsPerSecond: 5000)
        network.addFlow(.wideRange)
        try network.run(until: .seconds(5))
        network.roundTrip = TimeAmount.seconds(3).nanoseconds
        try network.run(until: .milliseconds(5040))
        network.roundTrip = TimeAmount.milliseconds(50).nanoseconds
        try network.run(until: .seconds(20))
        #expect(network.share(of: 0, from: .seconds(12), to: .seconds(20)) >= 0.8)
    }

    @Test("an RTT of thousands of times the average is not believed once there is an average")
    func jump() throws {
        var network = BottleneckSimulation(roundTrip: .milliseconds(10), cellsPerSecond: 5000)
        network.addFlow(.proposal324)
        try network.run(until: .seconds(3))
        var control = network.flows[0].control
        #expect(!control.isInSlowStart)
        let window = control.window
        let rtt = control.smoothedRTT
        let due = network.flows[0].sendMes[network.flows[0].firstSendMe]
        try control.sendMeReceived(tag: due.tag, now: .start + .hours(24))
        #expect(control.window == window)
        #expect(control.smoothedRTT == rtt)
    }
}
