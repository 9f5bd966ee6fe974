public import OnionCells

/// Who may say what: relay command × direction × position, as one table.
///
/// A stream and the windows belong to the last hop; otherwise a guard could inject bytes into a stream by guessing its
/// id. Whether an Extend is due at all, and in which cell it came, is ``RouterCircuit``'s business; whether an Extended
/// is, ``CircuitBuild``'s.
///
/// - Source: DESIGN §6.3 *Who may say what*
public enum RelayRules {
    /// Where a relay message was recognised, or where it comes from.
    public enum Position: Sendable, CaseIterable, Hashable {
        /// Forward: at an OR with no next hop and no Extend pending. Backward, at the client: from the last hop of the
        /// circuit as it stands, and no Extend is outstanding.
        case lastHop
        /// Forward: at an OR whose Extend is pending. Backward: from the last hop while an Extend to it is outstanding.
        case extendingHop
        /// An OR that has a next hop.
        case innerHop
    }

    public enum Direction: Sendable, CaseIterable, Hashable {
        /// From the client, judged by the OR that recognised it.
        case forward
        /// From an OR, judged by the client.
        case backward
    }

    /// Whether the message may be said.
    public static func allows(_ command: RelayCommand, _ direction: Direction, _ position: Position) -> Bool {
        switch (direction, position) {
        case (.forward, .lastHop):
            switch command {
            case .begin, .data, .end, .sendMe, .xOff, .xOn, .extend, .resolve, .drop: true
            case .connected, .extended, .truncated, .resolved: false
            }
        case (.forward, .extendingHop):
            switch command {
            // It is about to stop being the last hop, and has no streams.
            case .drop: true
            case .begin, .data, .end, .sendMe, .xOff, .xOn, .resolve, .extend, .connected, .extended, .truncated,
                .resolved:
                false
            }
        case (.forward, .innerHop):
            switch command {
            case .begin, .connected, .data, .end, .sendMe, .xOff, .xOn, .extend, .extended, .truncated, .resolve,
                .resolved, .drop:
                false
            }
        case (.backward, .lastHop):
            switch command {
            case .connected, .data, .end, .sendMe, .xOff, .xOn, .truncated, .resolved, .drop: true
            case .begin, .extend, .extended, .resolve: false
            }
        case (.backward, .extendingHop):
            switch command {
            case .extended, .truncated, .drop: true
            case .begin, .connected, .data, .end, .sendMe, .xOff, .xOn, .extend, .resolve, .resolved: false
            }
        case (.backward, .innerHop):
            switch command {
            case .truncated: true
            case .begin, .connected, .data, .end, .sendMe, .xOff, .xOn, .extend, .extended, .resolve, .resolved,
                .drop:
                false
            }
        }
    }

    /// Return if the message may be said.
    ///
    /// - Throws: ``CircuitError/messageNotAllowed(_:)``.
    public static func check(
        _ command: RelayCommand, _ direction: Direction, _ position: Position
    ) throws(CircuitError) {
        guard Self.allows(command, direction, position) else { throw .messageNotAllowed(command) }
    }
}
