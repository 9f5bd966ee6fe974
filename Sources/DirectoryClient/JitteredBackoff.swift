package import NIOCore

/// How long to wait before trying again: doubling up to a limit, and each time a random part off, so that many who lost
/// the same server do not come back at once.
///
/// The wait lies between half of the step and the step; the step starts at `first` and never passes `maximum`.
package struct JitteredBackoff: Equatable, Sendable {
    private let first: TimeAmount
    private var maximum: TimeAmount
    private var step: TimeAmount

    package init(first: TimeAmount = .milliseconds(250), maximum: TimeAmount) {
        self.first = max(.nanoseconds(1), min(first, maximum))
        self.maximum = max(.nanoseconds(1), maximum)
        self.step = self.first
    }

    /// Return the next wait, and double the step.
    package mutating func next(using generator: inout some RandomNumberGenerator) -> TimeAmount {
        let step = self.step.nanoseconds
        let (doubled, overflow) = step.multipliedReportingOverflow(by: 2)
        self.step = overflow ? self.maximum : min(self.maximum, .nanoseconds(doubled))
        return .nanoseconds(Int64.random(in: (step - step / 2)...step, using: &generator))
    }

    /// Wait no longer than this from now on.
    package mutating func update(maximum: TimeAmount) {
        self.maximum = max(.nanoseconds(1), maximum)
        self.step = min(self.step, self.maximum)
    }

    /// It worked: the next wait is short again.
    package mutating func reset() { self.step = min(self.first, self.maximum) }
}
