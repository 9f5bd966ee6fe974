import DequeModule
public import NIOCore

/// Circuit handshakes that wait for a thread: bounded, fair between links, and without those that have waited so long
/// that their client has given up.
///
/// Links take turns, so that one that asks for a thousand circuits delays another's single one by one handshake.
///
/// - Complexity: O(1) amortised for ``enqueue(_:from:now:)`` and ``next(now:)``.
/// - Source: DESIGN §6.1 *Handshakes*
public struct HandshakeQueue<Link: Hashable & Sendable, Element: Sendable>: Sendable {
    public struct Limits: Sendable, Equatable {
        /// Elements of all links, and of one.
        public var total: Int
        public var perLink: Int
        /// How long an element may wait.
        public var patience: TimeAmount

        public init(total: Int, perLink: Int, patience: TimeAmount) {
            self.total = total
            self.perLink = perLink
            self.patience = patience
        }
    }

    public enum Next: Sendable {
        case run(Element)
        /// It has waited too long: destroy its circuit, and ask again.
        case dropped(Element)
    }

    private struct Waiting: Sendable {
        let element: Element
        let since: NIODeadline
    }

    /// New limits count for what is added or taken from then on; what waits beyond them is not sent away.
    public var limits: Limits
    public private(set) var count = 0
    private var waiting: [Link: Deque<Waiting>] = [:]
    /// The links with something waiting, in the order of their turns.
    private var turns = Deque<Link>()

    public init(limits: Limits) { self.limits = limits }

    public var isEmpty: Bool { self.count == 0 }

    /// Add an element; returns false, and keeps nothing, when a limit is reached.
    public mutating func enqueue(_ element: Element, from link: Link, now: NIODeadline) -> Bool {
        guard self.count < self.limits.total else { return false }
        let own = self.waiting[link]?.count ?? 0
        guard own < self.limits.perLink else { return false }
        if self.waiting[link] == nil { self.turns.append(link) }
        self.waiting[link, default: []].append(Waiting(element: element, since: now))
        self.count += 1
        return true
    }

    /// With all places taken, take back the newest element of the link that has the most, so that one from `link` can wait;
    /// nil, and nothing is taken, if there is room, or if `link` would then have as many as that.
    ///
    /// - Parameter yields: whether a link makes way, by its newest element.
    /// - Complexity: O(number of links that wait) when all places are taken
    public mutating func makeRoom(for link: Link, where yields: (Element) -> Bool = { _ in true }) -> Element? {
        guard self.count >= self.limits.total else { return nil }
        let own = self.waiting[link]?.count ?? 0
        guard own < self.limits.perLink,
            let longest = self.waiting.filter({ $0.value.last.map { yields($0.element) } ?? false })
                .max(by: { $0.value.count < $1.value.count }), longest.value.count > own + 1,
            let newest = self.waiting[longest.key]?.popLast()
        else { return nil }
        self.count -= 1
        return newest.element
    }

    /// Take the next element in turn, or nil when none waits.
    public mutating func next(now: NIODeadline) -> Next? {
        while let link = self.turns.popFirst() {
            guard let first = self.waiting[link]?.popFirst() else { continue }
            self.count -= 1
            let isStale = now > first.since + self.limits.patience
            if self.waiting[link]?.isEmpty == true {
                self.waiting[link] = nil
            } else if isStale {
                // Its turn was not used.
                self.turns.prepend(link)
            } else {
                self.turns.append(link)
            }
            return isStale ? .dropped(first.element) : .run(first.element)
        }
        return nil
    }

    /// Forget what a lost link has waiting.
    ///
    /// - Complexity: O(number of links that wait)
    public mutating func removeAll(from link: Link) {
        guard let gone = self.waiting.removeValue(forKey: link) else { return }
        self.count -= gone.count
        self.turns.removeAll { $0 == link }
    }
}
