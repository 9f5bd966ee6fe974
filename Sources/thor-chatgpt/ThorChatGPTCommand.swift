import ArgumentParser
import Foundation
import ThorChat
import ThorDaemon

/// Asks ChatGPT, or any server that speaks as it does, through the onion network.
@main
struct ThorChatGPTCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "thor-chatgpt",
        abstract: "Ask ChatGPT through the onion network.",
        discussion: """
            Prints the answer as it comes. Without a prompt it holds a conversation: one line, one answer, Ctrl-D ends \
            it. The exit router sees neither the key nor what you say: they travel inside TLS to the server, which of \
            course knows whose key it is.
            """,
        version: DaemonVersion.number)

    @Argument(
        help: ArgumentHelp("A file with the API key on its one line, readable by you alone.", valueName: "api-key-file")
    )
    var keyFile: String

    @Argument(help: "What to ask. Other users of the machine can see it in the list of processes.")
    var prompt: String?

    @Option(help: ArgumentHelp("The proxy. (default: 127.0.0.1:1080)", valueName: "address:port"))
    var proxy: HostPort?

    @Option(
        help: ArgumentHelp(
            """
            Leave the network in this country, as two letters, or not-us. Without it the proxy chooses, and others are tried \
            if the server does not serve that country.
            """,
            valueName: "country"))
    var country: String?

    @Flag(help: "Go straight to the server, which then sees your address.")
    var direct = false

    @Option(help: "The model.")
    var model = "gpt-4o-mini"

    @Option(
        name: .customLong("base-url"), help: ArgumentHelp("The server, up to and with its version.", valueName: "url"))
    var baseURL = "https://api.openai.com/v1"

    @Option(
        help: ArgumentHelp(
            "Instructions ahead of the conversation. Other users of the machine can see them, too.", valueName: "text"))
    var system: String?

    @Option(
        name: .customLong("ca-file"),
        help: ArgumentHelp("PEM certificates to trust besides the system's.", valueName: "file"))
    var caFile: String?

    func validate() throws {
        guard !self.direct || self.proxy == nil else {
            throw ValidationError("--direct and --proxy exclude each other: --direct shows the server your address.")
        }
    }

    func run() async throws {
        let proxy = self.direct ? nil : self.proxy ?? HostPort(host: "127.0.0.1", port: 1080)
        try await Daemon.run("thor-chatgpt") {
            let key = try APIKeyFile.read(self.keyFile)
            let client = ChatClient(
                try .init(
                    baseURL: self.baseURL, apiKey: key, model: self.model, proxy: proxy, country: self.country,
                    caFile: self.caFile))
            do {
                try await self.talk(client)
            } catch {
                try? await client.shutdown()
                throw error
            }
            try await client.shutdown()
        }
    }

    private func talk(_ client: ChatClient) async throws {
        var messages = self.system.map { [ChatMessage(role: .system, content: $0)] } ?? []
        if let prompt {
            messages.append(ChatMessage(role: .user, content: prompt))
            _ = try await self.ask(client, messages)
            return
        }
        let isTerminal = isatty(STDIN_FILENO) == 1
        while true {
            if isTerminal { Self.show("> ") }
            guard let line = readLine() else { break }
            guard line.contains(where: { !$0.isWhitespace }) else { continue }
            messages.append(ChatMessage(role: .user, content: line))
            do {
                messages.append(ChatMessage(role: .assistant, content: try await self.ask(client, messages)))
            } catch let failure as ChatFailure where isTerminal && failure.mayPass {
                // What got no answer is not part of the conversation.
                messages.removeLast()
                Self.show("thor-chatgpt: \(failure.operatorError)\n")
            }
        }
        if isTerminal { Self.show("\n") }
    }

    private func ask(_ client: ChatClient, _ messages: [ChatMessage]) async throws -> String {
        var hasText = false
        defer { if hasText { Self.show("\n") } }
        return try await client.answer(
            to: messages,
            onText: {
                hasText = true
                Self.show($0)
            },
            onNews: { try? FileHandle.standardError.write(contentsOf: Data("thor-chatgpt: \($0)\n".utf8)) })
    }

    private static func show(_ text: String) {
        try? FileHandle.standardOutput.write(contentsOf: Data(text.utf8))
    }
}
