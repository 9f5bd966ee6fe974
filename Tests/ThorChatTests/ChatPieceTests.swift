import Testing
import ThorDaemon

@testable import ThorChat

@Suite("Pieces of an answer")
struct ChatPieceTests {
    private func piece(_ text: String) throws(ChatFailure) -> ChatPiece { try ChatPiece(event: Array(text.utf8)) }

    @Test("reads text, the end, and pieces without text") func kinds() throws {
        #expect(try self.piece(#"{"choices":[{"index":0,"delta":{"content":"hi"}}]}"#) == .text("hi"))
        #expect(try self.piece(#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#) == .nothing)
        #expect(try self.piece(#"{"choices":[{"delta":{"content":null},"finish_reason":"stop"}]}"#) == .nothing)
        #expect(try self.piece(#"{"choices":[],"usage":{"total_tokens":3}}"#) == .nothing)
        #expect(try self.piece("[DONE]") == .end)
    }

    @Test("throws for an error in the middle, and for what is no piece") func errors() {
        #expect(throws: ChatFailure.refused(status: 200, message: "overloaded")) {
            try self.piece(#"{"error":{"message":"overloaded"}}"#)
        }
        #expect(throws: ChatFailure.self) { try self.piece("<html>") }
    }

    @Test("knows the server's words in an error, if there are any") func serverWords() {
        #expect(ServerError(body: Array(#"{"error":{"message":"no"}}"#.utf8)) == ServerError(message: "no"))
        #expect(
            ServerError(body: Array(#"{"error":{"message":"no","code":"busy"}}"#.utf8))
                == ServerError(message: "no", code: "busy"))
        #expect(ServerError(body: Array(#"{"error":{"message":"no","code":3}}"#.utf8)) == ServerError(message: "no"))
        #expect(ServerError(body: Array("<html>".utf8)) == nil)
    }

    @Test(
        "gives every refusal its exit code",
        arguments: [
            (401, ThorDaemon.ExitStatus.permission), (403, .unavailable), (404, .unavailable), (429, .temporary),
            (503, .unavailable),
        ])
    func refusals(status: Int, code: ThorDaemon.ExitStatus) {
        let error = ChatFailure.refused(status: status, message: "because").operatorError
        #expect(error.status == code)
        #expect(error.problem.contains("\(status)") && error.problem.contains("because") && !error.advice.isEmpty)
    }

    @Test("shows no control characters of a server's") func control() {
        #expect(DisplayText.block("a\u{1b}[2Jb\n\tc\u{202e}") == "a[2Jb\n\tc")
        #expect(DisplayText.line("a\n b\r\nc") == "a b c")
        #expect(DisplayText.line(String(repeating: "x", count: 400)).count == 300)
    }
}
