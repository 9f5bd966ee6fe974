@testable import OnionClient
@testable import ProxyFrontend
@testable import ThorDaemon

/// What people and programs write to a proxy besides its port: wishes of an exit, places to listen, lines on the status
/// socket, URLs to trace, the first line of a server's answer. What is taken prints as itself. One thing a line.
enum FuzzText {
    /// Lines that are looked at.
    private static let lineLimit = 32

    /// Returns whether every line is one of these things.
    static func feed(_ bytes: [UInt8]) -> Bool {
        let text = String(decoding: bytes, as: UTF8.self)
        let lines = text.split(separator: "\n", maxSplits: Self.lineLimit).prefix(Self.lineLimit)
        guard !lines.isEmpty else { return false }
        return lines.reduce(true) { Self.take(String($1)) && $0 }
    }

    private static func take(_ line: String) -> Bool {
        // One after the other: each is to see every line.
        let answers = [Self.wish(line), Self.place(line), Self.command(line), Self.url(line), Self.status(line)]
        return answers.contains(true)
    }

    private static func wish(_ line: String) -> Bool {
        let lowered = line.lowercased()
        guard let wish = try? ExitWish(userName: line.utf8) else {
            precondition(
                lowered.hasPrefix("country-") || lowered.hasPrefix("exit-"), "an ordinary name is taken for a wish")
            return false
        }
        precondition(wish.narrowed(by: .any) == wish && wish.narrowed(by: wish) == wish, "a wish is not its own")
        precondition(!wish.description.isEmpty, "a wish cannot be told")
        let isWish = wish != .any
        precondition(
            isWish == (lowered.hasPrefix("country-") || lowered.hasPrefix("exit-")), "a wish is passed over")
        if let country = ExitWish(country: line) {
            precondition((try? ExitWish(userName: "country-\(line)".utf8)) == country, "a country is another")
        }
        return isWish
    }

    private static func place(_ line: String) -> Bool {
        guard let place = HostPort(argument: line) else { return false }
        precondition(HostPort(argument: place.description) == place, "a place prints as another")
        precondition(!place.host.isEmpty, "a place has no name")
        return true
    }

    private static func command(_ line: String) -> Bool {
        guard let command = StatusCommand(line: line) else { return false }
        guard case .trace(let host, let port, let exit) = command else { return true }
        let wish = line.split(separator: " ", omittingEmptySubsequences: false).dropFirst(3).first.map(String.init)
        if wish?.isEmpty != true, let again = StatusCommand.traceLine(host: host, port: port, wish: wish) {
            precondition(
                StatusCommand(line: again) == .trace(host: host, port: port, exit: exit), "a command prints as another")
        }
        return true
    }

    private static func url(_ line: String) -> Bool {
        guard let url = try? TraceURL(line) else { return false }
        precondition(url.port != 0 && !url.host.isEmpty, "a URL leads nowhere")
        let request = url.request
        precondition(
            request.utf8.count { $0 == UInt8(ascii: "\n") } == 6, "a URL writes lines of its own into the request")
        precondition(request.hasPrefix("GET \(url.target) HTTP/1.1\r\nHost: "), "a request is for something else")
        precondition(!url.target.utf8.contains { $0 <= 0x20 }, "a URL's path ends the request line")
        return true
    }

    private static func status(_ line: String) -> Bool {
        guard let status = TraceAnswerHandler.status(line: line) else { return false }
        precondition((100...999).contains(status), "a status has not three digits")
        return true
    }

    static var seeds: [[UInt8]] {
        let fingerprint = String(repeating: "A", count: 43)
        return [
            "country-se\ncountry-not-us\nCountry-DE+alice\nexit-\(fingerprint)\nexit-\(fingerprint)+bob",
            "127.0.0.1:1080\n[2001:db8::1]:9030\n::1\ndirectory.example\nlocalhost:0",
            "status\nnewnym\ntrace 443 example.org\ntrace 80 2001:db8::1 country-se\ntrace 80 a exit-\(fingerprint)",
            "https://example.org/a?b=c\nhttp://[2001:db8::1]:8080\nHTTP://example.org:80/%20#x\nhttps://example.org?q",
            "HTTP/1.1 200 OK\nHTTP/1.0 404\nHTTP/2 301 Moved",
        ].map { Array($0.utf8) }
    }
}
