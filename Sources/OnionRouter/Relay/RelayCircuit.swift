import NIOCore
import OnionCells
import OnionCircuits
import OnionCrypto
import OnionLink
import OnionStreams

/// A circuit at this OR as seen from the previous hop: the rules, the forward cipher, and what comes after.
///
/// Bound to the loop of the link that its cells come from. The backward cipher is here while this OR is the last hop;
/// from Extended on it is with the ``NextHopCircuit``, on the next link's loop, until that is lost.
///
/// - Source: DESIGN §5, §6, §8
final class RelayCircuit {
    let id: CircuitID
    let link: Link
    /// Whoever created the circuit here; what a newer consensus says of it counts from then on.
    var previousHop: LinkPeer
    var rules = RouterCircuit()
    private(set) var stage: Stage = .handshaking

    /// What there is of the circuit besides the rules.
    enum Stage {
        /// Its Create waits for an answer.
        case handshaking
        case last(forward: HopCipher, backward: HopCipher, exit: ExitCircuit?)
        case extending(forward: HopCipher, backward: HopCipher)
        case relaying(forward: HopCipher, next: NextHop)
        case closed
    }

    /// The way ahead. A class, since a cell only looks at it: a copy of so many references would cost more than the look.
    final class NextHop {
        let link: LinkHandle
        /// The link itself if it lives on this loop.
        let local: Link?
        let id: CircuitID
        let circuit: NIOLoopBound<NextHopCircuit>

        init(link: LinkHandle, local: Link?, id: CircuitID, circuit: NIOLoopBound<NextHopCircuit>) {
            self.link = link
            self.local = local
            self.id = id
            self.circuit = circuit
        }
    }

    init(id: CircuitID, link: Link, previousHop: LinkPeer) {
        self.id = id
        self.link = link
        self.previousHop = previousHop
    }

    func established(_ keys: CircuitKeys) {
        self.stage = .last(forward: keys.makeForward(), backward: keys.makeBackward(), exit: nil)
    }

    func set(_ stage: Stage) { self.stage = stage }

    /// The end of the circuit that streams live at, made at the first cell that is not an Extend.
    func exit(make: (HopCipher) -> ExitCircuit) -> ExitCircuit? {
        switch self.stage {
        case .last(let forward, let backward, let exit):
            if let exit { return exit }
            let exit = make(backward)
            self.stage = .last(forward: forward, backward: backward, exit: exit)
            return exit
        case .handshaking, .extending, .relaying, .closed: return nil
        }
    }

    /// The exit's streams, if this is the last hop and has any.
    var exit: ExitCircuit? {
        if case .last(_, _, let exit) = self.stage { exit } else { nil }
    }
}

/// A circuit at this OR as seen from the next hop: the backward cipher and the way back. Bound to the next link's loop.
final class NextHopCircuit {
    let id: CircuitID
    let link: Link
    let previous: PreviousHop
    /// The previous hop's link if it lives on this loop too.
    let previousLink: Link?
    /// Nil until the previous hop's loop has originated Extended.
    var backward: HopCipher?
    /// Whether Created has come.
    var isCreated = false
    var timer: Scheduled<Void>?

    struct PreviousHop: Sendable {
        let link: LinkHandle
        let id: CircuitID
        let circuit: NIOLoopBound<RelayCircuit>
    }

    init(id: CircuitID, link: Link, previous: PreviousHop) {
        self.id = id
        self.link = link
        self.previous = previous
        self.previousLink =
            previous.link.loop.eventLoop === link.eventLoop ? previous.link.bound.value : nil
    }
}

@available(*, unavailable)
extension RelayCircuit: Sendable {}

@available(*, unavailable)
extension NextHopCircuit: Sendable {}
