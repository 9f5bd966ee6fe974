import Foundation

/// One turn of a conversation.
package struct ChatMessage: Codable, Equatable, Sendable {
    package enum Role: String, Codable, Sendable { case system, user, assistant }
    package var role: Role
    package var content: String

    package init(role: Role, content: String) {
        self.role = role
        self.content = content
    }
}

/// What is asked of `/chat/completions`.
struct ChatRequest: Codable, Equatable, Sendable {
    var model: String
    var messages: [ChatMessage]
    var stream = true
}

/// What comes back in one event: a piece of the answer, the end, or an error in the middle.
enum ChatPiece: Equatable, Sendable {
    case text(String)
    case end
    /// A piece without text, such as the first, which names the role.
    case nothing

    private struct Chunk: Decodable {
        struct Choice: Decodable {
            struct Delta: Decodable { var content: String? }
            var delta: Delta?
        }
        var choices: [Choice]?
        var error: ServerError?
    }

    /// Read one event's data.
    init(event: [UInt8]) throws(ChatFailure) {
        if event.elementsEqual("[DONE]".utf8) {
            self = .end
            return
        }
        let chunk: Chunk
        do { chunk = try JSONDecoder().decode(Chunk.self, from: Data(event)) } catch {
            throw .malformedAnswer("an event that is not a piece of a chat completion")
        }
        if let error = chunk.error { throw .refused(status: 200, message: error.message) }
        let text = chunk.choices?.first?.delta?.content ?? ""
        self = text.isEmpty ? .nothing : .text(text)
    }
}

/// The error object of OpenAI-compatible servers.
struct ServerError: Decodable, Equatable, Sendable {
    var message: String?
    /// A word for programs. Some servers have a number here, which counts as none.
    var code: String?

    private struct Body: Decodable { var error: ServerError? }
    private enum CodingKeys: CodingKey { case message, code }

    /// The code of OpenAI for a country that it does not serve.
    static let unservedCountry = "unsupported_country_region_territory"

    init(message: String?, code: String? = nil) {
        self.message = message
        self.code = code
    }

    init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        self.message = try? fields.decodeIfPresent(String.self, forKey: .message)
        self.code = try? fields.decodeIfPresent(String.self, forKey: .code)
    }

    /// The error in a body, or nil when the body is something else.
    init?(body: [UInt8]) {
        guard let error = (try? JSONDecoder().decode(Body.self, from: Data(body)))?.error else { return nil }
        self = error
    }
}
