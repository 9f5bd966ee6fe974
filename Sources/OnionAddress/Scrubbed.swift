internal import Synchronization

/// Something that may appear in a log only when the operator has accepted the risk: an address, a destination.
///
/// It prints as `[scrubbed]` until ``ScrubbingPolicy/reveal()`` was called, which the daemons do for the option that
/// names the risk.
///
/// - Source: DESIGN §13; STYLE, *Logging*
package struct Scrubbed<Value: Sendable>: Sendable, CustomStringConvertible {
    private let value: Value

    package init(_ value: Value) { self.value = value }

    package var description: String { ScrubbingPolicy.isRevealing ? "\(self.value)" : "[scrubbed]" }
}

/// Whether ``Scrubbed`` values show in this process. Set once at start, never back.
package enum ScrubbingPolicy {
    private static let revealing = Atomic<Bool>(false)

    package static var isRevealing: Bool { Self.revealing.load(ordering: .relaxed) }
    package static func reveal() { Self.revealing.store(true, ordering: .relaxed) }
}
