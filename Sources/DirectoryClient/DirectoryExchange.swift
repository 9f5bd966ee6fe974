import OnionDirectory

/// Matches a directory's answers to requests. A value: holds neither connection nor clock.
///
/// An Error before the Hello is anybody's, and believed no more than any other frame.
///
///     (TLS up) waiting ──Hello verified──▶ open ──Error frame, nonsense, close──▶ closed
///
/// Answers carry no number: each kind of request has one kind of answer, and at most one request of a kind is under way,
/// so a long wait for a consensus and heartbeats share a connection. A request that gets no answer in time ends the
/// connection, so that no late answer is taken for another's. An Error is the directory's last word and answers all.
///
/// - Source: DESIGN §9
struct DirectoryExchange: Equatable, Sendable {
    /// The kinds of request.
    enum Question: Hashable, Sendable, CaseIterable {
        case register, heartbeat, consensus, ticket

        var frameType: DirectoryFrameType {
            switch self {
            case .register: .register
            case .heartbeat: .heartbeat
            case .consensus: .getConsensus
            case .ticket: .getTicket
            }
        }
    }

    enum Action: Equatable, Sendable {
        case checkHello([UInt8])
        case answer(Question, DirectoryMessage)
        /// Fail all that is under way, and close.
        case close(DirectoryConnectionError)
    }

    private enum State: Equatable, Sendable {
        case waiting
        case open(asked: Set<Question>)
        case closed
    }

    private var state = State.waiting

    /// A frame came.
    mutating func received(_ message: DirectoryMessage) -> Action {
        switch (self.state, message) {
        case (.waiting, .hello(let bytes)): return .checkHello(bytes)
        case (.open, .error(let code, let text)), (.closed, .error(let code, let text)):
            self.state = .closed
            return .close(.refused(code, text: Self.printable(text)))
        case (.open, .registered): return self.answered(.register, message)
        case (.open, .heartbeatAck): return self.answered(.heartbeat, message)
        case (.open, .consensus), (.open, .notModified): return self.answered(.consensus, message)
        case (.open, .ticket): return self.answered(.ticket, message)
        case (.closed, _): return .close(.closed)
        case (.waiting, _), (.open, _):
            self.state = .closed
            return .close(.unexpectedAnswer(message.frameType))
        }
    }

    /// The text of an Error is shown to people: nothing in it may move a terminal's cursor or a log's line.
    private static func printable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.map { scalar in
                    switch scalar.properties.generalCategory {
                    case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned:
                        "\u{FFFD}"
                    default: scalar
                    }
                }))
    }

    /// The Hello is the directory's, about this connection.
    mutating func helloVerified() {
        switch self.state {
        case .waiting: self.state = .open(asked: [])
        case .open, .closed: break
        }
    }

    /// Take up a request.
    ///
    /// - Throws: ``DirectoryConnectionError/alreadyAsked(_:)``, ``DirectoryConnectionError/closed``.
    mutating func asked(_ question: Question) throws(DirectoryConnectionError) {
        switch self.state {
        case .waiting, .closed: throw .closed
        case .open(var asked):
            guard asked.insert(question).inserted else { throw .alreadyAsked(question.frameType) }
            self.state = .open(asked: asked)
        }
    }

    mutating func closed() { self.state = .closed }

    private mutating func answered(_ question: Question, _ message: DirectoryMessage) -> Action {
        guard case .open(var asked) = self.state, asked.remove(question) != nil else {
            self.state = .closed
            return .close(.unexpectedAnswer(message.frameType))
        }
        self.state = .open(asked: asked)
        return .answer(question, message)
    }
}
