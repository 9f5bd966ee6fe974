import NIOCore
import OnionCells
import OnionCircuits
import OnionCrypto

/// A circuit's congestion control with a receiver that acknowledges every 32nd cell, in its own time or wrongly.
///
///     offset  size  field
///     0       10    parameters of the congestion control
///     10      …     pairs: an event and how much of it
enum FuzzCongestion {
    /// Returns whether the parameters are allowed and every SendMe was right.
    static func feed(_ bytes: [UInt8]) -> Bool {
        var script = bytes[...]
        guard let parameters = Self.parameters(&script), !script.isEmpty else { return false }
        var sender = Sender(parameters: parameters)
        while let event = script.popFirst() {
            guard sender.play(event, amount: script.popFirst() ?? 0) else { return false }
        }
        return true
    }

    private static func parameters(_ script: inout ArraySlice<UInt8>) -> CongestionParameters? {
        let bytes = Array(script.prefix(10))
        guard bytes.count == 10 else { return nil }
        script = script.dropFirst(10)
        return try? CongestionParameters(
            initialWindow: Int(bytes[0]) * 64, minimumWindow: Int(bytes[1]) * 8, maximumWindow: Int(bytes[2]) * 64 + 64,
            alpha: Int(bytes[3]), beta: Int(bytes[4]), gamma: Int(bytes[5]), delta: Int(bytes[6]) * 4,
            slowStartCap: Int(bytes[7]) * 64, slowStartMaximum: Int(bytes[8]) * 64, queuePercent: Int(bytes[9] & 0x7f),
            queueDelay: .milliseconds(Int64(bytes[9] >> 4)))
    }

    /// The sender under test, and the tags that its receiver has seen.
    private struct Sender {
        private var congestion: CongestionControl
        private var now = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
        private var sentCount = 0
        private var acknowledgedCount = 0

        init(parameters: CongestionParameters) { self.congestion = CongestionControl(parameters: parameters) }

        private static func tag(_ number: Int) -> CellTag { CellTag(high: 1, low: UInt64(number)) }

        mutating func play(_ event: UInt8, amount: UInt8) -> Bool {
            switch event & 7 {
            case 0, 1: for _ in 0..<Int(amount) where self.congestion.canSend { self.send() }
            // An End does not wait behind a full window.
            case 2: self.send()
            case 3, 4: return self.acknowledge(atMost: 1 + Int(amount & 15), isLinkBlocked: amount & 0x80 != 0)
            case 5: self.now = self.now + .microseconds(Int64(amount) * Int64(amount))
            case 6: self.now = amount & 1 == 0 ? self.now + .seconds(Int64(amount)) : self.now - .milliseconds(1)
            default: return self.forge(amount)
            }
            self.check()
            return true
        }

        private mutating func send() {
            let completes = self.congestion.nextCellCompletesIncrement
            self.sentCount += 1
            precondition(
                completes == (self.sentCount % CongestionControl.incrementCellCount == 0),
                "a cell that completes an increment is not known as such")
            self.congestion.cellSent(tag: Self.tag(self.sentCount), now: self.now)
        }

        private mutating func acknowledge(atMost count: Int, isLinkBlocked: Bool) -> Bool {
            for _ in 0..<count {
                let next = self.acknowledgedCount + CongestionControl.incrementCellCount
                guard next <= self.sentCount else { break }
                do throws(CircuitError) {
                    try self.congestion.sendMeReceived(
                        tag: Self.tag(next), now: self.now, isLinkBlocked: isLinkBlocked)
                } catch {
                    preconditionFailure("a SendMe that is due is refused: \(error)")
                }
                self.acknowledgedCount = next
                self.check()
            }
            return true
        }

        /// A SendMe that nobody owes, or with the tag of another cell.
        private mutating func forge(_ amount: UInt8) -> Bool {
            let next = self.acknowledgedCount + CongestionControl.incrementCellCount
            let isDue = next <= self.sentCount
            do throws(CircuitError) {
                try self.congestion.sendMeReceived(tag: Self.tag(next + 1 + Int(amount)), now: self.now)
                preconditionFailure("credit is given for cells that nobody received")
            } catch {
                precondition(error == (isDue ? .sendMeTagWrong : .sendMeNotDue), "a forged SendMe is another fault")
            }
            return false
        }

        private func check() {
            let parameters = self.congestion.parameters
            let window = self.congestion.window
            precondition(
                parameters.minimumWindow <= window && window <= parameters.maximumWindow, "the window is out of range")
            let inFlight = self.sentCount - self.acknowledgedCount
            precondition(self.congestion.inFlight == inFlight, "cells in flight are counted wrongly")
            precondition(
                self.congestion.dueSendMeCount
                    == self.sentCount / CongestionControl.incrementCellCount
                    - self.acknowledgedCount / CongestionControl.incrementCellCount, "SendMes are due that are not")
            precondition(self.congestion.canSend == (inFlight < window), "the window does not decide")
            precondition(
                self.congestion.queuedCellCount >= 0 && self.congestion.bandwidthDelayProduct >= 0,
                "the path holds less than nothing")
            precondition(self.congestion.minimumRTT <= self.congestion.smoothedRTT, "the least time is not the least")
        }
    }

    static var seeds: [[UInt8]] {
        let wide: [UInt8] = [4, 4, 255, 46, 62, 46, 20, 255, 255, 12]
        let narrow: [UInt8] = [1, 4, 8, 1, 1, 1, 1, 1, 1, 0]
        let round: [UInt8] = [0, 255, 5, 200, 3, 15]
        let rounds = Array([[UInt8]](repeating: round, count: 12).joined())
        let stalled: [UInt8] = [0, 255, 6, 2, 3, 0x8f, 6, 1, 0, 255, 5, 10, 3, 15, 2, 0, 2, 0]
        return [wide + rounds, narrow + rounds, wide + stalled + rounds, narrow + stalled]
    }
}
