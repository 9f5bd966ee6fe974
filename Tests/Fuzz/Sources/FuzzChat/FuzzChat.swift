@testable import ThorChat

/// What an OpenAI-compatible server answers: a stream of events in pieces of any size, the JSON in each, the body of an error.
/// The first byte says how large the pieces are.
enum FuzzChat {
    /// Returns whether the bytes hold an event with a piece of an answer, or an error's body.
    static func feed(_ bytes: [UInt8]) -> Bool {
        guard let first = bytes.first else { return false }
        let stream = Array(bytes.dropFirst())
        let whole = Self.events(in: stream, pieceByteCount: max(1, stream.count))
        precondition(
            Self.events(in: stream, pieceByteCount: max(1, Int(first))) == whole, "events depend on how they arrive")
        precondition(whole.reduce(0) { $0 + $1.count } <= stream.count, "events hold more than came")
        var isAccepted = false
        for event in whole {
            do throws(ChatFailure) {
                if case .text(let text) = try ChatPiece(event: event) {
                    precondition(!text.isEmpty, "an empty piece counts as text")
                }
                isAccepted = true
            } catch {
                switch error {
                case .malformedAnswer: break
                case .refused(let status, _): precondition(status == 200, "an error in the middle has a status")
                case .unservedCountry, .notConnected, .cutShort, .noProxy, .unreachable, .untrusted:
                    preconditionFailure("an event is taken for \(error)")
                }
                _ = error.operatorError
            }
        }
        if let error = ServerError(body: stream) {
            isAccepted = true
            _ = ChatFailure.refused(status: 403, message: error.message).operatorError
        }
        return isAccepted
    }

    private static func events(in stream: [UInt8], pieceByteCount: Int) -> [[UInt8]] {
        var reader = ServerSentEvents()
        var events: [[UInt8]] = []
        for start in stride(from: 0, to: stream.count, by: pieceByteCount) {
            let piece = stream[start..<min(stream.count, start + pieceByteCount)]
            guard let more = try? reader.append(piece) else {
                preconditionFailure("\(stream.count) bytes are more than an event may have")
            }
            events += more
        }
        return events
    }

    static var seeds: [[UInt8]] {
        [
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
                + "data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\r\n\r\ndata: [DONE]\n\n",
            ": comment\nid: 1\nevent: x\ndata:{\"choices\":[]}\ndata\n\ndata: {\"choices\":null}\n\n",
            "data: {\"error\":{\"message\":\"slow down\",\"code\":\"rate_limit\"}}\n\ndata: [DONE]\n\n",
            "{\"error\":{\"message\":\"no\",\"type\":\"x\",\"code\":\"unsupported_country_region_territory\"}}",
            "{\"error\":{\"code\":7}}",
        ].map { [5] + Array($0.utf8) }
    }
}
